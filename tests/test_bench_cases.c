/* The bench's table of kernels against the model's own list of layers: none missing, none made up. */
#include "bench/cases.h"
#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"

#include "tests/check.h"

/* Layers that a table of cases has no row for, counted down from what the model has. */
struct layer {
    int rank;
    int64_t shape[4];
    int count;
};
struct layers {
    struct layer items[128];
    int count;
};

static void change(struct layers *l, int rank, const int64_t *shape, int by)
{
    for (int i = 0; i < l->count; i++)
        if (l->items[i].rank == rank && memcmp(l->items[i].shape, shape, (size_t)rank * sizeof *shape) == 0) {
            l->items[i].count += by;
            return;
        }
    assert_true(l->count < 128);
    struct layer *new = &l->items[l->count++];
    *new = (struct layer){.rank = rank, .count = by};
    memcpy(new->shape, shape, (size_t)rank * sizeof *shape);
}

/* Weights of layers: matrices (a 1x1 convolution is one), filters, and the vectors that scale after a norm. */
static void count_layer(void *self, const char *name, int rank, const int64_t *shape)
{
    bool bias = strcmp(name + strlen(name) - 4, "bias") == 0, embedding = strstr(name, "embeddings.") != NULL;
    if (!bias && !embedding)
        change(self, rank == 4 && shape[2] == 1 && shape[3] == 1 ? 2 : rank, shape, 1);
}

static void count_decoder_layer(void *self, const char *name, int rank, const int64_t *shape)
{
    if (strncmp(name, "encoder.", 8) != 0 && strncmp(name, "quant_conv.", 11) != 0)
        count_layer(self, name, rank, shape);
}

static void subtract_cases(struct layers *l, const char *prefix)
{
    for (const struct bench_case *c = bench_cases; c < bench_cases + bench_case_count; c++) {
        if (strncmp(c->name, prefix, strlen(prefix)) != 0)
            continue;
        int64_t weight_rows = c->activation == ACT_GEGLU ? 2 * c->N : c->N;
        switch (c->kind) {
        case CASE_LINEAR: change(l, 2, (int64_t[]){weight_rows, c->K}, -c->calls); break;
        case CASE_CONV: change(l, 4, (int64_t[]){c->N, c->K, 3, 3}, -c->calls); break;
        case CASE_GROUP_NORM:
        case CASE_LAYER_NORM: change(l, 1, (int64_t[]){c->K}, -c->calls); break;
        case CASE_ATTENTION: break;
        }
    }
}

static void check_none_left(const struct layers *l)
{
    for (int i = 0; i < l->count; i++)
        if (l->items[i].count != 0) {
            char text[96];
            fail_msg("weights of shape %s: the model has %d more than the cases call",
                     shape_text(l->items[i].rank, l->items[i].shape, text, sizeof text), l->items[i].count);
        }
}

static void every_layer_of_the_unet_has_a_case(void **state)
{
    (void)state;
    struct layers l = {0};
    struct unet_config config;
    assert_int_equal(unet_config_read("tools/blueprints/sdxl/unet/config.json", &config, NULL), OK);
    assert_int_equal(unet_list(&config, &(struct tensor_visitor){count_layer, &l}, NULL), OK);
    subtract_cases(&l, "unet");
    check_none_left(&l);
}

static void every_layer_of_the_decoder_has_a_case(void **state)
{
    (void)state;
    struct layers l = {0};
    struct vae_config config;
    assert_int_equal(vae_config_read("tools/blueprints/sdxl/vae/config.json", &config, NULL), OK);
    assert_int_equal(vae_list(&config, &(struct tensor_visitor){count_decoder_layer, &l}, NULL), OK);
    subtract_cases(&l, "vae");
    check_none_left(&l);
}

static void every_layer_of_the_text_encoders_has_a_case(void **state)
{
    (void)state;
    static const char *const folders[] = {"text_encoder", "text_encoder_2"}, *const prefixes[] = {"clip 1", "clip 2"};
    for (int i = 0; i < 2; i++) {
        struct layers l = {0};
        struct clip_config config;
        char path[128];
        snprintf(path, sizeof path, "tools/blueprints/sdxl/%s/config.json", folders[i]);
        assert_int_equal(clip_config_read(path, &config, NULL), OK);
        assert_int_equal(clip_list(&config, &(struct tensor_visitor){count_layer, &l}, NULL), OK);
        subtract_cases(&l, prefixes[i]);
        check_none_left(&l);
    }
}

/* Known independently: one forward pass of the UNet at 768 px takes 3.64 TFLOP, a decoding 5.75. */
static void the_cases_add_up_to_the_known_arithmetic(void **state)
{
    (void)state;
    double unet = 0, vae = 0;
    for (const struct bench_case *c = bench_cases; c < bench_cases + bench_case_count; c++) {
        struct case_size size = case_size(c, 768);
        unet += c->name[0] == 'u' ? c->calls * size.flops : 0;
        vae += c->name[0] == 'v' ? c->calls * size.flops : 0;
    }
    assert_true(fabs(unet / 3.64e12 - 1) < 0.005);
    assert_true(fabs(vae / 5.75e12 - 1) < 0.005);
}

static void a_story_of_768_px_has_the_known_numbers_of_keys(void **state)
{
    (void)state;
    static const struct {
        enum case_keys keys;
        int64_t count;
    } wanted[] = {{KEYS_OWN, 2304},
                  {KEYS_WRITE_PASS, 5760},
                  {KEYS_READ_PASS, 6912},
                  {KEYS_ALL_PANELS, 11520},
                  {KEYS_TEXT, 77}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct bench_case c = {
            .kind = CASE_ATTENTION, .stride = 16, .K = 640, .N = 640, .heads = 10, .keys = wanted[i].keys};
        struct case_size size = case_size(&c, 768);
        assert_int_equal(size.rows, 2304);
        assert_int_equal(size.keys, wanted[i].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_of_the_unet_has_a_case),
        cmocka_unit_test(every_layer_of_the_decoder_has_a_case),
        cmocka_unit_test(every_layer_of_the_text_encoders_has_a_case),
        cmocka_unit_test(the_cases_add_up_to_the_known_arithmetic),
        cmocka_unit_test(a_story_of_768_px_has_the_known_numbers_of_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
