/* The pointwise functions against their formulas in double, and at the ends of the range. */
#include "tensor/activation.h"
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

/* How well a float can do: the exponent is rounded in proportion to x; Phi is a sum of 1 and an erf near -1, so
 * GELU's error is measured by x, not by the result; below 1e-36 the exponential overflows and the result is 0. */
static void follows_the_formula_everywhere(void **state)
{
    (void)state;
    for (enum activation a = ACT_NONE; a <= ACT_QUICK_GELU; a++)
        for (double x = -120; x <= 120; x += 0.01) {
            float y = (float)x;
            double wanted = formula(a, y), limit = (3e-7 + 2e-7 * fabs(x)) * fabs(wanted) + 1e-36;
            limit += a == ACT_GELU ? 3e-7 * fabs(x) : 0;
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

static void a_value_does_not_depend_on_its_place_in_the_row(void **state)
{
    (void)state;
    for (enum activation a = ACT_NONE; a <= ACT_QUICK_GELU; a++) {
        float *row = some_floats(1, 37), *alone = some_floats(1, 37);
        activate(a, row, 37);
        for (int i = 0; i < 37; i++)
            activate(a, alone + i, 1);
        check_same("one by one", alone, row, 37);
        free(row);
        free(alone);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula_everywhere),
        cmocka_unit_test(ends_of_the_range_are_finite),
        cmocka_unit_test(a_value_does_not_depend_on_its_place_in_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
