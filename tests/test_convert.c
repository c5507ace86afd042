/* The converter: there and back, what it refuses, what it leaves behind. */
#include "tools/conversion.h"

#include "sdxl/model.h"
#include "tools/inspection.h"

#include "tests/check.h"
#include "tests/folder.h"

static const char world[] = "storydiff/models/world";

static status run(const char *in, const char *out, struct conversion how, struct error *e)
{
    how.in = in;
    how.out = out;
    status s = convert(&how, e);
    text_free(&how.notes);
    return s;
}

static void run_well(const char *in, const char *out, struct conversion how)
{
    struct error e = {0};
    if (run(in, out, how, &e) != OK)
        fail_msg("%s", e.message);
}

static void check_refused(const char *in, const char *out, struct conversion how, const char *text)
{
    struct error e = {0};
    assert_int_not_equal(run(in, out, how, &e), OK);
    if (strstr(e.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, e.message);
}

/* [o, i] and [o, i, 1, 1] are the same: the two layouts differ in which they call the VAE's attention. */
static bool same_matrix(const struct tensor *t, const struct tensor *u)
{
    for (int d = 0; d < TENSOR_MAX_RANK; d++)
        if ((d < t->rank ? t->shape[d] : 1) != (d < u->rank ? u->shape[d] : 1))
            return false;
    return true;
}

/* What a model consists of is the same, name by name and bit by bit. */
static void check_same_weights(const struct weights *a, const struct weights *b)
{
    assert_int_equal(a->bound_count, b->bound_count);
    for (size_t i = 0; i < a->bound_count; i++) {
        const struct tensor *t = &a->bound[i].tensor, *u = &b->bound[i].tensor;
        assert_string_equal(a->bound[i].name, b->bound[i].name);
        if (t->dtype != u->dtype || !same_matrix(t, u) ||
            memcmp(t->data, u->data, (size_t)tensor_count(t) * dtype_size(t->dtype)) != 0)
            fail_msg("%s is not the same", a->bound[i].name);
    }
}

static void check_same_model(const char *left, const char *right)
{
    struct model a, b;
    struct error e = {0};
    struct model_sources sources = {.other_tokenizer = world};
    if (model_open_from(&a, left, &sources, &e) != OK || model_open_from(&b, right, &sources, &e) != OK)
        fail_msg("%s", e.message);
    check_same_weights(&a.unet.weights, &b.unet.weights);
    check_same_weights(&a.vae.weights, &b.vae.weights);
    check_same_weights(&a.text_encoder.weights, &b.text_encoder.weights);
    check_same_weights(&a.text_encoder_2.weights, &b.text_encoder_2.weights);
    assert_memory_equal(&a.unet.config, &b.unet.config, sizeof a.unet.config);
    assert_memory_equal(&a.vae.config, &b.vae.config, sizeof a.vae.config);
    assert_string_equal(a.hints.note, b.hints.note);
    assert_int_equal(a.hints.sampling_steps, b.hints.sampling_steps);
    assert_int_equal(a.hints.pixels, b.hints.pixels);
    assert_string_equal(a.hints.words != NULL ? a.hints.words : "", b.hints.words != NULL ? b.hints.words : "");
    model_close(&a);
    model_close(&b);
}

static int compare_files(const char *a, const char *b)
{
    char command[1024];
    snprintf(command, sizeof command, "cmp -s '%s' '%s'", a, b);
    return system(command);
}

/* A model of each family: folder, single file, folder, single file. */
static void there_and_back_nothing_changes(void **state)
{
    (void)state;
    static const char *const models[] = {"storydiff/models/world", "tests/golden/pipeline-sd15"};
    for (int i = 0; i < 2; i++) {
        struct folder f = folder_new();
        struct file_path single = folder_path(&f, "a.safetensors"), back = folder_path(&f, "back"),
                         again = folder_path(&f, "b.safetensors");
        struct conversion how = {.dtype = DTYPE_OTHER, .sources.tokenizer = NULL};
        run_well(models[i], single.text, how);
        how.sources.other_tokenizer = models[i];
        run_well(single.text, back.text, how);
        run_well(back.text, again.text, how);
        assert_int_equal(compare_files(single.text, again.text), 0);
        check_same_model(models[i], back.text);
        if (i == 0) /* a vocabulary that is not the single file's own is one all the same */
            check_same_model(models[i], single.text);
        folder_remove(&f);
    }
}

/* Half precision fits into float32, so the way back gives the same. */
static void formats_are_changed_exactly(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path half = folder_path(&f, "a.safetensors"), full = folder_path(&f, "b.safetensors"),
                     back = folder_path(&f, "c.safetensors");
    run_well(world, half.text, (struct conversion){.dtype = DTYPE_F16});
    run_well(half.text, full.text, (struct conversion){.dtype = DTYPE_F32});
    run_well(full.text, back.text, (struct conversion){.dtype = DTYPE_F16});
    assert_int_equal(compare_files(half.text, back.text), 0);
    struct tensor_file a, b;
    assert_int_equal(tensor_file_open(half.text, &a, NULL), OK);
    assert_int_equal(tensor_file_open(full.text, &b, NULL), OK);
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i += 7) {
        const struct tensor *h = &a.items[i].tensor, *w = &b.items[i].tensor;
        assert_int_equal(w->dtype, DTYPE_F32);
        for (int64_t j = 0; j < tensor_count(h); j += 11)
            assert_true(f16_to_f32(((const uint16_t *)h->data)[j]) == ((const float *)w->data)[j]);
    }
    tensor_file_close(&a);
    tensor_file_close(&b);
    folder_remove(&f);
}

/* Files that are no models keep their names: recorded in three forms. */
static void other_files_keep_their_names(void **state)
{
    (void)state;
    static const char *const forms[] = {"vae_original.ckpt", "vae_legacy.pt"};
    for (int i = 0; i < 2; i++) {
        struct folder f = folder_new();
        struct file_path out = folder_path(&f, "out.safetensors");
        char in[256];
        snprintf(in, sizeof in, "tests/golden/single-file/%s", forms[i]);
        run_well(in, out.text, (struct conversion){.dtype = DTYPE_OTHER});
        struct tensor_file ours, wanted;
        assert_int_equal(tensor_file_open(out.text, &ours, NULL), OK);
        assert_int_equal(tensor_file_open("tests/golden/single-file/vae_original.safetensors", &wanted, NULL), OK);
        assert_int_equal(ours.count, wanted.count);
        for (size_t t = 0; t < wanted.count; t++) {
            const struct tensor *a = &ours.items[t].tensor, *b = &wanted.items[t].tensor;
            assert_string_equal(ours.items[t].name, wanted.items[t].name);
            assert_true(a->dtype == b->dtype && tensor_is(a, b->rank, b->shape));
            assert_memory_equal(a->data, b->data, (size_t)tensor_count(b) * dtype_size(b->dtype));
        }
        tensor_file_close(&ours);
        tensor_file_close(&wanted);
        check_refused(in, folder_path(&f, "folder").text, (struct conversion){.dtype = DTYPE_OTHER},
                      "not a whole model");
        folder_remove(&f);
    }
}

/* Nothing is overwritten unasked, and a failure leaves nothing. */
static void nothing_is_lost_and_nothing_left_behind(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path out = folder_path(&f, "out.safetensors"), in = folder_path(&f, "in.safetensors");
    struct conversion as_it_is = {.dtype = DTYPE_OTHER};
    write_bytes(out.text, "old", 3);
    check_refused(world, out.text, as_it_is, "is there already");
    check_refused(world, f.path, as_it_is, "is there already");
    char itself[256];
    snprintf(itself, sizeof itself, "%s/unet/..", world);
    check_refused(world, itself, (struct conversion){.dtype = DTYPE_OTHER, .overwrite = true}, "itself: name another");
    check_refused(world, folder_path(&f, "w.ckpt").text, as_it_is, "pickles are read and never written");
    size_t size;
    char *bytes = read_bytes(out.text, &size);
    assert_int_equal(size, 3);
    free(bytes);
    static const float large[] = {1, 70000};
    struct named_tensor item = {"x", {.data = large, .dtype = DTYPE_F32, .rank = 1, .shape = {2}}};
    assert_int_equal(safetensors_write(in.text, &item, 1, NULL, NULL), OK);
    check_refused(in.text, folder_path(&f, "half.safetensors").text, (struct conversion){.dtype = DTYPE_F16},
                  "too large for F16");
    run_well(in.text, out.text, (struct conversion){.dtype = DTYPE_BF16, .overwrite = true});
    check_refused("/nowhere/x.safetensors", folder_path(&f, "y").text, as_it_is, "/nowhere/x.safetensors");
    char command[256];
    snprintf(command, sizeof command, "test \"$(ls %s)\" = 'in.safetensors\nout.safetensors'", f.path);
    assert_int_equal(system(command), 0);
    folder_remove(&f);
}

static void a_vocabulary_that_stays_behind_is_noted(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path file = folder_path(&f, "w.safetensors"), folder = folder_path(&f, "w");
    struct conversion single = {.in = world, .out = file.text, .dtype = DTYPE_OTHER}, whole = single;
    whole.out = folder.text;
    struct error e = {0};
    assert_int_equal(convert(&single, &e), OK);
    assert_non_null(strstr(single.notes.data, "the vocabulary stays behind"));
    assert_int_equal(convert(&whole, &e), OK);
    assert_true(whole.notes.data == NULL || strstr(whole.notes.data, "vocabulary") == NULL);
    text_free(&single.notes);
    text_free(&whole.notes);
    folder_remove(&f);
}

static void what_is_no_number_is_noted(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path in = folder_path(&f, "in.safetensors"), out = folder_path(&f, "out.safetensors");
    const float odd[] = {1, NAN, INFINITY};
    struct named_tensor item = {"x", {.data = odd, .dtype = DTYPE_F32, .rank = 1, .shape = {3}}};
    struct conversion c = {.in = in.text, .out = out.text, .dtype = DTYPE_F16};
    struct error e = {0};
    assert_int_equal(safetensors_write(in.text, &item, 1, NULL, NULL), OK);
    assert_int_equal(convert(&c, &e), OK);
    assert_non_null(strstr(c.notes.data, "2 values are infinite or no numbers"));
    text_free(&c.notes);
    folder_remove(&f);
}

/* W' = W + weight * up . down where the LoRA has something, and the same elsewhere: in a fused weight, too. */
static void loras_are_merged_in(void **state)
{
    (void)state;
    static const char module[] = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight";
    static const char text[] = "text_model.encoder.layers.1.self_attn.k_proj.weight";
    struct folder f = folder_new();
    struct file_path lora = folder_path(&f, "lora.safetensors"), out = folder_path(&f, "out.safetensors");
    float up[32 * 2], down[2 * 32];
    for (int i = 0; i < 64; i++) {
        up[i] = (float)(i % 7 - 3) / 8;
        down[i] = (float)(i % 5 - 2) / 16;
    }
    const struct named_tensor items[] = {{"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                          {.data = down, .dtype = DTYPE_F32, .rank = 2, .shape = {2, 16}}},
                                         {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight",
                                          {.data = up, .dtype = DTYPE_F32, .rank = 2, .shape = {16, 2}}},
                                         {"lora_te2_text_model_encoder_layers_1_self_attn_k_proj.lora_down.weight",
                                          {.data = down, .dtype = DTYPE_F32, .rank = 2, .shape = {2, 32}}},
                                         {"lora_te2_text_model_encoder_layers_1_self_attn_k_proj.lora_up.weight",
                                          {.data = up, .dtype = DTYPE_F32, .rank = 2, .shape = {32, 2}}}};
    assert_int_equal(safetensors_write(lora.text, items, 4, NULL, NULL), OK);
    struct lora_source source = {lora.text, 0.5};
    run_well("tests/golden/pipeline", out.text,
             (struct conversion){.dtype = DTYPE_OTHER, .sources = {.loras = &source, .lora_count = 1}});
    struct model before, after;
    struct error e = {0};
    struct model_sources sources = {.other_tokenizer = "tests/golden/pipeline"};
    assert_int_equal(model_open(&before, "tests/golden/pipeline", &e), OK);
    if (model_open_from(&after, out.text, &sources, &e) != OK)
        fail_msg("%s", e.message);
    const struct weights *const parts[][2] = {{&before.unet.weights, &after.unet.weights},
                                              {&before.text_encoder_2.weights, &after.text_encoder_2.weights}};
    int merged = 0;
    for (int p = 0; p < 2; p++)
        for (size_t i = 0; i < parts[p][0]->bound_count; i++) {
            const struct tensor *a = &parts[p][0]->bound[i].tensor, *b = &parts[p][1]->bound[i].tensor;
            bool has_delta = strcmp(parts[p][0]->bound[i].name, p == 0 ? module : text) == 0;
            int64_t K = a->rank > 1 ? a->shape[1] : 1;
            merged += has_delta;
            for (int64_t j = 0; j < tensor_count(a); j++) {
                double wanted = ((const float *)a->data)[j];
                for (int r = 0; has_delta && r < 2; r++)
                    wanted += 0.5 * (double)up[j / K * 2 + r] * (double)down[r * K + j % K];
                assert_true(fabs(wanted - (double)((const float *)b->data)[j]) <= (has_delta ? 1e-6 : 0));
            }
        }
    assert_int_equal(merged, 2);
    model_close(&before);
    model_close(&after);
    folder_remove(&f);
}

static void check_says(const char *path, struct inspection how, bool usable, const char *const *texts)
{
    struct text out = {0};
    struct error e = {0};
    bool whole;
    how.path = path;
    if (inspect(&how, &out, &whole, &e) != OK)
        fail_msg("%s", e.message);
    assert_int_equal(whole, usable);
    for (; *texts != NULL; texts++)
        if (strstr(out.data, *texts) == NULL)
            fail_msg("\"%s\" is not in: %s", *texts, out.data);
    if (how.form == INSPECTION_JSON) {
        const struct json *root;
        assert_int_equal(json_parse("report", out.data, out.length, &root, &e), OK);
        json_free(root);
    }
    text_free(&out);
}

#define TEXTS(...)                                                                                                   \
    (const char *const[])                                                                                            \
    {                                                                                                                \
        __VA_ARGS__, NULL                                                                                            \
    }

static void the_inspector_says_what_there_is(void **state)
{
    (void)state;
    static const char single[] = "tests/golden/single-file/model.safetensors";
    struct inspection text = {0}, json = {.form = INSPECTION_JSON}, tensors = {.tensors = true};
    check_says(world, text, true, TEXTS("an SDXL model (folder)", "unet", "F16"));
    check_says(world, json, true,
               TEXTS("\"what\": \"an SDXL model\"", "\"conv_in.weight\"", "\"would_not_bind\": []"));
    check_says(single, text, false, TEXTS("an SDXL model (safetensors)", "would not bind:", "config"));
    struct inspection with_config = {.sources.config = "tests/golden/pipeline"};
    check_says(single, with_config, true, TEXTS("an SDXL model (safetensors)", "text_encoder_2"));
    check_says("tests/golden/single-file/vae_original.ckpt", tensors, false,
               TEXTS("a VAE (PyTorch)", "extra.view_transposed F32 [6, 4]", "extra.bf16 BF16 [16]"));
    check_says("storydiff/examples/page.png", text, true, TEXTS("a picture", "\"seed\""));
    check_says("tests/fuzz/corpus/png/rgb", json, true, TEXTS("\"texts\": {"));
}

/* As AUTOMATIC1111's web UI writes it: a tEXt chunk, Latin-1. */
static void the_inspector_reads_what_others_wrote(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path path = folder_path(&f, "x.png");
    static const unsigned char bytes[] =
        "\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\000\000\001\000\000\000\001"
        "\010\002\000\000\000\220\167\123\336\000\000\000\030\164\105\130\164\160\141\162\141\155\145\164"
        "\145\162\163\000\143\141\146\351\012\123\164\145\160\163\072\040\064\134\214\001\363\000\000\000"
        "\014\111\104\101\124\170\234\143\110\114\112\006\000\002\116\001\047\300\141\236\031\000\000\000"
        "\000\111\105\116\104\256\102\140\202";
    write_bytes(path.text, bytes, sizeof bytes - 1);
    struct text out = {0};
    struct error e = {0};
    bool whole;
    struct inspection how = {.path = path.text};
    if (inspect(&how, &out, &whole, &e) != OK)
        fail_msg("%s", e.message);
    assert_non_null(strstr(out.data, "parameters:\ncaf\xc3\xa9\nSteps: 4"));
    text_free(&out);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back_nothing_changes),   cmocka_unit_test(formats_are_changed_exactly),
        cmocka_unit_test(other_files_keep_their_names),     cmocka_unit_test(nothing_is_lost_and_nothing_left_behind),
        cmocka_unit_test(a_vocabulary_that_stays_behind_is_noted),
        cmocka_unit_test(what_is_no_number_is_noted),       cmocka_unit_test(loras_are_merged_in),
        cmocka_unit_test(the_inspector_says_what_there_is), cmocka_unit_test(the_inspector_reads_what_others_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
