#include "tensor/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

#if defined(__SANITIZE_ADDRESS__)
#define POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif

#ifdef POISONS
#include <sanitizer/asan_interface.h>
static void poison(const void *p, size_t bytes)
{
    __asan_poison_memory_region(p, bytes);
}
static void unpoison(const void *p, size_t bytes)
{
    __asan_unpoison_memory_region(p, bytes);
}
#else
static void poison(const void *p, size_t bytes)
{
    (void)p, (void)bytes;
}
static void unpoison(const void *p, size_t bytes)
{
    (void)p, (void)bytes;
}
#endif

struct arena arena_measure(void)
{
    return (struct arena){.base = NULL, .capacity = SIZE_MAX / 2};
}

status arena_open(struct arena *a, size_t capacity, const char *purpose, struct error *e)
{
    *a = (struct arena){0};
    size_t size = capacity < ALIGNMENT ? ALIGNMENT : capacity;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail(e, ERR_MEMORY, "%s needs %.2f GB of working memory: %s. Choose a smaller size or fewer panels",
                    purpose, (double)size / 1e9, strerror(errno));
    madvise(memory, size, MADV_HUGEPAGE); /* advice only: fewer TLB misses where the system can */
    *a = (struct arena){.base = memory, .capacity = size};
    poison(memory, size);
    return OK;
}

void arena_close(struct arena *a)
{
    if (a->base != NULL) {
        unpoison(a->base, a->capacity);
        munmap(a->base, a->capacity);
    }
    *a = (struct arena){0};
}

void *arena_bytes(struct arena *a, size_t bytes)
{
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t offset = a->used;
    if (rounded < bytes || rounded > a->capacity - a->used) {
        a->exceeded = true;
        return (void *)(uintptr_t)ALIGNMENT;
    }
    a->used += rounded;
    if (a->used > a->peak)
        a->peak = a->used;
    if (arena_measuring(a)) /* any non-null address will do: it is never read */
        return (void *)(uintptr_t)(ALIGNMENT + offset);
    unpoison(a->base + offset, bytes);
    return a->base + offset;
}

void arena_release(struct arena *a, size_t mark)
{
    if (a->base != NULL && mark < a->used)
        poison(a->base + mark, a->used - mark);
    a->used = mark;
}

status arena_check(const struct arena *a, const char *purpose, struct error *e)
{
    if (!a->exceeded)
        return OK;
    return fail(e, ERR_MEMORY,
                "%s took more working memory than the %zu bytes that were measured for it: this is a bug of "
                "storydiff, please report it with the command and the model",
                purpose, a->capacity);
}

float *arena_floats(struct arena *a, int64_t count)
{
    return arena_bytes(a, (size_t)count * sizeof(float));
}
