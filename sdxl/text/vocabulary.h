/* A byte-pair vocabulary as CLIP's: the tokens with their ids, and the merges in the order they were learnt.
 *
 * Both published forms are read: HF's `vocab.json` with `merges.txt`, and OpenAI's `bpe_simple_vocab_16e6.txt.gz`,
 * which lists merges only, since the ids follow from them. Tokens are spelled in bytes_to_unicode's alphabet: each of
 * the 256 bytes has a visible character, and "</w>" at the end of a token marks the end of a word.
 * Source: openai/CLIP, clip/simple_tokenizer.py. */
#ifndef SDXL_VOCABULARY_H
#define SDXL_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

struct token_slot {
    const char *name; /* NULL: free */
    uint32_t length;
    int32_t id;
};

struct merge {
    int32_t left, right; /* two tokens side by side */
    int32_t rank;        /* smaller is merged earlier; -1: this slot is free */
    int32_t result;      /* the token they become */
};

struct vocabulary {
    int32_t size;            /* ids are 0..size-1 */
    int32_t byte[256];       /* the token of one byte inside a word */
    int32_t final_byte[256]; /* and at its end: with "</w>" */
    /* private: two hash tables (open addressing, a power of two of slots) and the block that holds the names */
    struct token_slot *tokens;
    struct merge *merges;
    size_t token_slots, merge_slots;
    char *names, *names_end, *names_limit;
};

/* Opens `vocab.json` and `merges.txt` in `folder`, or one gzip file. The caller closes; after a failure there is
 * nothing to close. Refused, naming file and line or token: anything but an object of ids; ids that are not exactly
 * 0..count-1; a byte without a token; a merge that is not two tokens, repeats, or makes a token that is not there; a
 * first line without "#version"; more than 16 MiB of text, also after decompression; a damaged or cut gzip file.
 * As in the reference, merges after the 48,894th are not read. */
status vocabulary_open_folder(const char *folder, struct vocabulary *v, struct error *e);
status vocabulary_open_gzip(const char *path, struct vocabulary *v, struct error *e);
void vocabulary_close(struct vocabulary *v); /* fine on a zeroed struct */

/* The id of a token by its name, or -1. */
int32_t vocabulary_find(const struct vocabulary *v, const char *name, size_t length);

/* The merge of two neighbouring tokens, or NULL. */
const struct merge *vocabulary_merge(const struct vocabulary *v, int32_t left, int32_t right);

#endif
