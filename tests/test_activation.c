/* The pointwise functions against their formulas in double, and at the ends of the range; their vector forms against
 * the definition. */
#include "tensor/activation.h"
#include "tensor/activation_forms.h"
#include "tests/check.h"

static double formula(enum activation activation, double x)
{
    switch (activation) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case ACT_GEGLU:
    case ACT_NONE: break;
    }
    return x;
}

/* The floats of every magnitude and sign, infinities and NaNs among them: each bit pattern that is a multiple of a
 * prime. Fills a row, false after the last. */
enum { ROW = 251 };
static bool next_floats(uint64_t *next, float *x)
{
    const uint64_t stride = 2053;
    for (int i = 0; i < ROW; i++, *next += stride) {
        uint32_t bits = (uint32_t)*next;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return *next < UINT64_C(1) << 32;
}

/* The distance of neighbouring floats at y. */
static double ulp(double y)
{
    int exponent;
    frexp(y, &exponent);
    return fabs(y) < 0x1p-126 ? 0x1p-149 : ldexp(1, exponent - 24);
}

/* Rounds a value beyond the largest float as floats are. */
static double in_floats(double y)
{
    return fabs(y) >= 0x1.ffffffp127 ? copysign(INFINITY, y) : y;
}

static void check_ulps(const char *what, void (*f)(float *, int64_t), double (*formula)(double), double limit)
{
    float x[ROW], y[ROW];
    for (uint64_t next = 0; next_floats(&next, x);) {
        memcpy(y, x, sizeof y);
        f(y, ROW);
        for (int i = 0; i < ROW; i++) {
            double wanted = in_floats(formula(x[i])), error = fabs(y[i] - wanted) / ulp(wanted);
            bool right = isnan(x[i]) ? isnan(y[i]) : isinf(wanted) ? y[i] == wanted : error <= limit;
            if (!right)
                fail_msg("%s of %a is %a, wanted %a: %g ulp", what, x[i], y[i], wanted, error);
        }
    }
}

static void exp_and_erf_err_by_no_more_ulps_than_they_say(void **state)
{
    (void)state;
    const struct activation_form *form = activation_form(cpu_family());
    check_ulps("exp", form->exp, exp, 1.02);
    check_ulps("erf", form->erf, erf, 5.3);
}

/* -87: beyond, e^-x leaves the floats before the result does. */
static double silu_limit(double x, double y)
{
    return x > -87 ? 2.4 * ulp(y) : 2.7e-37;
}

static void silu_and_gelu_err_by_no_more_than_they_say(void **state)
{
    (void)state;
    float x[ROW], silu[ROW], gelu[ROW];
    for (uint64_t next = 0; next_floats(&next, x);) {
        memcpy(silu, x, sizeof x);
        memcpy(gelu, x, sizeof x);
        activate(ACT_SILU, silu, ROW);
        activate(ACT_GELU, gelu, ROW);
        for (int i = 0; i < ROW; i++) {
            if (!isfinite(x[i]))
                continue;
            double wanted = formula(ACT_SILU, x[i]);
            if (!(fabs(silu[i] - wanted) <= silu_limit(x[i], wanted)))
                fail_msg("SiLU of %a is %a, wanted %a", x[i], silu[i], wanted);
            wanted = formula(ACT_GELU, x[i]);
            if (!(fabs(gelu[i] - wanted) <= 1.9e-7 * fabs(x[i]) + 0x1p-149))
                fail_msg("GELU of %a is %a, wanted %a", x[i], gelu[i], wanted);
        }
    }
}

/* How well a float can do: the exponent is rounded in proportion to x; Phi is a sum of 1 and an erf near -1, so
 * GELU's error is measured by x, not by the result; below 1e-36 the exponential overflows and the result is 0. */
static void follows_the_formula_everywhere(void **state)
{
    (void)state;
    for (enum activation a = ACT_NONE; a <= ACT_QUICK_GELU; a++)
        for (double x = -120; x <= 120; x += 0.01) {
            float y = (float)x;
            double wanted = formula(a, y), limit = (3e-7 + 2e-7 * fabs(x)) * fabs(wanted) + 1e-36;
            limit += a == ACT_GELU ? 2e-7 * fabs(x) : 0;
            activate(a, &y, 1);
            if (!(fabs(y - wanted) <= limit))
                fail_msg("activation %d of %.9g is %.9g, wanted %.9g", a, x, y, wanted);
        }
}

static void ends_of_the_range_are_finite(void **state)
{
    (void)state;
    for (enum activation a = ACT_SILU; a <= ACT_QUICK_GELU; a++) {
        float x[] = {-1e30f, -1e4f, 0.0f, 1e4f, 1e30f};
        activate(a, x, 5);
        assert_true(x[0] == 0 && x[1] == 0 && x[2] == 0 && x[3] == 1e4f && x[4] == 1e30f);
    }
}

static void special_values_are_those_of_the_definition(void **state)
{
    (void)state;
    static const float values[] = {0.0f,      -0.0f,    0x1p-149f, -0x1p-149f,      0x1.8p-130f,      -0x1.8p-130f,
                                   0x1p-126f, INFINITY, -INFINITY, 0x1.fffffep127f, -0x1.fffffep127f, NAN,
                                   -NAN};
    enum { COUNT = sizeof values / sizeof *values };
    for (enum activation a = ACT_SILU; a <= ACT_QUICK_GELU; a++) {
        float y[COUNT], wanted[COUNT];
        memcpy(y, values, sizeof y);
        memcpy(wanted, values, sizeof wanted);
        activate(a, y, COUNT);
        activation_portable.silu(wanted, a == ACT_SILU ? COUNT : 0);
        activation_portable.gelu(wanted, a == ACT_GELU ? COUNT : 0);
        activation_portable.quick_gelu(wanted, a == ACT_QUICK_GELU ? COUNT : 0);
        for (int i = 0; i < COUNT; i++)
            if (isnan(wanted[i]) ? !isnan(y[i]) : y[i] != wanted[i])
                fail_msg("activation %d of %a is %a, wanted %a", a, values[i], y[i], wanted[i]);
    }
}

static void vector_forms_give_the_same_bits(void **state)
{
    (void)state;
    if (!cpu_detect().avx512)
        skip();
    const struct activation_form *narrow = activation_form(CPU_AVX2), *wide = activation_form(CPU_AVX512);
    void (*const forms[][2])(float *, int64_t) = {{narrow->exp, wide->exp},
                                                  {narrow->erf, wide->erf},
                                                  {narrow->silu, wide->silu},
                                                  {narrow->gelu, wide->gelu},
                                                  {narrow->quick_gelu, wide->quick_gelu}};
    float x[ROW], y[ROW];
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (uint64_t next = 0; next_floats(&next, x);) {
            memcpy(y, x, sizeof y);
            forms[f][0](x, ROW);
            forms[f][1](y, ROW);
            check_same("AVX-512 beside AVX2", y, x, ROW);
        }
}

/* Rows of every length that a register can be cut into, anywhere in memory, between values that are not theirs. */
static void a_value_does_not_depend_on_its_place_in_the_row(void **state)
{
    (void)state;
    enum { MOST = 70, AROUND = 17 };
    float *x = some_floats(1, MOST), *alone = room(MOST, sizeof *alone), *row = room(MOST + 2 * AROUND, sizeof *row);
    for (enum activation a = ACT_NONE; a <= ACT_QUICK_GELU; a++) {
        memcpy(alone, x, MOST * sizeof *x);
        for (int i = 0; i < MOST; i++)
            activate(a, alone + i, 1);
        for (int n = 0; n <= MOST; n++)
            for (int before = 0; before <= AROUND; before++) {
                for (int i = 0; i < MOST + 2 * AROUND; i++)
                    row[i] = 7;
                memcpy(row + before, x, (size_t)n * sizeof *x);
                activate(a, row + before, n);
                check_same("one by one", row + before, alone, n);
                for (int i = 0; i < MOST + 2 * AROUND; i++)
                    assert_true((i >= before && i < before + n) || row[i] == 7);
            }
    }
    free(x);
    free(alone);
    free(row);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_and_erf_err_by_no_more_ulps_than_they_say),
        cmocka_unit_test(silu_and_gelu_err_by_no_more_than_they_say),
        cmocka_unit_test(follows_the_formula_everywhere),
        cmocka_unit_test(ends_of_the_range_are_finite),
        cmocka_unit_test(special_values_are_those_of_the_definition),
        cmocka_unit_test(vector_forms_give_the_same_bits),
        cmocka_unit_test(a_value_does_not_depend_on_its_place_in_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
