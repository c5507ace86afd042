/* Configs of recorded models, changed one key at a time: what would mean another computation, or none, must be
 * refused by the key's name. */
#include "sdxl/checkpoint/config.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/mutation.h"

static const char unet_sdxl[] = "tests/golden/unet-sdxl/config.json";
static const char unet_sd15[] = "tests/golden/unet-sd15/config.json";
static const char vae[] = "tests/golden/vae/config.json";
static const char clip_1[] = "tests/golden/clip/encoder-1-quick-gelu/config.json";
static const char clip_2[] = "tests/golden/clip/encoder-2-gelu-projection/config.json";

union config {
    struct unet_config unet;
    struct vae_config vae;
    struct clip_config clip;
};

static status read_unet(const char *path, union config *c, struct error *e)
{
    return unet_config_read(path, &c->unet, e);
}

static status read_vae(const char *path, union config *c, struct error *e)
{
    return vae_config_read(path, &c->vae, e);
}

static status read_clip(const char *path, union config *c, struct error *e)
{
    return clip_config_read(path, &c->clip, e);
}

typedef status reading(const char *path, union config *c, struct error *e);

static status read_text(reading *read, const char *text, union config *c, struct error *e)
{
    struct file_path path = folder_path(own_folder(), "config.json");
    write_bytes(path.text, text, strlen(text));
    return read(path.text, c, e);
}

static union config read_well(reading *read, const char *path)
{
    union config c;
    struct error e = {0};
    if (read(path, &c, &e) != OK)
        fail_msg("%s", e.message);
    return c;
}

static union config read_changed(reading *read, const char *base, const char *key, const char *value)
{
    union config c;
    struct error e = {0};
    size_t size;
    char *text = read_bytes(base, &size), *changed = with_value(text, key, value);
    if (read_text(read, changed, &c, &e) != OK)
        fail_msg("\"%s\": %s: %s", key, value ? value : "(absent)", e.message);
    free(text);
    free(changed);
    return c;
}

/* `base` with a value changed is refused, and the message names the file and `named`. */
static void check_refused(reading *read, const char *base, const char *key, const char *value, const char *named)
{
    union config c;
    struct error e = {0};
    size_t size;
    char *text = read_bytes(base, &size), *changed = with_value(text, key, value);
    if (read_text(read, changed, &c, &e) != ERR_FORMAT)
        fail_msg("\"%s\": %s is accepted", key, value);
    if (strstr(e.message, "config.json") == NULL || strstr(e.message, named) == NULL)
        fail_msg("\"%s\": %s is refused without naming \"%s\": %s", key, value, named, e.message);
    free(text);
    free(changed);
}

/* changes: "key: value", ended by a NULL. Each change alone is refused by the key's name. */
static void check_all_refused(reading *read, const char *base, const char *const *changes)
{
    for (; *changes != NULL; changes++) {
        char key[64];
        const char *colon = strstr(*changes, ": ");
        snprintf(key, sizeof key, "%.*s", (int)(colon - *changes), *changes);
        check_refused(read, base, key, colon + 2, key);
    }
}

#define REFUSED(read, base, ...) check_all_refused(read, base, (const char *const[]){__VA_ARGS__, NULL})

/* ---------------------------------------------------------------------------------------------------------- unet */

static void reads_an_sdxl_unet(void **state)
{
    (void)state;
    struct unet_config c = read_well(read_unet, unet_sdxl).unet;
    assert_int_equal(c.levels, 3);
    assert_int_equal(c.block_out_channels[0], 8);
    assert_int_equal(c.block_out_channels[2], 24);
    assert_false(c.down_attention[0] || !c.down_attention[1] || !c.down_attention[2]);
    assert_true(c.up_attention[0] && c.up_attention[1] && !c.up_attention[2]);
    assert_int_equal(c.transformer_layers[2], 2);
    assert_int_equal(c.heads[1], 2);
    assert_int_equal(c.heads[2], 4);
    assert_true(c.text_time);
    assert_int_equal(c.addition_time_embed_dim, 8);
    assert_int_equal(c.projection_class_embeddings_input_dim, 68);
    assert_int_equal(c.cross_attention_dim, 80);
    assert_int_equal(c.layers_per_block, 2);
    assert_true(c.norm_eps == 1e-5f && c.flip_sin_to_cos && c.freq_shift == 0);
}

static void reads_an_sd15_unet(void **state)
{
    (void)state;
    struct unet_config c = read_well(read_unet, unet_sd15).unet;
    assert_int_equal(c.levels, 4);
    assert_false(c.text_time);
    assert_false(c.up_attention[0] || !c.up_attention[3] || c.down_attention[3]);
    for (int i = 0; i < 4; i++) { /* one number for all levels */
        assert_int_equal(c.heads[i], 8);
        assert_int_equal(c.transformer_layers[i], 1);
    }
}

static void absent_keys_have_the_references_defaults(void **state)
{
    (void)state;
    assert_int_equal(read_changed(read_unet, unet_sdxl, "layers_per_block", NULL).unet.layers_per_block, 2);
    assert_int_equal(read_changed(read_unet, unet_sdxl, "cross_attention_dim", NULL).unet.cross_attention_dim, 1280);
    assert_int_equal(read_changed(read_unet, unet_sdxl, "in_channels", "null").unet.in_channels, 4);
    assert_int_equal(
        read_changed(read_unet, unet_sdxl, "transformer_layers_per_block", NULL).unet.transformer_layers[2], 1);
    assert_true(read_changed(read_unet, unet_sdxl, "norm_eps", NULL).unet.norm_eps == 1e-5f);
    assert_true(read_changed(read_unet, unet_sdxl, "act_fn", NULL).unet.levels == 3);
    assert_true(read_changed(read_vae, vae, "scaling_factor", NULL).vae.scaling_factor == 0.18215);
    assert_int_equal(read_changed(read_vae, vae, "layers_per_block", NULL).vae.layers_per_block, 1);
    assert_int_equal(read_changed(read_clip, clip_1, "vocab_size", NULL).clip.vocab_size, 49408);
    assert_int_equal(read_changed(read_clip, clip_2, "hidden_act", NULL).clip.activation, ACT_QUICK_GELU);
    assert_int_equal(read_changed(read_clip, clip_1, "architectures", NULL).clip.projection_dim, 0);
}

static void num_attention_heads_goes_before_attention_head_dim(void **state)
{
    (void)state;
    struct unet_config c = read_changed(read_unet, unet_sdxl, "num_attention_heads", "[1, 4, 8]").unet;
    assert_int_equal(c.heads[1], 4);
    assert_int_equal(c.heads[2], 8);
}

static void unet_keys_of_another_computation_are_refused(void **state)
{
    (void)state;
    REFUSED(read_unet, unet_sdxl, "center_input_sample: true", "class_embed_type: \"timestep\"",
            "class_embeddings_concat: true", "dual_cross_attention: true", "encoder_hid_dim: 768",
            "encoder_hid_dim_type: \"text_proj\"", "num_class_embeds: 10", "only_cross_attention: true",
            "only_cross_attention: [true, false, false]", "mid_block_only_cross_attention: true",
            "resnet_skip_time_act: true", "time_cond_proj_dim: 255", "time_embedding_act_fn: \"silu\"",
            "time_embedding_dim: 512", "timestep_post_act: \"silu\"", "cross_attention_norm: \"layer_norm\"",
            "reverse_transformer_layers_per_block: [1, 1, 1]");
    REFUSED(read_unet, unet_sdxl, "act_fn: \"gelu\"", "attention_type: \"gated\"",
            "mid_block_type: \"UNetMidBlock2DSimpleCrossAttn\"", "resnet_time_scale_shift: \"scale_shift\"",
            "time_embedding_type: \"fourier\"", "addition_embed_type: \"image\"", "conv_in_kernel: 1",
            "conv_out_kernel: 5", "downsample_padding: 0", "mid_block_scale_factor: 1.414",
            "resnet_out_scale_factor: 1.414");
}

static void unet_sizes_must_be_whole_and_in_range(void **state)
{
    (void)state;
    static const char *const keys[] = {"in_channels",
                                       "out_channels",
                                       "sample_size",
                                       "cross_attention_dim",
                                       "layers_per_block",
                                       "norm_num_groups",
                                       "addition_time_embed_dim",
                                       "projection_class_embeddings_input_dim"};
    static const char *const values[] = {"0",
                                         "-4",
                                         "1.5",
                                         "4.0",
                                         "1e2",
                                         "\"4\"",
                                         "true",
                                         "[4]",
                                         "{}",
                                         "70000",
                                         "9223372036854775807",
                                         "99999999999999999999"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            check_refused(read_unet, unet_sdxl, keys[k], values[v], keys[k]);
    REFUSED(read_unet, unet_sdxl, "layers_per_block: 5"); /* MAX_LAYERS_PER_BLOCK is 4 */
}

static void unet_lists_must_have_an_entry_per_level(void **state)
{
    (void)state;
    REFUSED(read_unet, unet_sdxl, "block_out_channels: 8", "block_out_channels: []",
            "block_out_channels: [8, 8, 8, 8, 8, 8, 8]", "block_out_channels: [8, 0, 8]",
            "block_out_channels: [8, 16, \"24\"]", "block_out_channels: [8, 16, 70000]", "block_out_channels: null",
            "down_block_types: [\"DownBlock2D\"]", "down_block_types: \"DownBlock2D\"",
            "down_block_types: [\"DownBlock2D\", \"DownBlock2D\", 7]",
            "up_block_types: [\"UpBlock2D\", \"UpBlock2D\", \"AttnUpBlock2D\"]", "up_block_types: null",
            "transformer_layers_per_block: [1, 2]", "transformer_layers_per_block: [1, 1, [1, 2]]",
            "transformer_layers_per_block: 65", "transformer_layers_per_block: [1, 1, -1]",
            "attention_head_dim: [1, 2]", "attention_head_dim: [1, 2, 0]", "attention_head_dim: \"8\"",
            "num_attention_heads: [1, 2]", "num_attention_heads: 2.5");
    check_refused(read_unet, unet_sdxl, "block_out_channels", "[8, 16]", "down_block_types");
}

static void widths_divide_by_groups_and_heads(void **state)
{
    (void)state;
    REFUSED(read_unet, unet_sdxl, "norm_num_groups: 3", "block_out_channels: [8, 18, 24]",
            "attention_head_dim: [1, 2, 5]", "attention_head_dim: [1, 3, 4]", "num_attention_heads: [1, 3, 4]");
    REFUSED(read_vae, vae, "norm_num_groups: 16");
    check_refused(read_clip, clip_1, "num_attention_heads", "5", "hidden_size");
}

/* Level 0 has no transformer, so its heads are not used: one head of 8 or three make no difference. */
static void heads_of_a_level_without_attention_are_not_judged(void **state)
{
    (void)state;
    read_changed(read_unet, unet_sdxl, "attention_head_dim", "[3, 2, 4]");
}

static void numbers_and_flags_of_another_kind_are_refused(void **state)
{
    (void)state;
    REFUSED(read_unet, unet_sdxl, "norm_eps: \"1e-5\"", "norm_eps: 0", "norm_eps: -1e-5", "norm_eps: 1e-60",
            "norm_eps: 1e60", "flip_sin_to_cos: 1", "freq_shift: \"0\"", "freq_shift: 1", "freq_shift: -1",
            "act_fn: 5", "addition_embed_type: 3", "time_embedding_type: []", "downsample_padding: \"1\"");
    REFUSED(read_vae, vae, "scaling_factor: \"0.13025\"", "scaling_factor: 0", "scaling_factor: [1]",
            "use_quant_conv: 0", "act_fn: false");
    REFUSED(read_clip, clip_1, "layer_norm_eps: \"1e-5\"", "layer_norm_eps: 0", "hidden_act: 5",
            "architectures: \"CLIPTextModel\"", "architectures: [1]");
}

static void time_conditioning_must_have_room_for_six_sizes(void **state)
{
    (void)state;
    REFUSED(read_unet, unet_sdxl, "projection_class_embeddings_input_dim: 48", "addition_time_embed_dim: 7",
            "projection_class_embeddings_input_dim: null", "addition_time_embed_dim: null");
    check_refused(read_unet, unet_sdxl, "addition_time_embed_dim", "12", "projection_class_embeddings_input_dim");
    assert_int_equal(read_changed(read_unet, unet_sdxl, "projection_class_embeddings_input_dim", "49")
                         .unet.addition_time_embed_dim,
                     8);
}

/* --------------------------------------------------------------------------------------------------- vae and clip */

static void reads_a_vae(void **state)
{
    (void)state;
    struct vae_config c = read_well(read_vae, vae).vae;
    assert_int_equal(c.levels, 4);
    assert_int_equal(vae_factor(&c), 8);
    assert_int_equal(c.latent_channels, 4);
    assert_true(c.scaling_factor == 0.13025);
}

static void vae_keys_of_another_computation_are_refused(void **state)
{
    (void)state;
    REFUSED(read_vae, vae, "act_fn: \"relu\"", "shift_factor: 0.1", "latents_mean: [0, 0, 0, 0]",
            "latents_std: [1, 1, 1, 1]", "use_quant_conv: false", "use_post_quant_conv: false",
            "mid_block_add_attention: false", "latent_channels: 0", "sample_size: \"64\"", "layers_per_block: 5",
            "block_out_channels: [8, 8, 8, 8, 8, 8, 8]");
}

/* Pictures have three channels wherever memory is made for them. */
static void a_vae_of_other_than_rgb_pictures_is_refused(void **state)
{
    (void)state;
    REFUSED(read_vae, vae, "out_channels: 4", "out_channels: 1", "in_channels: 4", "in_channels: \"3\"");
}

static void reads_both_text_encoders(void **state)
{
    (void)state;
    struct clip_config one = read_well(read_clip, clip_1).clip, two = read_well(read_clip, clip_2).clip;
    assert_int_equal(one.activation, ACT_QUICK_GELU);
    assert_int_equal(one.projection_dim, 0);
    assert_int_equal(two.activation, ACT_GELU);
    assert_int_equal(two.projection_dim, 40);
    assert_int_equal(two.hidden_size, 48);
    assert_int_equal(two.heads, 4);
    assert_int_equal(two.layers, 3);
    assert_int_equal(two.positions, 77);
}

static void text_encoders_of_another_kind_are_refused(void **state)
{
    (void)state;
    REFUSED(read_clip, clip_2, "architectures: [\"BertModel\"]", "hidden_act: \"relu\"", "num_hidden_layers: 1",
            "num_hidden_layers: 129", "num_hidden_layers: 2.5", "vocab_size: 0", "vocab_size: 1048577",
            "hidden_size: -1", "intermediate_size: \"x\"", "max_position_embeddings: 0", "num_attention_heads: 0",
            "projection_dim: 0");
}

/* --------------------------------------------------------------------------------------------------------- damage */

static void files_cut_short_anywhere_are_refused(void **state)
{
    (void)state;
    static const struct {
        reading *read;
        const char *path;
    } files[] = {{read_unet, unet_sdxl}, {read_vae, vae}, {read_clip, clip_2}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size;
        char *text = read_bytes(files[i].path, &size);
        while (size > 0 && isspace((unsigned char)text[size - 1]))
            size--; /* after the last bracket nothing is missing */
        while (size-- > 0) {
            union config c;
            struct error e = {0};
            text[size] = '\0';
            assert_int_not_equal(read_text(files[i].read, text, &c, &e), OK);
            assert_non_null(strstr(e.message, "config.json"));
        }
        free(text);
    }
}

/* Whatever a changed byte makes of a file: it is refused with a message, or every promise of the config still holds.
 */
static void damaged_bytes_are_refused_or_harmless(void **state)
{
    (void)state;
    static const char bytes[] = "0-\"[{x,.9\x80";
    size_t size;
    char *text = read_bytes(unet_sdxl, &size);
    for (size_t i = 0; i < size; i++) {
        char before = text[i];
        union config c;
        struct error e = {0};
        text[i] = bytes[i % (sizeof bytes - 1)];
        if (read_text(read_unet, text, &c, &e) != OK) {
            assert_int_equal(e.code, ERR_FORMAT);
            assert_true(e.message[0] != '\0');
        } else {
            assert_true(c.unet.levels >= 1 && c.unet.levels <= MAX_LEVELS);
            assert_true(c.unet.layers_per_block >= 1 && c.unet.layers_per_block <= MAX_LAYERS_PER_BLOCK);
            for (int level = 0; level < c.unet.levels; level++)
                assert_int_equal(c.unet.block_out_channels[level] % c.unet.norm_num_groups, 0);
        }
        text[i] = before;
    }
    free(text);
}

static void documents_that_are_no_objects_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "null", "[]", "7", "\"unet\"", "[{}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        union config c;
        struct error e = {0};
        assert_int_not_equal(read_text(read_unet, texts[i], &c, &e), OK);
        error_clear(&e);
        assert_int_not_equal(read_text(read_vae, texts[i], &c, &e), OK);
    }
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    union config c;
    struct error e = {0};
    assert_int_equal(read_unet("/nowhere/config.json", &c, &e), ERR_IO);
    assert_non_null(strstr(e.message, "/nowhere/config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_an_sdxl_unet),
        cmocka_unit_test(reads_an_sd15_unet),
        cmocka_unit_test(absent_keys_have_the_references_defaults),
        cmocka_unit_test(num_attention_heads_goes_before_attention_head_dim),
        cmocka_unit_test(unet_keys_of_another_computation_are_refused),
        cmocka_unit_test(unet_sizes_must_be_whole_and_in_range),
        cmocka_unit_test(unet_lists_must_have_an_entry_per_level),
        cmocka_unit_test(widths_divide_by_groups_and_heads),
        cmocka_unit_test(heads_of_a_level_without_attention_are_not_judged),
        cmocka_unit_test(numbers_and_flags_of_another_kind_are_refused),
        cmocka_unit_test(time_conditioning_must_have_room_for_six_sizes),
        cmocka_unit_test(reads_a_vae),
        cmocka_unit_test(vae_keys_of_another_computation_are_refused),
        cmocka_unit_test(a_vae_of_other_than_rgb_pictures_is_refused),
        cmocka_unit_test(reads_both_text_encoders),
        cmocka_unit_test(text_encoders_of_another_kind_are_refused),
        cmocka_unit_test(files_cut_short_anywhere_are_refused),
        cmocka_unit_test(damaged_bytes_are_refused_or_harmless),
        cmocka_unit_test(documents_that_are_no_objects_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
