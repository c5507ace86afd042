/* Byte-pair encoding. The word starts as one token per byte, the last with "</w>"; then, again and again, of all
 * neighbouring pairs that are in the list of merges the one of least rank is merged, at each place, left to right:
 *
 *     l o w e r</w>  ->  l o w er</w>  ->  lo w er</w>  ->  low er</w>  ->  lower</w>
 *
 * Searching all pairs each time is quadratic. Here the tokens are a linked list and the pairs wait in a heap, ordered
 * by rank, then place; an entry whose pair has changed since is skipped. The surprise: pairs that come from a merge
 * must wait until all occurrences of the present rank are done, even if their own rank is smaller. */
#include "sdxl/text/bpe.h"

#include <stdlib.h>

status token_ids_append(struct token_ids *ids, int32_t id, struct error *e)
{
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity ? 2 * ids->capacity : 64;
        int32_t *grown = realloc(ids->data, capacity * sizeof *grown);
        if (grown == NULL)
            return fail(e, ERR_MEMORY, "no memory for %zu tokens", capacity);
        ids->data = grown;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return OK;
}

void token_ids_free(struct token_ids *ids)
{
    free(ids->data);
    *ids = (struct token_ids){0};
}

enum { GONE = -1 };

/* A token of the word. It stays where its first byte was; what is merged into its left neighbour is GONE. */
struct link {
    int32_t id;
    uint32_t previous, next; /* next of the last is the length of the word; previous of the first is never used */
};

struct word {
    const struct vocabulary *vocabulary;
    struct link *links;
    uint32_t length;
    uint64_t *heap; /* rank << 32 | place of the left token; the least on top */
    size_t heap_count;
    uint32_t *changed; /* tokens made by merges of the present rank */
    size_t changed_count;
};

static void heap_push(struct word *w, uint64_t entry)
{
    size_t i = w->heap_count++;
    for (; i > 0 && w->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = entry;
}

static uint64_t heap_pop(struct word *w)
{
    uint64_t top = w->heap[0], entry = w->heap[--w->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_count; i = child) {
        if (child + 1 < w->heap_count && w->heap[child + 1] < w->heap[child])
            child++;
        if (entry <= w->heap[child])
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = entry;
    return top;
}

/* The merge of the token at `place` and the one after it, if there is one. */
static const struct merge *merge_at(const struct word *w, uint32_t place)
{
    const struct link *left = &w->links[place];
    if (left->id == GONE || left->next == w->length)
        return NULL;
    return vocabulary_merge(w->vocabulary, left->id, w->links[left->next].id);
}

static void push_pair(struct word *w, uint32_t place)
{
    const struct merge *merge = merge_at(w, place);
    if (merge != NULL)
        heap_push(w, (uint64_t)(uint32_t)merge->rank << 32 | place);
}

/* Merges every occurrence of the pair of least rank. */
static void merge_least(struct word *w)
{
    uint64_t rank = w->heap[0] >> 32;
    w->changed_count = 0;
    while (w->heap_count > 0 && w->heap[0] >> 32 == rank) {
        uint32_t place = (uint32_t)heap_pop(w);
        const struct merge *merge = merge_at(w, place);
        if (merge == NULL || (uint64_t)merge->rank != rank)
            continue;
        struct link *left = &w->links[place], *right = &w->links[left->next];
        left->id = merge->result;
        left->next = right->next;
        right->id = GONE;
        if (left->next < w->length)
            w->links[left->next].previous = place;
        w->changed[w->changed_count++] = place;
    }
    for (size_t i = 0; i < w->changed_count; i++) {
        uint32_t place = w->changed[i];
        push_pair(w, place);
        if (place > 0)
            push_pair(w, w->links[place].previous);
    }
}

status bpe_encode(const struct vocabulary *v, const char *word, size_t length, struct token_ids *ids,
                  struct error *e)
{
    if (length > BPE_MAX_WORD)
        return fail(e, ERR_ARGUMENT, "a word of %zu bytes, the limit is %d", length, BPE_MAX_WORD);
    /* A pair enters the heap at the start (fewer than length) or by a merge (two each, fewer than length merges). */
    struct word w = {
        .vocabulary = v,
        .links = malloc(length * sizeof *w.links),
        .length = (uint32_t)length,
        .heap = malloc(3 * length * sizeof *w.heap),
        .changed = malloc(length * sizeof *w.changed),
    };
    status s = OK;
    if (w.links == NULL || w.heap == NULL || w.changed == NULL) {
        s = fail(e, ERR_MEMORY, "no memory for a word of %zu bytes", length);
        goto done;
    }
    for (uint32_t i = 0; i < w.length; i++) {
        unsigned char byte = (unsigned char)word[i];
        int32_t id = i + 1 < w.length ? v->byte[byte] : v->final_byte[byte];
        w.links[i] = (struct link){.id = id, .previous = i - 1, .next = i + 1};
    }
    for (uint32_t i = 0; i + 1 < w.length; i++)
        push_pair(&w, i);
    while (w.heap_count > 0)
        merge_least(&w);
    for (uint32_t i = 0; i < w.length && s == OK; i = w.links[i].next)
        s = token_ids_append(ids, w.links[i].id, e);
done:
    free(w.links);
    free(w.heap);
    free(w.changed);
    return s;
}
