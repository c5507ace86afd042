/* Number formats against arithmetic on the definition, for every 16-bit pattern; shapes; views. */
#include "tests/check.h"

/* The value of a binary format with a sign, `exponent_bits` and `fraction_bits`, from IEEE 754's definition. */
static double value_of(uint32_t bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1, exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = (double)(bits & ((1u << fraction_bits) - 1)) / (double)(1u << fraction_bits);
    double sign = bits >> (exponent_bits + fraction_bits) ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction > 0 ? (double)NAN : sign * INFINITY;
    return exponent == 0 ? sign * ldexp(fraction, 1 - bias) : sign * ldexp(1 + fraction, exponent - bias);
}

/* x rounded to the format by looking for the two neighbours among all its values: patterns 0 .. infinity ascend. What
 * lies half a step or more beyond the largest finite value is infinite. */
static uint16_t round_by_search(double x, int exponent_bits, int fraction_bits)
{
    uint32_t infinity = ((1u << exponent_bits) - 1) << fraction_bits, low = 0, high = infinity;
    double magnitude = fabs(x),
           beyond = ldexp(1, 1 << (exponent_bits - 1)); /* where infinity would be, were it finite */
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (value_of(middle, exponent_bits, fraction_bits) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    double below = value_of(low, exponent_bits, fraction_bits);
    double above = high == infinity ? beyond : value_of(high, exponent_bits, fraction_bits);
    double to_below = magnitude - below, to_above = above - magnitude; /* exact: all have few bits */
    uint32_t nearest = to_below < to_above || (to_below == to_above && low % 2 == 0) ? low : high;
    return (uint16_t)(nearest | (signbit(x) ? 0x8000u : 0));
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static bool same_number(float found, double wanted)
{
    return isnan(wanted) ? isnan(found) : found == wanted && !signbit(found) == !signbit(wanted);
}

static void every_half_has_the_value_of_its_definition(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        assert_true(same_number(f16_to_f32((uint16_t)h), value_of(h, 5, 10)));
        assert_true(same_number(bf16_to_f32((uint16_t)h), value_of(h, 8, 7)));
    }
}

static void every_half_survives_the_way_through_float(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        bool nan = isnan(value_of(h, 5, 10)), nan_b = isnan(value_of(h, 8, 7));
        assert_int_equal(f32_to_f16(f16_to_f32((uint16_t)h)), nan ? h | 0x200 : h); /* NaNs come back quiet */
        assert_int_equal(f32_to_bf16(bf16_to_f32((uint16_t)h)), nan_b ? h | 0x40 : h);
    }
}

/* Around every half: the value itself, the middle to the next one, and the floats next to both. */
static void rounds_to_the_nearest_half_and_ties_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float here = (float)value_of(h, 5, 10), next = h == 0x7bff ? 65536.0f : (float)value_of(h + 1, 5, 10);
        float middle = (here + next) / 2;
        float around[] = {here,
                          nextafterf(here, 1e9f),
                          middle,
                          nextafterf(middle, 0),
                          nextafterf(middle, 1e9f),
                          nextafterf(next, 0)};
        for (size_t i = 0; i < sizeof around / sizeof *around; i++)
            for (int sign = 1; sign >= -1; sign -= 2)
                if (f32_to_f16((float)sign * around[i]) != round_by_search((float)sign * around[i], 5, 10))
                    fail_msg("%a becomes %04x", (float)sign * around[i], f32_to_f16((float)sign * around[i]));
    }
}

static void rounds_any_float_as_a_slow_search_does(void **state)
{
    (void)state;
    struct mt19937 mt;
    mt19937_seed(&mt, 1);
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = mt19937_next(&mt);
        if (i % 2) /* half of them where binary16 is subnormal or ends */
            bits = (bits & 0x807fffffu) | ((100 + bits % 45) << 23);
        float f = from_bits(bits);
        if (isnan(f))
            continue;
        double magnitude = fabs((double)f);
        if (f32_to_f16(f) != round_by_search(magnitude > 1e6 ? copysign(INFINITY, f) : f, 5, 10))
            fail_msg("%a becomes binary16 %04x", f, f32_to_f16(f));
        if (f32_to_bf16(f) != round_by_search(f, 8, 7))
            fail_msg("%a becomes bfloat16 %04x", f, f32_to_bf16(f));
    }
}

static void ends_of_the_range_round_as_ieee_754_says(void **state)
{
    (void)state;
    assert_int_equal(f32_to_f16(65504.0f), 0x7bff); /* the largest */
    assert_int_equal(f32_to_f16(nextafterf(65520.0f, 0)), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-65520.0f), 0xfc00);
    assert_int_equal(f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(f32_to_f16(0x1p-24f), 1); /* the smallest */
    assert_int_equal(f32_to_f16(0x1p-25f), 0);
    assert_int_equal(f32_to_f16(nextafterf(0x1p-25f, 1)), 1);
    assert_int_equal(f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(f32_to_f16(-1e-30f), 0x8000);
    assert_int_equal(f32_to_bf16(from_bits(0x7f7fffff)), 0x7f80); /* FLT_MAX is nearer to 2^128 */
    assert_int_equal(f32_to_bf16(from_bits(0x7f7f7fff)), 0x7f7f);
    assert_int_equal(f32_to_bf16(-INFINITY), 0xff80);
    assert_int_equal(f32_to_bf16(from_bits(0x00000001)), 0);
}

/* A NaN whose payload lies in the bits that are dropped must not become an infinity. */
static void nans_stay_nans_of_the_same_sign(void **state)
{
    (void)state;
    static const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0x7f801fff, 0x7f80ffff, 0x7fffe000};
    for (size_t i = 0; i < 2 * sizeof nans / sizeof *nans; i++) {
        uint32_t sign = i % 2 ? 0x80000000u : 0;
        float nan = from_bits(nans[i / 2] | sign);
        uint16_t half = f32_to_f16(nan), brain = f32_to_bf16(nan);
        assert_true(isnan(f16_to_f32(half)) && isnan(bf16_to_f32(brain)));
        assert_int_equal(half >> 15, sign >> 31);
        assert_int_equal(brain >> 15, sign >> 31);
        assert_true((half & 0x200) && (brain & 0x40)); /* quiet */
    }
}

static void reads_any_part_of_a_tensor_in_any_float_format(void **state)
{
    (void)state;
    float x[5] = {0, -1.5f, 0x1p-14f, 3e4f, 0.3333f}, out[3];
    double wide[5] = {0, 1.0 + 0x1p-30, -1e300, 1e-300, 0.1};
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct tensor t = {.data = stored(dtype, x, 5), .dtype = dtype, .rank = 1, .shape = {5}};
        tensor_read(&t, 2, 3, out);
        check_same(dtype_name(dtype), out, x + 2, 3);
        free((void *)t.data);
    }
    tensor_read(&(struct tensor){.data = wide, .dtype = DTYPE_F64, .rank = 1, .shape = {5}}, 1, 3, out);
    assert_true(out[0] == 1.0f && out[1] == -INFINITY && bits_of(out[2]) == 0);
}

/* Long rows go eight at a time where the CPU can: from any element on, of any length, every pattern. */
static void reads_halves_in_bulk_as_one_by_one(void **state)
{
    (void)state;
    uint16_t *halves = room(0x10000, sizeof *halves);
    float *out = room(0x10000, sizeof *out);
    for (int i = 0; i < 0x10000; i++)
        halves[i] = (uint16_t)i;
    struct tensor t = {.data = halves, .dtype = DTYPE_F16, .rank = 1, .shape = {0x10000}};
    tensor_read(&t, 0, 0x10000, out);
    for (int i = 0; i < 0x10000; i++)
        assert_true(same_number(out[i], value_of((uint32_t)i, 5, 10)));
    for (int64_t first = 0x3c00; first < 0x3c09; first++)
        for (int64_t count = 0; count < 40; count++) {
            out[count] = 7;
            tensor_read(&t, first, count, out);
            for (int64_t i = 0; i < count; i++)
                assert_true(out[i] == f16_to_f32((uint16_t)(first + i)));
            assert_true(out[count] == 7); /* nothing is written behind the last */
        }
    free(halves);
    free(out);
}

static void names_and_sizes_are_those_of_safetensors(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        const char *name;
        size_t size;
    } formats[] = {{DTYPE_F32, "F32", 4}, {DTYPE_F16, "F16", 2}, {DTYPE_BF16, "BF16", 2}, {DTYPE_F64, "F64", 8},
                   {DTYPE_I64, "I64", 8}, {DTYPE_I32, "I32", 4}, {DTYPE_U8, "U8", 1},     {DTYPE_BOOL, "BOOL", 1},
                   {DTYPE_I16, "I16", 2}, {DTYPE_I8, "I8", 1},   {DTYPE_U64, "U64", 8},   {DTYPE_U32, "U32", 4},
                   {DTYPE_U16, "U16", 2}, {DTYPE_F8_E4M3, "F8_E4M3", 1}, {DTYPE_F8_E5M2, "F8_E5M2", 1},
                   {DTYPE_OTHER, "an unknown format", 1}};
    assert_int_equal(sizeof formats / sizeof *formats, DTYPE_COUNT);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        assert_string_equal(dtype_name(formats[i].dtype), formats[i].name);
        assert_int_equal(dtype_size(formats[i].dtype), formats[i].size);
    }
}

static void counts_bytes_of_shapes(void **state)
{
    (void)state;
    size_t bytes = 1;
    assert_true(shape_bytes(DTYPE_F16, 3, (int64_t[]){2, 3, 5}, &bytes));
    assert_int_equal(bytes, 60);
    assert_true(shape_bytes(DTYPE_F64, 0, NULL, &bytes));
    assert_int_equal(bytes, 8);
    assert_true(shape_bytes(DTYPE_U8, 1, (int64_t[]){PTRDIFF_MAX}, &bytes));
    assert_int_equal(bytes, PTRDIFF_MAX);
}

static void refuses_shapes_whose_bytes_do_not_fit(void **state)
{
    (void)state;
    size_t bytes;
    assert_false(shape_bytes(DTYPE_F32, 1, (int64_t[]){INT64_MAX}, &bytes));
    assert_false(shape_bytes(DTYPE_F16, 1, (int64_t[]){(int64_t)1 << 62}, &bytes)); /* 2^63: negative as an int64_t */
    assert_false(shape_bytes(DTYPE_U8, 2, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32}, &bytes)); /* wraps to 0 */
    assert_false(shape_bytes(DTYPE_U8, 3, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32, 5}, &bytes));
    assert_false(shape_bytes(DTYPE_U8, 2, (int64_t[]){-1, 2}, &bytes));
    assert_false(shape_bytes(DTYPE_U8, 2, (int64_t[]){-2, -2}, &bytes));
    assert_false(shape_bytes(DTYPE_U8, 2, (int64_t[]){0, -1}, &bytes)); /* empty, yet nonsense */
}

static void a_zero_anywhere_makes_a_shape_empty(void **state)
{
    (void)state;
    size_t bytes = 1;
    struct tensor t = {.rank = 3, .shape = {INT64_MAX, INT64_MAX, 0}};
    assert_true(shape_bytes(DTYPE_F64, 3, t.shape, &bytes));
    assert_int_equal(bytes, 0);
    assert_int_equal(tensor_count(&t), 0);
}

static void counts_elements(void **state)
{
    (void)state;
    assert_int_equal(tensor_count(&(struct tensor){.rank = 0}), 1);
    assert_int_equal(tensor_count(&(struct tensor){.rank = 6, .shape = {1, 2, 3, 4, 5, 6}}), 720);
}

static void compares_rank_and_every_dimension(void **state)
{
    (void)state;
    struct tensor t = {.rank = 2, .shape = {3, 4}};
    assert_true(tensor_is(&t, 2, (int64_t[]){3, 4}));
    assert_false(tensor_is(&t, 2, (int64_t[]){3, 5}));
    assert_false(tensor_is(&t, 2, (int64_t[]){4, 3}));
    assert_false(tensor_is(&t, 1, (int64_t[]){3, 4}));
    assert_false(tensor_is(&t, 3, (int64_t[]){3, 4, 0}));
}

static void writes_shapes_and_cuts_what_does_not_fit(void **state)
{
    (void)state;
    char text[32];
    const int64_t shape[] = {320, 4, INT64_MAX};
    assert_string_equal(shape_text(2, shape, text, sizeof text), "[320, 4]");
    assert_string_equal(shape_text(0, shape, text, sizeof text), "[]");
    for (size_t size = 1; size < sizeof text; size++) {
        memset(text, '#', sizeof text);
        shape_text(3, shape, text, size);
        assert_true(strlen(text) < size);
        assert_memory_equal(text, "[320, 4, 9223372036854775807]", strlen(text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_has_the_value_of_its_definition),
        cmocka_unit_test(every_half_survives_the_way_through_float),
        cmocka_unit_test(rounds_to_the_nearest_half_and_ties_to_even),
        cmocka_unit_test(rounds_any_float_as_a_slow_search_does),
        cmocka_unit_test(ends_of_the_range_round_as_ieee_754_says),
        cmocka_unit_test(nans_stay_nans_of_the_same_sign),
        cmocka_unit_test(reads_any_part_of_a_tensor_in_any_float_format),
        cmocka_unit_test(reads_halves_in_bulk_as_one_by_one),
        cmocka_unit_test(names_and_sizes_are_those_of_safetensors),
        cmocka_unit_test(counts_bytes_of_shapes),
        cmocka_unit_test(refuses_shapes_whose_bytes_do_not_fit),
        cmocka_unit_test(a_zero_anywhere_makes_a_shape_empty),
        cmocka_unit_test(counts_elements),
        cmocka_unit_test(compares_rank_and_every_dimension),
        cmocka_unit_test(writes_shapes_and_cuts_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
