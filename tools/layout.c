#include "tools/layout.h"

#include <stdlib.h>
#include <string.h>

static status add_row(struct layout *l, const char *name, const struct tensor *t, struct layout_row row,
                      struct error *e)
{
    if (l->count == l->room) {
        size_t room = 2 * l->room + 64;
        struct named_tensor *items = realloc(l->items, room * sizeof *items);
        struct layout_row *rows = items != NULL ? realloc(l->rows, room * sizeof *rows) : NULL;
        l->items = items != NULL ? items : l->items;
        l->rows = rows != NULL ? rows : l->rows;
        if (rows == NULL)
            return fail(e, ERR_MEMORY, "no memory for a list of %zu tensors", room);
        l->room = room;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return fail(e, ERR_MEMORY, "no memory for a tensor's name");
    l->items[l->count] = (struct named_tensor){copy, *t};
    l->items[l->count].tensor.data = NULL;
    l->rows[l->count++] = row;
    return OK;
}

status layout_add(struct layout *l, const struct named_tensor *sources, size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        TRY(add_row(l, sources[i].name, &sources[i].tensor, (struct layout_row){{&sources[i]}, 1, false}, e));
    return OK;
}

/* The fused tensor of this name, looked for from the end: its parts follow each other closely. */
static size_t find_row(const struct layout *l, const char *name)
{
    size_t i = l->count;
    while (i > 0 && strcmp(l->items[i - 1].name, name) != 0)
        i--;
    return i > 0 ? i - 1 : l->count;
}

static status add_third(struct layout *l, const struct original_tensor *place, const struct named_tensor *source,
                        struct error *e)
{
    size_t i = find_row(l, place->name);
    if (i == l->count) {
        struct tensor t = source->tensor;
        t.shape[0] *= 3;
        TRY(add_row(l, place->name, &t, (struct layout_row){.source_count = 3}, e));
    }
    if (source->tensor.dtype != l->items[i].tensor.dtype)
        return fail(e, ERR_FORMAT, "the parts of \"%s\" are of different formats: ask for one with --dtype",
                    place->name);
    l->rows[i].sources[place->third] = source;
    return OK;
}

/* diffusers has the VAE's attention as linear layers, the original as 1x1 convolutions. */
static bool is_attention_of_vae(const struct original_names *names, const struct named_tensor *source)
{
    return names->part == PART_VAE && source->tensor.rank == 2 && strstr(source->name, ".attentions.") != NULL;
}

status layout_add_original(struct layout *l, const struct original_names *names, const struct named_tensor *sources,
                           size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        struct original_tensor place;
        struct tensor t = sources[i].tensor;
        if (!original_name(names, sources[i].name, &place))
            return fail(e, ERR_FORMAT, "tensor \"%s\" has no name in the original layout", sources[i].name);
        if (place.view == ORIGINAL_THIRD) {
            TRY(add_third(l, &place, &sources[i], e));
            continue;
        }
        bool transposed = place.view == ORIGINAL_TRANSPOSED;
        if (transposed) {
            t.shape[0] = sources[i].tensor.shape[1];
            t.shape[1] = sources[i].tensor.shape[0];
        } else if (is_attention_of_vae(names, &sources[i])) {
            t.rank = 4;
            t.shape[2] = t.shape[3] = 1;
        }
        TRY(add_row(l, place.name, &t, (struct layout_row){{&sources[i]}, 1, transposed}, e));
    }
    return OK;
}

struct pair {
    struct named_tensor item;
    struct layout_row row;
};

static int compare_pairs(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    size_t left_size = dtype_size(a->item.tensor.dtype), right_size = dtype_size(b->item.tensor.dtype);
    return left_size != right_size ? (left_size < right_size) - (left_size > right_size)
                                   : strcmp(a->item.name, b->item.name);
}

status layout_finish(struct layout *l, struct error *e)
{
    struct pair *pairs = malloc((l->count + 1) * sizeof *pairs);
    if (pairs == NULL)
        return fail(e, ERR_MEMORY, "no memory for a list of %zu tensors", l->count);
    for (size_t i = 0; i < l->count; i++)
        pairs[i] = (struct pair){l->items[i], l->rows[i]};
    qsort(pairs, l->count, sizeof *pairs, compare_pairs);
    for (size_t i = 0; i < l->count; i++) {
        l->items[i] = pairs[i].item;
        l->rows[i] = pairs[i].row;
    }
    free(pairs);
    for (size_t i = 0; i < l->count; i++)
        for (int s = 0; s < l->rows[i].source_count; s++)
            if (l->rows[i].sources[s] == NULL)
                return fail(e, ERR_FORMAT, "\"%s\" is to be fused from three tensors, and one is missing",
                            l->items[i].name);
    return OK;
}

void layout_free(struct layout *l)
{
    for (size_t i = 0; i < l->count; i++)
        free((char *)l->items[i].name);
    free(l->items);
    free(l->rows);
    *l = (struct layout){0};
}
