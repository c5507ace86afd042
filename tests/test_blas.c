/* The loaded library: it is there, it is told of, it multiplies. */
#include "tensor/blas.h"
#include "tests/check.h"

static int load(void **state)
{
    (void)state;
    struct error e = {0};
    setenv("OPENBLAS_NUM_THREADS", "3", 1);
    return blas_load(&e);
}

static void can_be_loaded_again(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(blas_load(&e), OK);
    assert_int_equal(blas_load(NULL), OK);
}

static void says_which_kernels_it_uses(void **state)
{
    (void)state;
    assert_true(blas_core() != NULL && blas_core()[0] != '\0');
    assert_non_null(strstr(blas_config(), "OpenBLAS"));
}

static void leaves_the_environment_as_it_was(void **state)
{
    (void)state;
    assert_string_equal(getenv("OPENBLAS_NUM_THREADS"), "3");
    assert_null(getenv("OPENBLAS_CORETYPE"));
}

static void multiplies_and_adds(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {17, 33, 9}, {64, 65, 100}, {1, 300, 40}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t M = sizes[i][0], N = sizes[i][1], K = sizes[i][2];
        float *a = some_floats(1, M * K), *b = some_floats(2, N * K), *c = some_floats(3, M * N);
        double *wanted = room(M * N, sizeof *wanted);
        for (int64_t j = 0; j < M * N; j++) {
            wanted[j] = c[j];
            for (int64_t k = 0; k < K; k++)
                wanted[j] += (double)a[j / N * K + k] * b[j % N * K + k];
        }
        blas_sgemm_nt(M, N, K, a, b, c, BLAS_ADD);
        check_close("a b^T + c", c, wanted, M * N, 1e-6);
        free(a);
        free(b);
        free(c);
        free(wanted);
    }
}

/* Replacing must not read: scratch memory holds anything. */
static void replaces_even_what_is_no_number(void **state)
{
    (void)state;
    float *a = some_floats(1, 20 * 30), *b = some_floats(2, 40 * 30), c[20 * 40];
    for (int i = 0; i < 20 * 40; i++)
        c[i] = i % 2 ? NAN : INFINITY;
    blas_sgemm_nt(20, 40, 30, a, b, c, BLAS_REPLACE);
    check_finite("c", c, 20 * 40);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(can_be_loaded_again),
        cmocka_unit_test(says_which_kernels_it_uses),
        cmocka_unit_test(leaves_the_environment_as_it_was),
        cmocka_unit_test(multiplies_and_adds),
        cmocka_unit_test(replaces_even_what_is_no_number),
    };
    unsetenv("OPENBLAS_CORETYPE");
    return cmocka_run_group_tests(tests, load, NULL);
}
