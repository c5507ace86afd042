/* Models made up from the binding tables: complete, of a sane scale, the same for the same seed. */
#include "sdxl/model.h"
#include "tools/synthetic_model.h"

#include "tests/check.h"
#include "tests/folder.h"

static const char small[] = "tests/golden/pipeline";

static void write_model(const struct folder *folder, const char *blueprint, enum dtype dtype, uint64_t seed)
{
    struct error e = {0};
    struct synthetic_model m = {.blueprint = blueprint,
                                .tokenizer = "tests/models/default/tokenizer",
                                .out = folder->path,
                                .dtype = dtype,
                                .seed = seed};
    if (synthetic_model_write(&m, &e) != OK)
        fail_msg("%s", e.message);
}

static const char *const weight_files[] = {
    "text_encoder/model.safetensors", "text_encoder_2/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors"};
enum { WEIGHT_FILES = sizeof weight_files / sizeof *weight_files };

static void open_weights(const struct folder *folder, const char *name, struct safetensors *file)
{
    struct error e = {0};
    if (safetensors_open(folder_path(folder, name).text, file, &e) != OK)
        fail_msg("%s", e.message);
}

static void the_program_finds_every_tensor_in_every_format(void **state)
{
    (void)state;
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct folder folder = folder_new();
        struct model m;
        struct error e = {0};
        write_model(&folder, small, dtype, 0);
        if (model_open(&m, folder.path, &e) != OK)
            fail_msg("%s", e.message);
        assert_int_equal(m.unet.conv_in.weight.dtype, dtype);
        model_close(&m);
        folder_remove(&folder);
    }
}

/* The recorded models were saved by diffusers: their files have the names and the shapes that ours must have. */
static void names_and_shapes_are_those_of_a_saved_model(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    write_model(&folder, small, DTYPE_F16, 0);
    for (int i = 0; i < WEIGHT_FILES; i++) {
        struct safetensors made, saved;
        struct error e = {0};
        char path[256];
        snprintf(path, sizeof path, "%s/%s", small, weight_files[i]);
        if (safetensors_open(path, &saved, &e) != OK)
            fail_msg("%s", e.message);
        open_weights(&folder, weight_files[i], &made);
        size_t left_out = safetensors_find(&saved, "text_model.embeddings.position_ids") != NULL;
        assert_int_equal(made.count, saved.count - left_out);
        for (size_t j = 0; j < made.count; j++) {
            const struct tensor *ours = &made.items[j].tensor, *theirs = safetensors_find(&saved, made.items[j].name);
            if (theirs == NULL)
                fail_msg("%s: %s is in no saved model", weight_files[i], made.items[j].name);
            if (!tensor_is(ours, theirs->rank, theirs->shape))
                fail_msg("%s: %s has another shape", weight_files[i], made.items[j].name);
        }
        safetensors_close(&made);
        safetensors_close(&saved);
    }
    folder_remove(&folder);
}

static void is_saved_so(void *file, const char *name, int rank, const int64_t *shape)
{
    const struct tensor *saved = safetensors_find(file, name);
    if (saved == NULL || !tensor_is(saved, rank, shape))
        fail_msg("%s: the saved model has it otherwise", name);
}

/* Without use_linear_projection, proj_in and proj_out are 1x1 convolutions. */
static void the_older_unet_has_its_own_shapes(void **state)
{
    (void)state;
    struct unet_config config;
    struct safetensors saved;
    assert_int_equal(unet_config_read("tests/golden/unet-sd15/config.json", &config, NULL), OK);
    assert_int_equal(
        safetensors_open("tests/golden/unet-sd15/diffusion_pytorch_model.safetensors", &saved, NULL), OK);
    assert_int_equal(unet_list(&config, &(struct tensor_visitor){is_saved_so, &saved}, NULL), OK);
    safetensors_close(&saved);
}

static bool same_bytes(const struct folder *a, const struct folder *b, const char *name)
{
    size_t size_a, size_b;
    char *x = read_bytes(folder_path(a, name).text, &size_a), *y = read_bytes(folder_path(b, name).text, &size_b);
    bool same = size_a == size_b && memcmp(x, y, size_a) == 0;
    free(x);
    free(y);
    return same;
}

static void the_seed_decides_the_bytes(void **state)
{
    (void)state;
    struct folder first = folder_new(), again = folder_new(), other = folder_new();
    write_model(&first, small, DTYPE_F16, 7);
    write_model(&again, small, DTYPE_F16, 7);
    write_model(&other, small, DTYPE_F16, 8);
    for (int i = 0; i < WEIGHT_FILES; i++) {
        assert_true(same_bytes(&first, &again, weight_files[i]));
        assert_false(same_bytes(&first, &other, weight_files[i]));
    }
    folder_remove(&first);
    folder_remove(&again);
    folder_remove(&other);
}

static double root_mean_square(const struct safetensors *file, const char *name, double *mean)
{
    const struct tensor *t = safetensors_find(file, name);
    assert_non_null(t);
    int64_t n = tensor_count(t);
    float *x = room(n, sizeof *x);
    tensor_read(t, 0, n, x);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    free(x);
    *mean = sum / (double)n;
    return sqrt(squares / (double)n);
}

/* A sample of n has a deviation within a few 1 / sqrt(2 n) of the distribution's, and a mean within a few 1 /
 * sqrt(n). */
static void check_normal(const struct safetensors *file, const char *name, double deviation)
{
    double mean, found = root_mean_square(file, name, &mean);
    double n = (double)tensor_count(safetensors_find(file, name));
    if (fabs(found / deviation - 1) > 4 / sqrt(2 * n) || fabs(mean / deviation) > 4 / sqrt(n))
        fail_msg("%s: mean %g, deviation %g, wanted 0 and %g", name, mean, found, deviation);
}

static void check_constant(const struct safetensors *file, const char *name, double value)
{
    double mean, found = root_mean_square(file, name, &mean);
    assert_true(mean == value && found == fabs(value));
}

static void matrices_keep_the_variance_and_norms_start_as_nothing(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct safetensors unet, text;
    write_model(&folder, small, DTYPE_F32, 0);
    open_weights(&folder, "unet/diffusion_pytorch_model.safetensors", &unet);
    open_weights(&folder, "text_encoder/model.safetensors", &text);

    const struct tensor *filter = safetensors_find(&unet, "mid_block.resnets.0.conv1.weight");
    double taps = 9 * (double)filter->shape[1];
    check_normal(&unet, "mid_block.resnets.0.conv1.weight", 1 / sqrt(taps));
    check_normal(&unet, "mid_block.resnets.0.conv2.weight", 0.2 / sqrt(taps));
    const struct tensor *query =
        safetensors_find(&unet, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight");
    check_normal(&unet, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight",
                 1 / sqrt((double)query->shape[1]));
    check_normal(&text, "text_model.embeddings.token_embedding.weight", 0.02);
    check_constant(&unet, "conv_norm_out.weight", 1);
    check_constant(&unet, "conv_norm_out.bias", 0);
    check_constant(&unet, "conv_out.bias", 0);
    safetensors_close(&unet);
    safetensors_close(&text);
    folder_remove(&folder);
}

/* --------------------------------------------------------------------------------------------------- full size */

static void add(void *self, const char *name, int rank, const int64_t *shape)
{
    (void)name;
    int64_t *total = self, count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    *total += count;
}

/* What torch counts, sum(p.numel() for p in model.parameters()), for the published models. */
static void the_blueprints_have_the_published_numbers_of_parameters(void **state)
{
    (void)state;
    int64_t total = 0;
    struct tensor_visitor visitor = {add, &total};
    struct unet_config unet;
    struct vae_config vae;
    struct clip_config clip;

    assert_int_equal(unet_config_read("tools/blueprints/sdxl/unet/config.json", &unet, NULL), OK);
    assert_int_equal(unet_list(&unet, &visitor, NULL), OK);
    assert_int_equal(total, 2567463684);

    total = 0;
    assert_int_equal(unet_config_read("tools/blueprints/sd15/unet/config.json", &unet, NULL), OK);
    assert_int_equal(unet_list(&unet, &visitor, NULL), OK);
    assert_int_equal(total, 859520964);

    total = 0;
    assert_int_equal(vae_config_read("tools/blueprints/sdxl/vae/config.json", &vae, NULL), OK);
    assert_int_equal(vae_list(&vae, &visitor, NULL), OK);
    assert_int_equal(total, 83653863);

    total = 0;
    assert_int_equal(clip_config_read("tools/blueprints/sdxl/text_encoder/config.json", &clip, NULL), OK);
    assert_int_equal(clip_list(&clip, &visitor, NULL), OK);
    assert_int_equal(total, 123060480);

    total = 0;
    assert_int_equal(clip_config_read("tools/blueprints/sdxl/text_encoder_2/config.json", &clip, NULL), OK);
    assert_int_equal(clip_list(&clip, &visitor, NULL), OK);
    assert_int_equal(total, 694659840);
}

/* ----------------------------------------------------------------------------------------------------- refusals */

static void what_is_no_model_folder_is_refused_by_name(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct error e = {0};
    struct synthetic_model m = {.blueprint = "tests", .tokenizer = "tests", .out = folder.path, .dtype = DTYPE_F16};
    assert_int_equal(synthetic_model_write(&m, &e), ERR_IO);
    assert_non_null(strstr(e.message, "tests/model_index.json"));
    folder_remove(&folder);
}

static void weights_are_floats(void **state)
{
    (void)state;
    struct error e = {0};
    struct synthetic_model m = {.blueprint = small, .out = "/nowhere", .dtype = DTYPE_I64};
    assert_int_equal(synthetic_model_write(&m, &e), ERR_ARGUMENT);
    assert_non_null(strstr(e.message, "I64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_finds_every_tensor_in_every_format),
        cmocka_unit_test(names_and_shapes_are_those_of_a_saved_model),
        cmocka_unit_test(the_older_unet_has_its_own_shapes),
        cmocka_unit_test(the_seed_decides_the_bytes),
        cmocka_unit_test(matrices_keep_the_variance_and_norms_start_as_nothing),
        cmocka_unit_test(the_blueprints_have_the_published_numbers_of_parameters),
        cmocka_unit_test(what_is_no_model_folder_is_refused_by_name),
        cmocka_unit_test(weights_are_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
