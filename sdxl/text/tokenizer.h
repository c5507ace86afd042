/* CLIP's tokenizer: from a prompt to the ids that a text encoder reads, in windows of 77.
 *
 * SDXL has two, with one vocabulary. They differ in the pad token only: the first pads with its end token, the second
 * with "!", id 0. A pad token is a special token, so for the second every "!" that was typed becomes id 0, never
 * part of a longer token such as "!!". */
#ifndef SDXL_TOKENIZER_H
#define SDXL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

enum {
    TOKEN_WINDOW = 77,                 /* begin, up to 75 ids, end, padding: what the encoders were trained on */
    TOKEN_WINDOW_IDS = TOKEN_WINDOW - 2,
    TOKENIZER_MAX_PROMPT = 1 << 20,    /* bytes */
};

struct tokenizer; /* immutable once opened: threads may share it */

struct tokenizer_options {
    const char *pad_token; /* overrides what the folder says; NULL: take that */
};

/* Opens
 *   a folder (diffusers' tokenizer/ or tokenizer_2/): vocab.json and merges.txt; begin, end and pad token come from
 *     special_tokens_map.json or tokenizer_config.json, or are "<|startoftext|>", "<|endoftext|>" and the end token;
 *     text is cleaned as by transformers' CLIPTokenizer without ftfy; tokens added later are known (added_tokens.h);
 *   or OpenAI's bpe_simple_vocab_16e6.txt.gz: text is cleaned as by openai/CLIP's SimpleTokenizer without ftfy.
 * `options` may be NULL. The caller closes. Malformed files are refused with their name and line or token. */
status tokenizer_open(const char *path, const struct tokenizer_options *options, struct tokenizer **out,
                      struct error *e);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

int32_t tokenizer_size(const struct tokenizer *t); /* ids are smaller than this: the encoder's vocab_size */
int32_t tokenizer_end(const struct tokenizer *t);
int32_t tokenizer_pad(const struct tokenizer *t);

/* The ids of a text, without begin and end; *ids is NULL if there are none. The caller frees *ids. Bytes that are not
 * UTF-8 count as U+FFFD. Fails if the text is longer than TOKENIZER_MAX_PROMPT, or for want of memory. */
status tokenizer_encode(const struct tokenizer *t, const char *utf8, int32_t **ids, size_t *count, struct error *e);

/* What becomes of a prompt of more than 75 ids. */
enum long_prompt {
    LONG_PROMPT_TRUNCATE, /* one window with the first 75, as the reference */
    LONG_PROMPT_WINDOWS,  /* as many windows as it takes, cut every 75 ids */
};
extern const char *const long_prompt_names[]; /* "truncate", .., NULL */

struct token_windows {
    int32_t *ids;   /* [count, 77] */
    float *weights; /* the same, where the prompt has weights (prompt_weights.h); else NULL: all are 1 */
    size_t count;   /* at least 1: the empty prompt is an empty window */
    size_t total;   /* ids of the whole prompt, without begin, end and padding */
    size_t cut;     /* how many of these are in no window: worth a warning if not 0 */
};

/* Fills `out`, which the caller frees. Fails as tokenizer_encode does, then there is nothing to free. */
status tokenizer_windows(const struct tokenizer *t, const char *utf8, enum long_prompt mode,
                         struct token_windows *out, struct error *e);
void token_windows_free(struct token_windows *windows);

/* The window of the empty prompt, to lengthen the shorter prompts of a batch: begin, end, padding. */
void tokenizer_empty_window(const struct tokenizer *t, int32_t window[TOKEN_WINDOW]);

#endif
