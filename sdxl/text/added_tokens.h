/* Words that a model learnt after its vocabulary was made ("<sks>", textual inversions): each is one id, beyond the
 * vocabulary's, and is cut out of a prompt before anything else looks at it. A tokenizer's folder lists them in
 *
 *   added_tokens.json        {"<sks>": 49408}
 *   tokenizer_config.json    "added_tokens_decoder": {"49408": {"content": "<sks>", ..}}, since transformers 4.34
 *
 * The second also lists what the vocabulary has anyhow, such as begin and end. Source: transformers,
 * tokenization_utils.py (PreTrainedTokenizer.tokenize, tokens_trie). */
#ifndef SDXL_ADDED_TOKENS_H
#define SDXL_ADDED_TOKENS_H

#include "sdxl/text/vocabulary.h"
#include "tensor/json.h"

enum { ADDED_TOKENS_MAX = 4096, ADDED_TOKEN_BYTES = 255 };

struct added_token {
    char *name;
    size_t length;
    int32_t id;
};

/* Zeroed: none. */
struct added_tokens {
    struct added_token *items;
    int count;
    int32_t size; /* ids are smaller than this: the vocabulary's size, if there are none beyond */
};

/* Reads both lists; each may be NULL. Refused, with `folder` and the token: an id or a name that means something else
 * already; names that are empty or of more than ADDED_TOKEN_BYTES; "single_word", which no program writes for CLIP. The
 * caller frees the tokens. */
status added_tokens_read(const char *folder, const struct vocabulary *v, const struct json *added,
                         const struct json *decoder, struct added_tokens *tokens, struct error *e);
void added_tokens_free(struct added_tokens *tokens); /* fine on a zeroed struct */

/* The longest of them that a text begins with, or NULL. */
const struct added_token *added_tokens_at(const struct added_tokens *tokens, const char *text);

#endif
