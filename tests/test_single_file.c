/* Single files: what they are told by, what their shapes say, and what their tensors are called. */
#include "sdxl/checkpoint/single_file.h"
#include "sdxl/model.h"

#include "tests/check.h"
#include "tests/folder.h"

static const float zeros[1 << 16];

static void write_file(const char *path, const struct named_tensor *items, size_t count)
{
    struct error e = {0};
    if (safetensors_write(path, items, count, NULL, &e) != OK)
        fail_msg("%s", e.message);
}

#define UNET "model.diffusion_model."

/* Enough keys of each kind, as they are published; the shapes that matter. */
static const struct {
    enum checkpoint_kind kind;
    const char *says; /* of a refusal; NULL: this may be drawn with */
    struct named_tensor items[4];
} kinds[] = {
    {CHECKPOINT_SDXL_REFINER,
     "is an SDXL refiner",
     {{UNET "input_blocks.0.0.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {384, 4, 3, 3}}},
      {UNET "label_emb.0.0.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 2, .shape = {12, 2560}}},
      {"conditioner.embedders.0.model.ln_final.bias",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1280}}}}},
    {CHECKPOINT_SDXL_INPAINTING,
     "is an SDXL inpainting model",
     {{UNET "input_blocks.0.0.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {320, 9, 3, 3}}},
      {UNET "label_emb.0.0.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 2, .shape = {12, 2816}}}}},
    {CHECKPOINT_SD15_INPAINTING,
     "is an SD 1.5 inpainting model",
     {{UNET "input_blocks.0.0.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {320, 9, 3, 3}}},
      {UNET "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 2, .shape = {12, 768}}}}},
    {CHECKPOINT_SD2,
     "is an SD 2 model",
     {{UNET "input_blocks.0.0.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {320, 4, 3, 3}}},
      {UNET "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 2, .shape = {12, 1024}}}}},
    {CHECKPOINT_SD3,
     "is an SD 3 model",
     {{UNET "joint_blocks.0.context_block.attn.qkv.weight",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_FLUX,
     "is a Flux model",
     {{"double_blocks.0.img_attn.qkv.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_FLUX,
     "is a Flux model",
     {{UNET "double_blocks.0.img_attn.qkv.weight",
       {.data = zeros, .dtype = DTYPE_F8_E4M3, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_LORA,
     "is a LoRA",
     {{"lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_LORA,
     "is a LoRA",
     {{"unet.down_blocks.0.to_q.lora_A.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_LYCORIS,
     "is a LyCORIS network",
     {{"lora_unet_mid_block.hada_w1_a", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_CONTROLNET,
     "is a ControlNet",
     {{"control_model.zero_convs.0.0.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_UNET_DIFFUSERS,
     "is the UNet of a diffusers folder",
     {{"down_blocks.0.resnets.0.norm1.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_TEXT_ENCODER,
     "is a text encoder",
     {{"text_model.embeddings.token_embedding.weight",
       {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_TAESD,
     "is a tiny autoencoder",
     {{"decoder.layers.1.weight", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_EMBEDDING,
     "is a textual inversion",
     {{"emb_params", {.data = zeros, .dtype = DTYPE_F32, .rank = 2, .shape = {2, 768}}}}},
    {CHECKPOINT_PHOTOMAKER,
     "is a PhotoMaker adapter",
     {{"id_encoder.x", {.data = zeros, .dtype = DTYPE_F16, .rank = 1, .shape = {1}}}}},
    {CHECKPOINT_VAE,
     "is a VAE",
     {{"decoder.conv_in.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {32, 4, 3, 3}}},
      {"decoder.mid.block_1.conv1.weight", {.data = zeros, .dtype = DTYPE_F32, .rank = 1, .shape = {1}}},
      {"encoder.down.0.block.0.conv1.weight",
       {.data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {32, 3, 3, 3}}}}},
    {CHECKPOINT_UNKNOWN,
     "no model that this program knows (its first tensor is called \"what.ever\")",
     {{"what.ever", {.data = zeros, .dtype = DTYPE_F32, .rank = 1, .shape = {1}}}}},
};

static void what_cannot_be_drawn_with_is_refused_by_what_it_is(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "sd_xl_base_1.0.safetensors"); /* its name says nothing */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t count = 0;
        struct tensor_file file;
        struct model m;
        struct error e = {0};
        while (count < 4 && kinds[i].items[count].name != NULL)
            count++;
        write_file(path.text, kinds[i].items, count);
        assert_int_equal(tensor_file_open(path.text, &file, &e), OK);
        assert_int_equal(checkpoint_recognise(&file), kinds[i].kind);
        tensor_file_close(&file);
        assert_int_not_equal(model_open(&m, path.text, &e), OK);
        if (strstr(e.message, path.text) == NULL || strstr(e.message, kinds[i].says) == NULL)
            fail_msg("\"%s\" is not in: %s", kinds[i].says, e.message);
    }
    folder_remove(&folder);
}

/* Names as they stand in sd_xl_base_1.0 and v1-5-pruned-emaonly, of layers whose places the two layouts count
 * differently. */
static void names_are_those_of_the_published_files(void **state)
{
    (void)state;
    static const struct unet_config xl = {.levels = 3, .layers_per_block = 2, .up_attention = {true, true, false}};
    static const struct unet_config sd15 = {
        .levels = 4, .layers_per_block = 2, .up_attention = {false, true, true, true}};
    static const struct vae_config vae = {.levels = 4, .layers_per_block = 2};
    const struct original_names xl_unet = original_unet(&xl), sd15_unet = original_unet(&sd15);
    const struct original_names both_vae = original_vae(&vae);
    const struct original_names one = original_clip(PART_TEXT_ENCODER, false),
                                two = original_clip(PART_TEXT_ENCODER_2, true);
    const struct {
        const struct original_names *rule;
        const char *name, *original;
        int view, third;
    } cases[] = {
        {&xl_unet, "conv_in.weight", UNET "input_blocks.0.0.weight", 0, 0},
        {&xl_unet, "time_embedding.linear_1.bias", UNET "time_embed.0.bias", 0, 0},
        {&xl_unet, "add_embedding.linear_2.weight", UNET "label_emb.0.2.weight", 0, 0},
        {&xl_unet, "down_blocks.0.downsamplers.0.conv.weight", UNET "input_blocks.3.0.op.weight", 0, 0},
        {&xl_unet, "down_blocks.1.resnets.0.conv_shortcut.bias", UNET "input_blocks.4.0.skip_connection.bias", 0, 0},
        {&xl_unet, "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k.weight",
         UNET "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight", 0, 0},
        {&xl_unet, "mid_block.resnets.1.time_emb_proj.weight", UNET "middle_block.2.emb_layers.1.weight", 0, 0},
        {&xl_unet, "mid_block.attentions.0.proj_in.weight", UNET "middle_block.1.proj_in.weight", 0, 0},
        {&xl_unet, "up_blocks.0.upsamplers.0.conv.weight", UNET "output_blocks.2.2.conv.weight", 0, 0},
        {&xl_unet, "up_blocks.1.upsamplers.0.conv.weight", UNET "output_blocks.5.2.conv.weight", 0, 0},
        {&xl_unet, "up_blocks.2.resnets.2.conv2.weight", UNET "output_blocks.8.0.out_layers.3.weight", 0, 0},
        {&xl_unet, "conv_norm_out.weight", UNET "out.0.weight", 0, 0},
        {&sd15_unet, "up_blocks.0.upsamplers.0.conv.weight", UNET "output_blocks.2.1.conv.weight", 0, 0},
        {&sd15_unet, "up_blocks.2.upsamplers.0.conv.bias", UNET "output_blocks.8.2.conv.bias", 0, 0},
        {&sd15_unet, "down_blocks.3.resnets.1.norm2.weight", UNET "input_blocks.11.0.out_layers.0.weight", 0, 0},
        {&sd15_unet, "up_blocks.3.attentions.2.norm.weight", UNET "output_blocks.11.1.norm.weight", 0, 0},
        {&both_vae, "decoder.up_blocks.0.resnets.2.conv1.weight",
         "first_stage_model.decoder.up.3.block.2.conv1.weight", 0, 0},
        {&both_vae, "decoder.up_blocks.2.upsamplers.0.conv.weight",
         "first_stage_model.decoder.up.1.upsample.conv.weight", 0, 0},
        {&both_vae, "decoder.up_blocks.2.resnets.0.conv_shortcut.weight",
         "first_stage_model.decoder.up.1.block.0.nin_shortcut.weight", 0, 0},
        {&both_vae, "encoder.down_blocks.1.downsamplers.0.conv.bias",
         "first_stage_model.encoder.down.1.downsample.conv.bias", 0, 0},
        {&both_vae, "encoder.mid_block.attentions.0.to_out.0.weight",
         "first_stage_model.encoder.mid.attn_1.proj_out.weight", 0, 0},
        {&both_vae, "decoder.mid_block.resnets.1.norm2.bias", "first_stage_model.decoder.mid.block_2.norm2.bias", 0,
         0},
        {&both_vae, "post_quant_conv.weight", "first_stage_model.post_quant_conv.weight", 0, 0},
        {&one, "text_model.encoder.layers.11.mlp.fc2.weight",
         "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc2.weight", 0, 0},
        {&two, "text_model.encoder.layers.31.self_attn.k_proj.bias",
         "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_bias", ORIGINAL_THIRD, 1},
        {&two, "text_model.encoder.layers.0.self_attn.v_proj.weight",
         "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight", ORIGINAL_THIRD, 2},
        {&two, "text_model.encoder.layers.0.self_attn.out_proj.weight",
         "conditioner.embedders.1.model.transformer.resblocks.0.attn.out_proj.weight", 0, 0},
        {&two, "text_model.embeddings.position_embedding.weight",
         "conditioner.embedders.1.model.positional_embedding", 0, 0},
        {&two, "text_projection.weight", "conditioner.embedders.1.model.text_projection", ORIGINAL_TRANSPOSED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct original_tensor t;
        assert_true(original_name(cases[i].rule, cases[i].name, &t));
        assert_string_equal(t.name, cases[i].original);
        assert_int_equal(t.view, cases[i].view);
        assert_int_equal(t.third, cases[i].third);
    }
    struct original_tensor t;
    assert_false(original_name(&xl_unet, "no_such.weight", &t));
    assert_false(original_name(&both_vae, "encoder.no_such.weight", &t));
    assert_false(original_name(&two, "visual_projection.weight", &t));
}

/* Files of SDXL's and SD 1.5's shapes, without data: a file with holes, of which only the header is written. What
 * their shapes say is what the published configs say, for every value that the program reads. */
struct listing {
    struct named_tensor *items;
    size_t count;
    const struct original_names *names;
};

static void list_tensor(void *self, const char *name, int rank, const int64_t *shape)
{
    struct listing *l = self;
    struct original_tensor place;
    assert_true(original_name(l->names, name, &place));
    if (place.view == ORIGINAL_THIRD && place.third > 0)
        return;
    struct tensor t = {.data = zeros, .dtype = DTYPE_F16, .rank = rank};
    memcpy(t.shape, shape, (size_t)rank * sizeof *shape);
    t.shape[0] *= place.view == ORIGINAL_THIRD ? 3 : 1;
    if (place.view == ORIGINAL_TRANSPOSED) {
        t.shape[0] = shape[1];
        t.shape[1] = shape[0];
    }
    l->items = realloc(l->items, (l->count + 1) * sizeof *l->items);
    assert_non_null(l->items);
    l->items[l->count++] = (struct named_tensor){strdup(place.name), t};
}

static const char *blueprint(const char *model, const char *part, char path[256])
{
    snprintf(path, 256, "tools/blueprints/%s/%s/config.json", model, part);
    return path;
}

static void shapes_say_what_the_published_configs_say(void **state)
{
    (void)state;
    static const char *const models[] = {"sdxl", "sd15"};
    for (int i = 0; i < 2; i++) {
        char path[256];
        struct error e = {0};
        struct unet_config unet, unet_inferred;
        struct vae_config vae, vae_inferred;
        struct clip_config one, two, clip_inferred;
        assert_int_equal(unet_config_read(blueprint(models[i], "unet", path), &unet, &e), OK);
        assert_int_equal(vae_config_read(blueprint(models[i], "vae", path), &vae, &e), OK);
        assert_int_equal(clip_config_read(blueprint(models[i], "text_encoder", path), &one, &e), OK);
        struct original_names unet_names = original_unet(&unet), vae_names = original_vae(&vae);
        struct original_names one_names = original_clip(PART_TEXT_ENCODER, false);
        struct original_names two_names = original_clip(PART_TEXT_ENCODER_2, true);
        if (i == 1)
            strcpy(one_names.prefix, "cond_stage_model.transformer.");
        struct listing l = {.names = &unet_names};
        struct tensor_visitor visitor = {list_tensor, &l};
        assert_int_equal(unet_list(&unet, &visitor, &e), OK);
        l.names = &vae_names;
        assert_int_equal(vae_list(&vae, &visitor, &e), OK);
        l.names = &one_names;
        assert_int_equal(clip_list(&one, &visitor, &e), OK);
        if (i == 0) {
            assert_int_equal(clip_config_read(blueprint(models[i], "text_encoder_2", path), &two, &e), OK);
            l.names = &two_names;
            assert_int_equal(clip_list(&two, &visitor, &e), OK);
        }
        struct folder folder = folder_new();
        struct file_path file = folder_path(&folder, "x.safetensors");
        struct file_writer w;
        uint64_t bytes = 0;
        assert_int_equal(safetensors_create(file.text, l.items, l.count, NULL, &w, &e), OK);
        for (size_t t = 0; t < l.count; t++)
            bytes += (uint64_t)tensor_count(&l.items[t].tensor) * 2;
        off_t header = lseek(w.fd, 0, SEEK_CUR);
        assert_int_equal(ftruncate(w.fd, header + (off_t)bytes), 0); /* holes: no disk, no time */
        assert_int_equal(close(w.fd), 0);
        assert_int_equal(rename(w.aside, file.text), 0);

        struct single_file single;
        if (single_file_open(file.text, NULL, &single, &e) != OK)
            fail_msg("%s", e.message);
        assert_int_equal(single.kind, i == 0 ? CHECKPOINT_SDXL : CHECKPOINT_SD15);
        assert_int_equal(single_file_unet(&single, &unet_inferred, &e), OK);
        assert_int_equal(single_file_vae(&single, &vae_inferred, &e), OK);
        assert_memory_equal(&unet_inferred, &unet, sizeof unet);
        assert_memory_equal(&vae_inferred, &vae, sizeof vae);
        assert_int_equal(single_file_clip(&single, PART_TEXT_ENCODER, &clip_inferred, &e), OK);
        assert_memory_equal(&clip_inferred, &one, sizeof one);
        if (i == 0) {
            assert_int_equal(single_file_clip(&single, PART_TEXT_ENCODER_2, &clip_inferred, &e), OK);
            assert_memory_equal(&clip_inferred, &two, sizeof two);
        }
        single_file_close(&single);
        folder_remove(&folder);
        for (size_t t = 0; t < l.count; t++)
            free((char *)l.items[t].name);
        free(l.items);
    }
}

/* A fused weight is a view of rows, not a copy. */
static void a_fused_weight_is_a_view_of_rows(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "x.safetensors");
    float rows[12 * 4];
    for (int i = 0; i < 48; i++)
        rows[i] = (float)i;
    static const char fused[] = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight";
    static const char projection[] = "conditioner.embedders.1.model.text_projection";
    struct named_tensor items[] = {{fused, {.data = rows, .dtype = DTYPE_F32, .rank = 2, .shape = {12, 4}}},
                                   {projection, {.data = rows, .dtype = DTYPE_F32, .rank = 2, .shape = {4, 3}}}};
    write_file(path.text, items, 2);
    struct tensor_file file;
    struct weights w;
    struct tensor t;
    struct error e = {0};
    assert_int_equal(tensor_file_open(path.text, &file, &e), OK);
    assert_int_equal(weights_of(&file, NULL, original_clip(PART_TEXT_ENCODER_2, true), &w, &e), OK);
    static const char *const names[] = {"text_model.encoder.layers.0.self_attn.q_proj.weight",
                                        "text_model.encoder.layers.0.self_attn.k_proj.weight",
                                        "text_model.encoder.layers.0.self_attn.v_proj.weight"};
    for (int i = 0; i < 3; i++) {
        assert_true(weights_find(&w, names[i], &t, NULL));
        assert_true(tensor_is(&t, 2, (int64_t[]){4, 4}));
        assert_ptr_equal(t.data, (const float *)tensor_file_find(&file, fused)->data + 16 * i);
    }
    assert_true(weights_find(&w, "text_projection.weight", &t, NULL));
    assert_true(tensor_is(&t, 2, (int64_t[]){3, 4}));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            assert_true(((const float *)t.data)[i * 4 + j] == (float)(j * 3 + i));
    assert_false(weights_find(&w, "text_model.encoder.layers.1.self_attn.q_proj.weight", &t, NULL));
    weights_close(&w);
    tensor_file_close(&file);
    folder_remove(&folder);
}

/* A file without a VAE, or without text encoders, says so; the tokenizer's message says where to get one. */
static void what_a_file_lacks_is_said(void **state)
{
    (void)state;
    static const char single[] = "tests/golden/single-file/model.safetensors";
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "x.safetensors");
    struct model_sources sources = {.config = "tests/golden/pipeline"};
    struct tensor_file whole;
    struct model m;
    struct error e = {0};
    assert_int_equal(tensor_file_open(single, &whole, &e), OK);
    struct named_tensor *kept = room((int64_t)whole.count, sizeof *kept);
    static const struct {
        const char *prefix, *says;
    } parts[] = {{"first_stage_model.", "has no VAE in it: name one with `vae`"},
                 {"conditioner.embedders.0.", "has no text_encoder in it"},
                 {"conditioner.embedders.1.", "has no text_encoder_2 in it"}};
    for (size_t p = 0; p < 3; p++) {
        size_t count = 0;
        for (size_t i = 0; i < whole.count; i++)
            if (strncmp(whole.items[i].name, parts[p].prefix, strlen(parts[p].prefix)) != 0)
                kept[count++] = whole.items[i];
        write_file(path.text, kept, count);
        error_clear(&e);
        assert_int_not_equal(model_open_from(&m, path.text, &sources, &e), OK);
        if (strstr(e.message, parts[p].says) == NULL)
            fail_msg("\"%s\" is not in: %s", parts[p].says, e.message);
        struct model_sources more = sources;
        more.vae = p == 0 ? "tests/golden/pipeline/vae" : NULL;
        more.text_encoders = p > 0 ? "tests/golden/pipeline" : NULL;
        error_clear(&e);
        if (model_open_from(&m, path.text, &more, &e) != OK)
            fail_msg("%s", e.message);
        model_close(&m);
    }
    free(kept);
    tensor_file_close(&whole);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_drawn_with_is_refused_by_what_it_is),
        cmocka_unit_test(names_are_those_of_the_published_files),
        cmocka_unit_test(shapes_say_what_the_published_configs_say),
        cmocka_unit_test(a_fused_weight_is_a_view_of_rows),
        cmocka_unit_test(what_a_file_lacks_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
