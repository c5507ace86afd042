/* Sinusoidal embeddings against the formula in double. */
#include "nn/embedding.h"
#include "tests/check.h"

/* The angle is rounded as the reference rounds it: its exponent (up to 9.2) and itself to 24 bits, so a frequency
 * is known to about a millionth, and an angle of 999 to 1e-3 at the worst. */
static void check_embedding(double t, int64_t dim, double shift, enum embedding_order order)
{
    float *out = room(dim, sizeof *out);
    int64_t half = dim / 2;
    sinusoidal_embedding(out, t, dim, shift, order);
    for (int64_t i = 0; i < half; i++) {
        double exponent = log(10000.0) * (double)i / ((double)half - shift),
               angle = (double)(float)t * exp(-exponent);
        double limit = 1e-6 + fabs(angle) * (exponent + 2) * 0x1p-23;
        double cosine = order == COSINE_FIRST ? out[i] : out[half + i],
               sine = order == COSINE_FIRST ? out[half + i] : out[i];
        if (!(fabs(cosine - cos(angle)) <= limit && fabs(sine - sin(angle)) <= limit))
            fail_msg("t %g, dim %lld, frequency %lld: (%.9g, %.9g), wanted (%.9g, %.9g)", t, (long long)dim,
                     (long long)i, cosine, sine, cos(angle), sin(angle));
    }
    free(out);
}

static void follows_the_formula(void **state)
{
    (void)state;
    static const double times[] = {0, 1, 21, 500.25, 999, 1024, 0.001};
    static const int64_t dims[] = {2, 4, 8, 256, 320};
    for (size_t t = 0; t < sizeof times / sizeof *times; t++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
            check_embedding(times[t], dims[d], 0, COSINE_FIRST);
            check_embedding(times[t], dims[d], 0, SINE_FIRST);
            check_embedding(times[t], dims[d], 0.5, COSINE_FIRST);
        }
}

static void orders_differ_in_the_order_only(void **state)
{
    (void)state;
    float cosine_first[64], sine_first[64];
    sinusoidal_embedding(cosine_first, 777.7, 64, 0, COSINE_FIRST);
    sinusoidal_embedding(sine_first, 777.7, 64, 0, SINE_FIRST);
    check_same("cosines", sine_first + 32, cosine_first, 32);
    check_same("sines", sine_first, cosine_first + 32, 32);
}

static void time_zero_is_all_cosines_one(void **state)
{
    (void)state;
    float x[8];
    sinusoidal_embedding(x, 0, 8, 0, COSINE_FIRST);
    for (int i = 0; i < 8; i++)
        assert_true(x[i] == (i < 4 ? 1.0f : 0.0f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula),
        cmocka_unit_test(orders_differ_in_the_order_only),
        cmocka_unit_test(time_zero_is_all_cosines_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
