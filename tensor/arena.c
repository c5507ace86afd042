#include "tensor/arena.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

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
    return OK;
}

void arena_close(struct arena *a)
{
    if (a->base != NULL)
        munmap(a->base, a->capacity);
    *a = (struct arena){0};
}

void *arena_bytes(struct arena *a, size_t bytes)
{
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    assert(rounded >= bytes && rounded <= a->capacity - a->used);
    size_t offset = a->used;
    a->used += rounded;
    if (a->used > a->peak)
        a->peak = a->used;
    /* While measuring, any non-null address will do: it is never read. */
    return arena_measuring(a) ? (void *)(uintptr_t)(ALIGNMENT + offset) : a->base + offset;
}

float *arena_floats(struct arena *a, int64_t count)
{
    return arena_bytes(a, (size_t)count * sizeof(float));
}
