#include "sdxl/checkpoint/weights.h"

#include <stdlib.h>
#include <string.h>

/* A copy of a turned tensor, in a list; the data follows. */
struct copy {
    struct copy *next;
    size_t item;
    _Alignas(64) unsigned char data[];
};

status weights_of(const struct tensor_file *file, bool *used, struct original_names names, struct weights *w,
                  struct error *e)
{
    *w = (struct weights){.file = file, .names = names, .used = used};
    if (used == NULL)
        w->used = w->own_used = calloc(file->count + 1, sizeof *w->own_used);
    return w->used != NULL ? OK : fail(e, ERR_MEMORY, "%s: out of memory", file->path);
}

status weights_open(const char *path, struct weights *w, struct error *e)
{
    *w = (struct weights){0};
    struct tensor_file *file = calloc(1, sizeof *file);
    status s = file != NULL ? tensor_file_open(path, file, e) : fail(e, ERR_MEMORY, "%s: out of memory", path);
    if (s == OK)
        s = weights_of(file, NULL, (struct original_names){.part = PART_NONE}, w, e);
    w->own_file = file;
    if (s != OK)
        weights_close(w);
    return s;
}

void weights_close(struct weights *w)
{
    for (size_t i = 0; i < w->bound_count; i++)
        free((char *)w->bound[i].name);
    free(w->bound);
    for (struct copy *copy = w->copies, *next; copy != NULL; copy = next) {
        next = copy->next;
        free(copy);
    }
    free(w->own_used);
    if (w->own_file != NULL)
        tensor_file_close(w->own_file);
    free(w->own_file);
    *w = (struct weights){0};
}

/* out[j, i] = in[i, j], elements of any size. */
static void transpose(unsigned char *out, const unsigned char *in, int64_t rows, int64_t columns, size_t size)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            memcpy(out + (size_t)(j * rows + i) * size, in + (size_t)(i * columns + j) * size, size);
}

/* text_projection is a few megabytes: turned once, when it is asked for. */
static const void *turned(struct weights *w, size_t item)
{
    for (const struct copy *copy = w->copies; copy != NULL; copy = copy->next)
        if (copy->item == item)
            return copy->data;
    const struct tensor *t = &w->file->items[item].tensor;
    size_t size = dtype_size(t->dtype), bytes = (size_t)tensor_count(t) * size;
    struct copy *copy = aligned_alloc(64, (sizeof *copy + bytes + 63) / 64 * 64);
    if (copy == NULL)
        return NULL;
    *copy = (struct copy){.next = w->copies, .item = item};
    w->copies = copy;
    transpose(copy->data, t->data, t->shape[0], t->shape[1], size);
    return copy->data;
}

bool weights_find(struct weights *w, const char *name, struct tensor *t, size_t *place)
{
    struct original_tensor original = {.view = ORIGINAL_WHOLE};
    if (w->names.part != PART_NONE && !original_name(&w->names, name, &original))
        return false;
    const struct tensor *found = tensor_file_find(w->file, w->names.part != PART_NONE ? original.name : name);
    if (found == NULL)
        return false;
    /* it is a member of an item: step back to the item for its place in the list */
    size_t item = (size_t)((const struct named_tensor *)((const char *)found - offsetof(struct named_tensor, tensor)) -
                           w->file->items);
    *t = *found;
    if (place != NULL)
        *place = item;
    if (original.view == ORIGINAL_THIRD && t->rank > 0 && t->shape[0] % 3 == 0) {
        t->shape[0] /= 3;
        t->data = (const char *)t->data + (size_t)tensor_count(t) * dtype_size(t->dtype) * (size_t)original.third;
    } else if (original.view == ORIGINAL_TRANSPOSED && t->rank == 2) {
        t->shape[0] = found->shape[1];
        t->shape[1] = found->shape[0];
        t->data = turned(w, item);
    }
    return true;
}

bool weights_take(struct weights *w, const char *name, const struct tensor *t, size_t place)
{
    if (w->bound_count == w->bound_room) {
        size_t room = 2 * w->bound_room + 64;
        struct named_tensor *bound = realloc(w->bound, room * sizeof *bound);
        if (bound == NULL)
            return false;
        w->bound = bound;
        w->bound_room = room;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return false;
    w->bound[w->bound_count++] = (struct named_tensor){copy, *t};
    w->used[place] = true;
    return true;
}

/* Numbers 0 to 76, a temperature of the training, a noise schedule: no part of what is computed. */
static bool is_bookkeeping(const char *name)
{
    static const char *const ends[] = {"position_ids", "logit_scale", "denoiser.sigmas"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(name + length - end, ends[i]) == 0)
            return true;
    }
    return false;
}

/* "unet/model.safetensors": enough to tell a file, and where a model lies is nobody's business. */
static const char *last_two(const char *path)
{
    const char *at = path + strlen(path);
    for (int slashes = 0; at > path; at--)
        if (at[-1] == '/' && ++slashes == 2)
            break;
    return at;
}

void weights_note_unused(const struct tensor_file *file, const bool *used, struct text *notes)
{
    size_t count = 0, first = 0;
    for (size_t i = 0; i < file->count; i++)
        if (!used[i] && !is_bookkeeping(file->items[i].name) && count++ == 0)
            first = i;
    if (count == 0)
        return;
    text_append(notes, "%s%s: %zu tensor%s that this program does not use, such as \"%.200s\"",
                notes->length > 0 ? "\n" : "", last_two(file->path), count, count == 1 ? "" : "s",
                file->items[first].name);
}

/* Old writers did not pad the header of a safetensors file, nor the storages of a .pt, to the size of an element. */
void weights_note_copied(const struct tensor_file *file, struct text *notes)
{
    if (file->copied >= WEIGHTS_COPIED_MUCH)
        text_append(notes, "%s%s: %.1f MB of it cannot be mapped (packed, or at odd addresses) and are held in memory; "
                           "storydiff-convert writes a file that is mapped", notes->length > 0 ? "\n" : "",
                    last_two(file->path), (double)file->copied / 1e6);
}
