/* From latents to pictures and glimpses. */
#include "storydiff/comic/render.h"
#include "tests/check.h"

static struct model model; /* the small recorded one */

static int open_model(void **state)
{
    (void)state;
    struct error e = {0};
    if (model_open(&model, "tests/golden/pipeline", &e) != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_model(void **state)
{
    (void)state;
    model_close(&model);
    return 0;
}

static const struct context two_threads = {.threads = 2};

struct decoding {
    struct features latents;
    float *image;
};

static void decode(const struct context *ctx, void *arg)
{
    struct decoding *d = arg;
    vae_decode(ctx, &model.vae, d->image, d->latents);
}

static void pictures_are_decoded_one_by_one(void **state)
{
    (void)state;
    enum { N = 3, H = 3, W = 2, SIZE = 8 * H * 8 * W * 3 };
    float *latents = some_floats(1, N * H * W * 4), *decoded = room(N * SIZE, sizeof *decoded);
    struct image images[N];
    struct error e = {0};
    assert_int_equal(
        render_latents(&two_threads, &model, (struct features){latents, N, H, W, 4}, decoded, images, &e), OK);
    for (int i = 0; i < N; i++) {
        struct decoding one = {{latents + i * H * W * 4, 1, H, W, 4}, room(SIZE, sizeof(float))};
        struct image wanted;
        compute(1, decode, &one);
        check_same("decoded", decoded + i * SIZE, one.image, SIZE);
        assert_int_equal(image_from_float(one.image, 8 * W, 8 * H, &wanted, &e), OK);
        assert_int_equal(images[i].width, 8 * W);
        assert_int_equal(images[i].height, 8 * H);
        assert_memory_equal(images[i].rgb, wanted.rgb, SIZE);
        image_free(&wanted);
        image_free(&images[i]);
        free(one.image);
    }
    free(latents);
    free(decoded);
}

static void floats_and_pictures_are_both_optional(void **state)
{
    (void)state;
    float *latents = some_floats(1, 16), decoded[768];
    struct features one = {latents, 1, 2, 2, 4};
    struct image image;
    struct error e = {0};
    assert_int_equal(render_latents(&two_threads, &model, one, decoded, NULL, &e), OK);
    check_finite("decoded", decoded, 768);
    assert_int_equal(render_latents(&two_threads, &model, one, NULL, &image, &e), OK);
    assert_non_null(image.rgb);
    image_free(&image);
    free(latents);
}

static void the_cost_is_known_before(void **state)
{
    (void)state;
    struct profile measured = {0}, ran = {0};
    struct context ctx = {.threads = 1, .profile = &ran};
    float *latents = some_floats(1, 60), *decoded = room(960 * 3, sizeof *decoded);
    struct error e = {0};
    size_t memory = render_measure(&model, 5, 3, 1, &measured);
    assert_true(memory > 960 * 3 * sizeof(float));
    assert_int_equal(render_latents(&ctx, &model, (struct features){latents, 1, 5, 3, 4}, decoded, NULL, &e), OK);
    for (int op = 0; op < OP_COUNT; op++) {
        assert_int_equal(measured.rows[op].calls, ran.rows[op].calls);
        assert_true(measured.rows[op].flops == ran.rows[op].flops);
    }
    free(latents);
    free(decoded);
}

static void a_glimpse_is_a_linear_map_of_each_latent(void **state)
{
    (void)state;
    struct preview_map map = {2, {0.5f, 0, -0.5f}, {{0.25f, 0, 0}, {0, -0.5f, 1}}};
    const float latent[2 * 3 * 2] = {0, 0, 1, 0, 0, 1, -1, 0, 2, 1, 0, -3};
    const float wanted[2 * 3 * 3] = {0.5f,  0, -0.5f, 0.75f, 0,     -0.5f, 0.5f, -0.5f, 0.5f,
                                     0.25f, 0, -0.5f, 1,     -0.5f, 0.5f,  0.5f, 1.5f,  -3.5f};
    struct image found, right;
    struct error e = {0};
    assert_int_equal(preview_image(&map, latent, 2, 3, &found, &e), OK);
    assert_int_equal(image_from_float(wanted, 3, 2, &right, &e), OK);
    assert_int_equal(found.width, 3);
    assert_int_equal(found.height, 2);
    assert_memory_equal(found.rgb, right.rgb, 18);
    image_free(&found);
    image_free(&right);
}

static void middle_color(const float *decoded, int64_t side, double color[3])
{
    int64_t first = side / 4, last = side - side / 4;
    for (int c = 0; c < 3; c++) {
        color[c] = 0;
        for (int64_t y = first; y < last; y++)
            for (int64_t x = first; x < last; x++)
                color[c] += decoded[(y * side + x) * 3 + c] / (double)((last - first) * (last - first));
    }
}

/* Flat latents of 8 x 8: all zero is the base, the slope of a channel is half the way from -1 to 1 in it alone. The
 * quarter at each border is left out, where the decoder's padding shows. */
static void the_map_is_found_by_decoding_flat_latents(void **state)
{
    (void)state;
    enum { SIDE = 8, PIXELS = 8 * SIDE };
    struct preview_map map;
    struct error e = {0};
    assert_int_equal(preview_map_make(&two_threads, &model, &map, &e), OK);
    assert_int_equal(map.channels, 4);
    float *latents = room(9 * SIDE * SIDE * 4, sizeof *latents),
          *decoded = room(9 * PIXELS * PIXELS * 3, sizeof *decoded);
    for (int64_t i = 0; i < 8 * SIDE * SIDE; i++)
        latents[(SIDE * SIDE + i) * 4 + i / (2 * SIDE * SIDE)] = i / (SIDE * SIDE) % 2 ? -1 : 1;
    assert_int_equal(
        render_latents(&two_threads, &model, (struct features){latents, 9, SIDE, SIDE, 4}, decoded, NULL, &e), OK);
    double base[3], plus[3], minus[3], wanted[15];
    middle_color(decoded, PIXELS, base);
    memcpy(wanted, base, sizeof base);
    for (int channel = 0; channel < 4; channel++) {
        middle_color(decoded + (1 + 2 * channel) * PIXELS * PIXELS * 3, PIXELS, plus);
        middle_color(decoded + (2 + 2 * channel) * PIXELS * PIXELS * 3, PIXELS, minus);
        for (int c = 0; c < 3; c++)
            wanted[3 + 3 * channel + c] = (plus[c] - minus[c]) / 2;
    }
    float found[15];
    memcpy(found, map.base, sizeof map.base);
    memcpy(found + 3, map.color, 4 * sizeof *map.color);
    check_close("colors", found, wanted, 15, 1e-6);
    free(latents);
    free(decoded);
}

static void latents_of_too_many_channels_have_no_glimpse(void **state)
{
    (void)state;
    struct preview_map map;
    struct error e = {0};
    struct model other = model;
    other.vae.config.latent_channels = PREVIEW_MAX_CHANNELS + 1;
    assert_int_equal(preview_map_make(&two_threads, &other, &map, &e), ERR_ARGUMENT);
    assert_non_null(strstr(e.message, "`preview_every`"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_decoded_one_by_one),
        cmocka_unit_test(floats_and_pictures_are_both_optional),
        cmocka_unit_test(the_cost_is_known_before),
        cmocka_unit_test(a_glimpse_is_a_linear_map_of_each_latent),
        cmocka_unit_test(the_map_is_found_by_decoding_flat_latents),
        cmocka_unit_test(latents_of_too_many_channels_have_no_glimpse),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
