/* Prompt weights, as the most used web UI (AUTOMATIC1111's, 1.10.1) defines them:
 *
 *   (word) 1.1 times, [word] 1 / 1.1 times, (word:1.3) 1.3 times, nested ones multiply; \( \) \[ \] \\ are the
 *   characters themselves; BREAK, a word by itself outside of brackets, begins a new window
 *
 *   prompt -- prompt_parse -- pairs of text and weight -- prompt_windows -- ids and weights, 77 a window
 *   states of a window -- prompt_weigh -- weighted, with the mean they had before
 *
 * Surprises, all of them the web UI's: `[b:0.5]` is text, not a number; an open bracket counts to the end of the
 * prompt; a BREAK within brackets is a word; the mean is one number over all 77 x C values of a window.
 *
 * Source: parse_prompt_attention of modules/prompt_parser.py, tokenize_line of modules/sd_hijack_clip.py,
 * modules/sd_emphasis.py. */
#ifndef SDXL_PROMPT_WEIGHTS_H
#define SDXL_PROMPT_WEIGHTS_H

#include <stdbool.h>

#include "sdxl/text/tokenizer.h"

/* A run of text of one weight. A break is the pair ("BREAK", -1). */
struct prompt_pair {
    char *text; /* UTF-8 */
    double weight;
};
struct prompt_pairs {
    struct prompt_pair *items; /* at least one */
    size_t count;
};

/* Fails if a weight is no number ("1..2"), if the prompt is longer than TOKENIZER_MAX_PROMPT, or for want of memory.
 * The caller frees the pairs. */
status prompt_parse(const char *prompt, struct prompt_pairs *out, struct error *e);
void prompt_pairs_free(struct prompt_pairs *pairs);

/* Whether a prompt says no more than its words: then it may be read as if weights did not exist. */
bool prompt_is_plain(const struct prompt_pairs *pairs, const char *prompt);

/* Each pair is tokenized by itself; a break begins a new window. What does not fit a window goes on in a next one, from
 * after the last comma if that is at most 20 ids back; with LONG_PROMPT_TRUNCATE it is cut, up to the next break.
 * out->weights is filled, too: 1 for begin, end and padding. The caller frees `out`. */
status prompt_windows(const struct tokenizer *t, const struct prompt_pairs *pairs, enum long_prompt mode,
                      struct token_windows *out, struct error *e);

/* states: one window [77, width], in place; weights: its [77]. With restore_mean the mean of all of its values becomes
 * again what it was. */
void prompt_weigh(float *states, const float *weights, int64_t width, bool restore_mean);

#endif
