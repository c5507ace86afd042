/* Opening a model folder: copies of the small recorded one, with one file changed or gone. */
#include "sdxl/model.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/mutation.h"

static const char small[] = "tests/golden/pipeline";

/* A folder of links to the small model's files. */
static struct folder copy_of_small(void)
{
    struct folder copy = folder_new();
    char command[256];
    snprintf(command, sizeof command, "cp -rs \"$PWD/%s/.\" '%s'", small, copy.path);
    assert_int_equal(system(command), 0);
    return copy;
}

static void replace(const struct folder *copy, const char *name, const char *source)
{
    size_t size;
    char *bytes = read_bytes(source, &size);
    write_bytes(folder_path(copy, name).text, bytes, size);
    free(bytes);
}

static void change(const struct folder *copy, const char *name, const char *key, const char *value)
{
    struct file_path path = folder_path(copy, name);
    size_t size;
    char *text = read_bytes(path.text, &size), *changed = with_value(text, key, value);
    write_bytes(path.text, changed, strlen(changed));
    free(text);
    free(changed);
}

static void check_refused(const struct folder *copy, const char *text)
{
    struct model m;
    struct error e = {0};
    assert_int_not_equal(model_open(&m, copy->path, &e), OK);
    if (strstr(e.message, copy->path) == NULL || strstr(e.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, e.message);
    assert_null(m.tokenizer); /* closed */
    model_close(&m);
}

static void open_well(struct model *m, const char *path)
{
    struct error e = {0};
    if (model_open(m, path, &e) != OK)
        fail_msg("%s", e.message);
}

static void opens_a_folder_in_the_diffusers_layout(void **state)
{
    (void)state;
    struct model m;
    open_well(&m, small);
    assert_string_equal(m.path, small);
    assert_int_equal(m.text_encoder.config.hidden_size + m.text_encoder_2.config.hidden_size,
                     m.unet.config.cross_attention_dim);
    assert_int_equal(model_size_multiple(&m), 32);
    assert_true(m.force_zeros_for_empty_prompt);
    assert_string_equal(m.hints.note, "");
    assert_int_equal(m.hints.sampling_steps, 0);
    model_close(&m);
    model_close(&m);
}

static void reads_what_a_model_says_of_itself(void **state)
{
    (void)state;
    struct folder copy = copy_of_small();
    struct model m;
    change(&copy, "model_index.json", "_storydiff",
           "{\"note\": \"random weights\", \"sampling_steps\": 4, \"guidance_scale\": 1.5, \"eta\": 0.5}");
    change(&copy, "model_index.json", "force_zeros_for_empty_prompt", "false");
    open_well(&m, copy.path);
    assert_string_equal(m.hints.note, "random weights");
    assert_int_equal(m.hints.sampling_steps, 4);
    assert_true(m.hints.guidance_scale == 1.5);
    assert_true(m.hints.eta == 0.5);
    assert_false(m.force_zeros_for_empty_prompt);
    assert_int_equal(m.hints.pixels, 0);
    assert_int_equal(m.hints.figures, 0);
    assert_false(m.hints.somebody);
    assert_true(model_hints_know(&m.hints, "dragon", 6));
    model_close(&m);
    change(&copy, "model_index.json", "_storydiff",
           "{\"pixels\": 256, \"figures\": 2, \"nobody\": false, \"words\": [\"cat\", \"caf\u00e9\"], \"wrods\": 1}");
    open_well(&m, copy.path);
    assert_int_equal(m.hints.pixels, 256);
    assert_int_equal(m.hints.figures, 2);
    assert_true(m.hints.somebody);
    assert_true(model_hints_know(&m.hints, "Cat", 3) && model_hints_know(&m.hints, "cats", 3));
    assert_true(model_hints_know(&m.hints, "caf\u00e9", 5));
    assert_false(model_hints_know(&m.hints, "ca", 2));
    assert_false(model_hints_know(&m.hints, "cats", 4));
    assert_false(model_hints_know(&m.hints, "at", 2));
    struct text notes = {0};
    model_note(&m, &notes);
    assert_non_null(strstr(notes.data, "\"wrods\" in \"_storydiff\" means nothing"));
    text_free(&notes);
    model_close(&m);
    folder_remove(&copy);
}

static void what_a_model_says_of_itself_is_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "7",
        "[]",
        "{\"note\": 7}",
        "{\"sampling_steps\": -4}",
        "{\"sampling_steps\": 4.5}",
        "{\"sampling_steps\": 1e9}",
        "{\"guidance_scale\": []}",
        "{\"guidance_scale\": -1}",
        "{\"eta\": 2}",
        "{\"pixels\": \"256\"}",
        "{\"pixels\": 1}",
        "{\"figures\": 0}",
        "{\"nobody\": 0}",
        "{\"words\": \"cat\"}",
        "{\"words\": {}}",
        "{\"words\": [1]}",
        "{\"words\": [\"\"]}",
        "{\"words\": [\"a cat\"]}",
        "{\"words\": [\"cat\\n\"]}",
        "{\"words\": [\"cat\\u0000\"]}",
    };
    struct folder copy = copy_of_small();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct model m;
        struct error e = {0};
        change(&copy, "model_index.json", "_storydiff", wrong[i]);
        assert_int_equal(model_open(&m, copy.path, &e), ERR_FORMAT);
        assert_non_null(strstr(e.message, "model_index.json: \""));
        assert_non_null(strstr(e.message, "\"_storydiff\""));
    }
    folder_remove(&copy);
}

static void every_missing_file_is_named(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"model_index.json", "model_index.json"},
        {"tokenizer/vocab.json", "tokenizer/vocab.json"},
        {"tokenizer_2/merges.txt", "tokenizer_2/merges.txt"},
        {"text_encoder/config.json", "text_encoder/config.json"},
        {"text_encoder_2/model.safetensors", "text_encoder_2/model.safetensors"},
        {"unet/config.json", "unet/config.json"},
        {"unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"},
        {"vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"},
        {"scheduler/scheduler_config.json", "scheduler/scheduler_config.json"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct folder copy = copy_of_small();
        assert_int_equal(unlink(folder_path(&copy, files[i][0]).text), 0);
        check_refused(&copy, files[i][1]);
        folder_remove(&copy);
    }
}

static void weights_may_have_a_precision_in_their_name(void **state)
{
    (void)state;
    struct folder copy = copy_of_small();
    struct model m;
    assert_int_equal(rename(folder_path(&copy, "unet/diffusion_pytorch_model.safetensors").text,
                            folder_path(&copy, "unet/diffusion_pytorch_model.fp16.safetensors").text),
                     0);
    assert_int_equal(rename(folder_path(&copy, "text_encoder/model.safetensors").text,
                            folder_path(&copy, "text_encoder/model.fp16.safetensors").text),
                     0);
    open_well(&m, copy.path);
    model_close(&m);
    folder_remove(&copy);
}

static void pipelines_of_another_class_are_refused(void **state)
{
    (void)state;
    struct folder copy = copy_of_small();
    change(&copy, "model_index.json", "_class_name", "\"StableDiffusionPipeline\"");
    check_refused(&copy, "StableDiffusionPipeline");
    change(&copy, "model_index.json", "_class_name", "null");
    check_refused(&copy, "_class_name");
    folder_remove(&copy);
}

static void parts_of_different_models_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *part, *weights, *source, *text;
    } strangers[] = {
        {"unet", "diffusion_pytorch_model.safetensors", "tests/golden/unet-sdxl",
         "give 56 values a token, the UNet wants 80"},
        {"unet", "diffusion_pytorch_model.safetensors", "tests/golden/unet-sd15", "text_time"},
        {"text_encoder_2", "model.safetensors", "tests/golden/clip/encoder-2-gelu-projection",
         "give 72 values a token"},
        {"text_encoder_2", "model.safetensors", "tests/golden/pipeline/text_encoder", "give 48 values a token"},
    };
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct folder copy = copy_of_small();
        char to[128], from[128];
        snprintf(to, sizeof to, "%s/config.json", strangers[i].part);
        snprintf(from, sizeof from, "%s/config.json", strangers[i].source);
        replace(&copy, to, from);
        snprintf(to, sizeof to, "%s/%s", strangers[i].part, strangers[i].weights);
        snprintf(from, sizeof from, "%s/%s", strangers[i].source, strangers[i].weights);
        replace(&copy, to, from);
        check_refused(&copy, strangers[i].text);
        folder_remove(&copy);
    }
}

/* The first tensor that does not fit is named, whatever part it is of. */
static void weights_that_do_not_fit_their_config_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *key, *value, *text;
    } changes[] = {
        {"unet/config.json", "cross_attention_dim", "55", "attn2.to_k.weight"},
        {"unet/config.json", "layers_per_block", "1", "up_blocks.0.resnets.1.norm1.weight"},
        {"unet/config.json", "transformer_layers_per_block", "[1, 1, 3]", "transformer_blocks.2"},
        {"vae/config.json", "latent_channels", "8", "encoder.conv_out.weight"},
        {"text_encoder/config.json", "vocab_size", "663", "token_embedding.weight"},
        {"text_encoder_2/config.json", "projection_dim", "19", "text_projection.weight"},
        {"text_encoder_2/config.json", "num_hidden_layers", "4", "layers.3"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct folder copy = copy_of_small();
        change(&copy, changes[i].config, changes[i].key, changes[i].value);
        check_refused(&copy, changes[i].text);
        folder_remove(&copy);
    }
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    static char path[5000];
    struct model m;
    struct error e = {0};
    memset(path, 'x', sizeof path - 1);
    assert_int_equal(model_open(&m, path, &e), ERR_ARGUMENT);
    model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_a_folder_in_the_diffusers_layout),
        cmocka_unit_test(reads_what_a_model_says_of_itself),
        cmocka_unit_test(what_a_model_says_of_itself_is_checked),
        cmocka_unit_test(every_missing_file_is_named),
        cmocka_unit_test(weights_may_have_a_precision_in_their_name),
        cmocka_unit_test(pipelines_of_another_class_are_refused),
        cmocka_unit_test(parts_of_different_models_are_refused),
        cmocka_unit_test(weights_that_do_not_fit_their_config_are_refused),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
