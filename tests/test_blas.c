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

/* Rows may be longer than what is multiplied, and what follows them is left alone. */
static void multiplies_parts_of_larger_matrices(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {17, 33, 9}, {64, 65, 100}, {1, 300, 40}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t M = sizes[i][0], N = sizes[i][1], K = sizes[i][2], lda = K + 3, ldb = N + 2, ldc = N + 5;
        float *a = some_floats(1, M * lda), *b = some_floats(2, K * ldb), *c = some_floats(3, M * ldc);
        double *wanted = room(M * ldc, sizeof *wanted);
        for (int64_t j = 0; j < M * ldc; j++) {
            bool product = j % ldc < N;
            wanted[j] = product ? 0 : c[j];
            for (int64_t k = 0; k < K && product; k++)
                wanted[j] += (double)a[j / ldc * lda + k] * b[k * ldb + j % ldc];
        }
        blas_sgemm(M, N, K, a, lda, b, ldb, c, ldc, 0);
        check_close("a b", c, wanted, M * ldc, 1e-6);
        free(a);
        free(b);
        free(c);
        free(wanted);
    }
}

/* What was in c must not be read: scratch memory holds anything. */
static void replaces_even_what_is_no_number(void **state)
{
    (void)state;
    float *a = some_floats(1, 20 * 30), *b = some_floats(2, 30 * 40), c[20 * 40];
    for (int i = 0; i < 20 * 40; i++)
        c[i] = i % 2 ? NAN : INFINITY;
    blas_sgemm(20, 40, 30, a, 30, b, 40, c, 40, 0);
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
        cmocka_unit_test(multiplies_parts_of_larger_matrices),
        cmocka_unit_test(replaces_even_what_is_no_number),
    };
    unsetenv("OPENBLAS_CORETYPE");
    return cmocka_run_group_tests(tests, load, NULL);
}
