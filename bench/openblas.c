#include <dlfcn.h>
#include <stdlib.h>

#include "bench/peer.h"
#include "tensor/blas.h"
#include "tensor/parallel.h"

struct product {
    int64_t M, N, K;
    float *a, *b, *c; /* [M, K], [K, N], [M, N] */
    int threads;
    void (*set_threads)(int); /* OpenBLAS's own; they stay off but for a product of this peer */
};

static void run_own_threads(void *self)
{
    const struct product *p = self;
    p->set_threads(p->threads);
    blas_sgemm(p->M, p->N, p->K, p->a, p->K, p->b, p->N, p->c, p->N, 0);
    p->set_threads(1);
}

static void run_part(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct product *p = arg;
    int64_t first = p->M * i / p->threads, end = p->M * (i + 1) / p->threads;
    if (end > first)
        blas_sgemm(end - first, p->N, p->K, p->a + first * p->K, p->K, p->b, p->N, p->c + first * p->N, p->N, 0);
}

static void run_parts(void *self)
{
    const struct product *p = self;
    parallel_for(p->threads, p->threads, run_part, self);
}

static const float *result(void *self)
{
    const struct product *p = self;
    return p->c;
}

static void close_product(void *self)
{
    struct product *p = self;
    free(p->a);
    free(p->b);
    free(p->c);
    free(p);
}

/* The library is loaded already: this only finds a function in it that nobody else needs. */
static void (*find_set_threads(void))(int)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_NOLOAD);
    return library != NULL ? (void (*)(int))(uintptr_t)dlsym(library, "openblas_set_num_threads") : NULL;
}

static bool open_product(struct peer *peer, const struct problem *p, const char *name, void (*run)(void *self))
{
    if (p->c->kind != CASE_LINEAR || blas_load(NULL) != OK)
        return false;
    struct product *own = calloc(1, sizeof *own);
    if (own == NULL)
        return false;
    int64_t M = p->size.rows, N = p->weight.shape[0], K = p->c->K;
    *own = (struct product){M, N, K, problem_joined_input(p), malloc((size_t)(N * K) * sizeof(float)),
                            malloc((size_t)(M * N) * sizeof(float)), p->threads, find_set_threads()};
    if (own->a == NULL || own->b == NULL || own->c == NULL || own->set_threads == NULL) {
        close_product(own);
        return false;
    }
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++)
            own->b[k * N + n] = p->weight_f32[n * K + k];
    *peer = (struct peer){name, own, run, result, RESULT_PRODUCT, close_product};
    return true;
}

bool openblas_open(struct peer *peer, const struct problem *p)
{
    return open_product(peer, p, "OpenBLAS", run_own_threads);
}

bool openblas_parts_open(struct peer *peer, const struct problem *p)
{
    return open_product(peer, p, "OpenBLAS in parts", run_parts);
}
