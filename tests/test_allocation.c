/* Nothing is allocated while sampling: the allocation functions of this program are replaced by ones that count.
 *
 * OpenMP's are not counted: its runtime allocates a small record for each helper of each loop. It is told by its name
 * as a shared library, which this test links wherever the program has it inside. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "storydiff/csa/lockstep.h"
#include "tests/check.h"
#include "tests/small_story.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

static void sampling_allocates_nothing(void **state)
{
    (void)state;
    print_message("skipped: the sanitizer has an allocator of its own\n");
    skip();
}

#else

/* What glibc's own malloc and friends call. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_bool counting;
static atomic_int heap, mapped;

static bool is_openmp(const void *caller)
{
    Dl_info from;
    return dladdr(caller, &from) != 0 && (strstr(from.dli_fname, "libgomp") || strstr(from.dli_fname, "libomp"));
}

static void count(atomic_int *counter, const void *caller)
{
    if (atomic_load(&counting) && !is_openmp(caller))
        atomic_fetch_add(counter, 1);
}

void *malloc(size_t size)
{
    count(&heap, __builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(&heap, __builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count(&heap, __builtin_return_address(0));
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(&heap, __builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(&heap, __builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    count(&heap, __builtin_return_address(0));
    *out = __libc_memalign(alignment, size);
    return *out != NULL || size == 0 ? 0 : ENOMEM;
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    count(&mapped, __builtin_return_address(0));
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* The first step is not counted: threads are started, and OpenBLAS makes its buffers, when they are first asked for.
 */
static void check_sampling(const struct small_story *s, int threads)
{
    struct lockstep l;
    lockstep_open_well(&l, &s->request, threads);
    lockstep_advance(&l, threads, 1);
    atomic_store(&heap, 0);
    atomic_store(&mapped, 0);
    atomic_store(&counting, true);
    lockstep_advance(&l, threads, s->sampler.steps);
    atomic_store(&counting, false);
    assert_int_equal(atomic_load(&heap), 0);
    if (threads == 1) /* OpenBLAS maps a further buffer when two threads first happen to multiply at once */
        assert_int_equal(atomic_load(&mapped), 0);
    lockstep_close(&l);
}

static void the_counters_count(void **state)
{
    (void)state;
    atomic_store(&heap, 0);
    atomic_store(&mapped, 0);
    atomic_store(&counting, true);
    void *volatile p = malloc(10);
    p = realloc(p, 1000);
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    atomic_store(&counting, false);
    assert_int_equal(atomic_load(&heap), 2);
    assert_int_equal(atomic_load(&mapped), 1);
    free(p);
    munmap(page, 4096);
}

static void sampling_allocates_nothing(void **state)
{
    static const char *const samplers[] = {"ddim", "euler_a", "dpmpp_2m", "lcm"};
    the_counters_count(state);
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        struct small_story s;
        struct freeu freeu = {0.6f, 0.4f, 1.1f, 1.2f};
        small_story_open(&s, samplers[i], 3);
        s.request.freeu = &freeu;
        check_sampling(&s, 1);
        check_sampling(&s, 2);
        small_story_close(&s);
    }
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
