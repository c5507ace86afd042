/* Images: rounding on the way in, resizing against its definition in double, clipping. */
#include "storydiff/picture/image.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct image noise(int width, int height, unsigned seed)
{
    struct image image;
    assert_int_equal(image_new(width, height, &image, NULL), OK);
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++) {
        x = x * 1664525u + 1013904223u;
        image.rgb[i] = (uint8_t)(x >> 24);
    }
    return image;
}

static void rounds_halves_to_even_and_clamps(void **state)
{
    (void)state;
    int ties_down = 0, ties_up = 0;
    for (int k = 0; k < 255; k++) {
        /* the floats around the one whose value lies half way between k and k + 1 */
        float around = ((float)k + 0.5f) / 255 * 2 - 1;
        for (int step = 0; step < 3; step++)
            around = nextafterf(around, -2);
        for (int step = 0; step < 7; step++, around = nextafterf(around, 2)) {
            const float rgb[3] = {around, around, around};
            struct image image;
            assert_int_equal(image_from_float(rgb, 1, 1, &image, NULL), OK);
            const float value = 255 * (around / 2 + 0.5f), below = floorf(value);
            int expected = (int)below + (value - below > 0.5f);
            if (value - below == 0.5f) {
                expected += (int)below % 2;
                ties_down += (int)below % 2 == 0;
                ties_up += (int)below % 2 == 1;
            }
            assert_int_equal(image.rgb[0], expected);
            image_free(&image);
        }
    }
    assert_true(ties_down > 0 && ties_up > 0);

    const float beyond[6] = {-1.5f, 1.5f, -INFINITY, INFINITY, NAN, 0};
    const uint8_t expected[6] = {0, 255, 0, 255, 0, 128};
    struct image image;
    assert_int_equal(image_from_float(beyond, 2, 1, &image, NULL), OK);
    assert_memory_equal(image.rgb, expected, 6);
    image_free(&image);
}

static void refuses_sizes_out_of_range(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{0, 5}, {5, 0}, {-1, 5}, {65536, 1}, {65535, 65535}, {INT64_MAX, INT64_MAX}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct image image;
        struct error e = {0};
        assert_int_equal(image_new(sizes[i][0], sizes[i][1], &image, &e), ERR_ARGUMENT);
        assert_null(image.rgb);
        assert_non_null(strstr(e.message, "pixels"));
    }
}

/* The continuous definition, one axis, in double: weights of input j for output i. */
static double weight(int in, int out, int i, int j)
{
    const double ratio = (double)in / out;
    if (out <= in) {
        const double left = fmax(i * ratio, j), right = fmin((i + 1) * ratio, j + 1);
        return right > left ? (right - left) / ratio : 0;
    }
    const double centre = (i + 0.5) * ratio - 0.5;
    double sum = 0;
    for (int tap = (int)floor(centre) - 1; tap <= (int)floor(centre) + 2; tap++) {
        const int clamped = tap < 0 ? 0 : tap >= in ? in - 1 : tap;
        const double d = fabs(centre - tap);
        if (clamped == j)
            sum += d < 1 ? 1.5 * d * d * d - 2.5 * d * d + 1 : d < 2 ? -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2 : 0;
    }
    return sum;
}

static void resizes_as_the_definition_in_double(void **state)
{
    (void)state;
    const int sizes[][4] = {{7, 5, 3, 2},  {7, 5, 14, 10}, {8, 8, 4, 4}, {5, 9, 8, 4},
                            {1, 1, 6, 5},  {13, 4, 1, 1},  {6, 6, 6, 6}, {9, 7, 10, 6}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int *size = sizes[s];
        struct image in = noise(size[0], size[1], (unsigned)s), out;
        assert_int_equal(image_resize(&in, size[2], size[3], &out, NULL), OK);
        for (int y = 0; y < size[3]; y++)
            for (int x = 0; x < size[2]; x++)
                for (int c = 0; c < 3; c++) {
                    double sum = 0;
                    for (int j = 0; j < size[1]; j++)
                        for (int i = 0; i < size[0]; i++)
                            sum += weight(size[1], size[3], y, j) * weight(size[0], size[2], x, i) *
                                   in.rgb[(j * size[0] + i) * 3 + c];
                    sum = fmin(fmax(sum, 0), 255);
                    const int got = out.rgb[(y * size[2] + x) * 3 + c];
                    /* half a step for the rounding, and weights that are multiples of 1/4096: 8 of them, of 255 */
                    assert_true(fabs(got - sum) <= 0.5 + 8 * 0.5 * 255 / 4096);
                }
        image_free(&in);
        image_free(&out);
    }
}

static void same_size_is_the_same_picture(void **state)
{
    (void)state;
    struct image in = noise(31, 17, 3), out;
    assert_int_equal(image_resize(&in, 31, 17, &out, NULL), OK);
    assert_memory_equal(in.rgb, out.rgb, 31 * 17 * 3);
    image_free(&in);
    image_free(&out);
}

static void threefold_enlargement_keeps_every_pixel_in_its_centre(void **state)
{
    (void)state;
    struct image in = noise(9, 6, 4), out;
    assert_int_equal(image_resize(&in, 27, 18, &out, NULL), OK);
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 9; x++)
            assert_memory_equal(out.rgb + ((y * 3 + 1) * 27 + x * 3 + 1) * 3, in.rgb + (y * 9 + x) * 3, 3);
    image_free(&in);
    image_free(&out);
}

static void white_and_black_stay_white_and_black_at_any_size(void **state)
{
    (void)state;
    for (int value = 0; value <= 255; value += 255)
        for (int size = 1; size < 40; size += 3) {
            struct image in, out;
            assert_int_equal(image_new(11, 13, &in, NULL), OK);
            memset(in.rgb, value, 11 * 13 * 3);
            assert_int_equal(image_resize(&in, size, 41 - size, &out, NULL), OK);
            for (int i = 0; i < size * (41 - size) * 3; i++)
                assert_int_equal(out.rgb[i], value);
            image_free(&in);
            image_free(&out);
        }
}

static void drawing_outside_is_clipped(void **state)
{
    (void)state;
    struct image image, stamp = noise(4, 4, 5);
    assert_int_equal(image_new(6, 5, &image, NULL), OK);
    const struct color white = {255, 255, 255};
    image_fill(&image, (struct rect){-3, -3, 4, 4}, white);
    image_fill(&image, (struct rect){5, 4, INT32_MAX, INT32_MAX}, white);
    image_fill(&image, (struct rect){20, 20, 5, 5}, white);
    image_fill(&image, (struct rect){2, 2, -1, 3}, white);
    image_blend(&image, -1, 0, white, 255);
    image_blend(&image, 6, 0, white, 255);
    image_blend(&image, 3, 2, white, 128);
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 6; x++) {
            const int expected = (x == 0 && y == 0) || (x == 5 && y == 4) ? 255 : x == 3 && y == 2 ? 128 : 0;
            assert_int_equal(image.rgb[(y * 6 + x) * 3], expected);
        }
    image_paste(&image, 4, -2, &stamp);
    assert_memory_equal(image.rgb + (1 * 6 + 5) * 3, stamp.rgb + (3 * 4 + 1) * 3, 3);
    image_paste(&image, -100, 100, &stamp);
    image_free(&image);
    image_free(&stamp);
    image_free(&stamp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_halves_to_even_and_clamps),
        cmocka_unit_test(refuses_sizes_out_of_range),
        cmocka_unit_test(resizes_as_the_definition_in_double),
        cmocka_unit_test(same_size_is_the_same_picture),
        cmocka_unit_test(threefold_enlargement_keeps_every_pixel_in_its_centre),
        cmocka_unit_test(white_and_black_stay_white_and_black_at_any_size),
        cmocka_unit_test(drawing_outside_is_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
