#include "tensor/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "tensor/cpu.h"

/* The part of cblas.h that we use, so that the header is not needed to build. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };
typedef void sgemm_function(int order, int transpose_a, int transpose_b, int M, int N, int K, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef char *text_function(void);

/* The loaded library is a fact about the process, set once under pthread_once and constant from then on. */
static struct {
    pthread_once_t once;
    struct error error;
    sgemm_function *sgemm;
    const char *core, *config;
} library = {.once = PTHREAD_ONCE_INIT};

/* Sets a variable for the duration of the load, unless the user has set it. Returns whether to take it back. */
static int suggest(const char *name, const char *value)
{
    return getenv(name) == NULL && setenv(name, value, 0) == 0;
}

static void load_library(void)
{
    struct cpu cpu = cpu_detect();
    const char *core = cpu.avx512 ? "SkylakeX" : cpu.avx2_fma ? "Haswell" : NULL;
    int core_set = core != NULL && suggest("OPENBLAS_CORETYPE", core);
    int threads_set = suggest("OPENBLAS_NUM_THREADS", "1");
    void *handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (core_set)
        unsetenv("OPENBLAS_CORETYPE");
    if (threads_set)
        unsetenv("OPENBLAS_NUM_THREADS");
    if (handle == NULL) {
        fail(&library.error, ERR_IO, "cannot load OpenBLAS (%s): install Debian's libopenblas0", dlerror());
        return;
    }
    library.sgemm = (sgemm_function *)(uintptr_t)dlsym(handle, "cblas_sgemm");
    text_function *corename = (text_function *)(uintptr_t)dlsym(handle, "openblas_get_corename");
    text_function *config = (text_function *)(uintptr_t)dlsym(handle, "openblas_get_config");
    void (*set_threads)(int) = (void (*)(int))(uintptr_t)dlsym(handle, "openblas_set_num_threads");
    if (library.sgemm == NULL || corename == NULL || config == NULL || set_threads == NULL) {
        fail(&library.error, ERR_FORMAT, "libopenblas.so.0 is not OpenBLAS: install Debian's libopenblas0");
        return;
    }
    set_threads(1);
    library.core = corename();
    library.config = config();
}

status blas_load(struct error *e)
{
    pthread_once(&library.once, load_library);
    return library.error.code == OK ? OK : fail(e, library.error.code, "%s", library.error.message);
}

const char *blas_core(void)
{
    return library.core;
}

const char *blas_config(void)
{
    return library.config;
}

void blas_sgemm(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                int64_t ldc, float beta)
{
    library.sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, (int)M, (int)N, (int)K, 1.0f, a, (int)lda, b, (int)ldb, beta,
                  c, (int)ldc);
}
