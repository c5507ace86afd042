/* What the layers of a model computed against what was recorded of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/golden.h"

/* The recording's name without "part.", in which a tensor is looked for. */
static const char *plain_name(const char *name)
{
    return strncmp(name, "part.", 5) == 0 ? name + 5 : name;
}

static void watch_see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    const struct watch *w = self;
    char full[160];
    struct tensor whole;
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    for (size_t i = 0; w->seen != NULL && i < w->file->count; i++) {
        if (strcmp(plain_name(w->file->items[i].name), full) != 0 || !golden_recorded_shape(w->file, full, &whole))
            continue;
        golden_compare_recorded(w->g, (struct golden_recording){w->file, full, NULL, w->seen[i]}, data, count,
                                whole.rank == 4 ? CHANNELS_FIRST : AS_IS, LIMIT_LAYER);
        w->seen[i] += count;
    }
}

struct observer golden_watch(struct watch *w)
{
    w->seen = calloc(w->file->count + 1, sizeof *w->seen);
    return (struct observer){watch_see, w};
}

static bool excepted(const struct watch *w, const char *name)
{
    for (const char *const *except = w->except; except != NULL && *except != NULL; except++)
        if (strcmp(*except, name) == 0)
            return true;
    return false;
}

void golden_watch_finish(struct watch *w)
{
    for (size_t i = 0; i < w->file->count; i++) {
        const char *name = plain_name(w->file->items[i].name);
        struct tensor whole;
        bool expected = strncmp(name, w->prefix, strlen(w->prefix)) == 0 && !excepted(w, name);
        if (!expected)
            continue;
        if (w->seen == NULL || w->seen[i] == 0)
            golden_check(w->g, w->where, name, false, "recorded, but nothing of that name was computed");
        else if (!golden_recorded_shape(w->file, name, &whole) || w->seen[i] != tensor_count(&whole))
            golden_check(w->g, w->where, name, false, "recorded as a whole, but computed in part");
    }
    free(w->seen);
    w->seen = NULL;
}
