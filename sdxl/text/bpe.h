/* Byte-pair encoding of one word: the step from bytes to tokens. */
#ifndef SDXL_BPE_H
#define SDXL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "sdxl/text/vocabulary.h"
#include "tensor/status.h"

/* A growing array of ids. Zeroed is empty. */
struct token_ids {
    int32_t *data;
    size_t count, capacity;
};
status token_ids_append(struct token_ids *ids, int32_t id, struct error *e);
void token_ids_free(struct token_ids *ids); /* and leaves it empty */

enum { BPE_MAX_WORD = 1 << 24 }; /* bytes */

/* Appends the tokens of a word of at least one byte. Takes O(n log n) time for n bytes. Fails for want of memory, or
 * if the word is longer than BPE_MAX_WORD. Source: Sennrich et al. 2016, as in CLIP's SimpleTokenizer.bpe. */
status bpe_encode(const struct vocabulary *v, const char *word, size_t length, struct token_ids *ids,
                  struct error *e);

#endif
