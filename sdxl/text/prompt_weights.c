#include "sdxl/text/prompt_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/bpe.h"
#include "sdxl/text/unicode.h"
#include "tensor/utf8.h"

/* ------------------------------------------------------------------------------------------------------- parsing
 */

enum { MAX_DEPTH = 256 }; /* open brackets of one kind; 1.1 to that power is 4e10 */
static const double round_bracket = 1.1, square_bracket = 1 / 1.1;

/* Open brackets of one kind: at which pair each was opened. */
struct brackets {
    size_t *opened, count;
};

struct parser {
    const struct code_points *text;
    size_t at;
    struct prompt_pair *pairs;
    size_t count;
    struct brackets rounds, squares;
    struct error *e;
};

/* Python's str.isspace and \s */
static bool is_space(uint32_t c)
{
    return unicode_flags(c) & UNICODE_SPACE || (c >= 0x1c && c <= 0x1f);
}

/* Python's \w, without what only marks and joiners would add */
static bool is_word(uint32_t c)
{
    return c == '_' || unicode_flags(c) & (UNICODE_LETTER | UNICODE_NUMBER);
}

static uint32_t point(const struct parser *p, size_t i)
{
    return i < p->text->count ? p->text->data[i] : 0;
}

static status add_pair(struct parser *p, size_t begin, size_t end, double weight)
{
    char *text = malloc(4 * (end - begin) + 1); /* UTF-8 */
    size_t length = 0;
    if (text == NULL)
        return fail(p->e, ERR_MEMORY, "not enough memory for a prompt");
    for (size_t i = begin; i < end; i++)
        length += utf8_write(p->text->data[i], text + length);
    text[length] = '\0';
    p->pairs[p->count++] = (struct prompt_pair){text, weight};
    return OK;
}

static status open_bracket(struct parser *p, struct brackets *b)
{
    if (b->count == MAX_DEPTH)
        return fail(p->e, ERR_ARGUMENT, "prompt: more than %d brackets are open at once", MAX_DEPTH);
    b->opened[b->count++] = p->count;
    p->at++;
    return OK;
}

/* Closes the innermost bracket: everything since it was opened weighs `times` as much. */
static void close_bracket(struct parser *p, struct brackets *b, double times)
{
    for (size_t i = b->opened[--b->count]; i < p->count; i++)
        p->pairs[i].weight *= times;
}

/* ":1.2)" at p->at, with spaces allowed around the number: where its digits begin and where it ends, after the
 * bracket. 0: it is not there. */
static size_t number_end(const struct parser *p, size_t *digits)
{
    size_t i = p->at + 1;
    while (is_space(point(p, i)))
        i++;
    *digits = i;
    if (point(p, i) == '+' || point(p, i) == '-')
        i++;
    size_t first = i;
    while (point(p, i) == '.' || (point(p, i) >= '0' && point(p, i) <= '9'))
        i++;
    if (i == first)
        return 0;
    while (is_space(point(p, i)))
        i++;
    return point(p, i) == ')' ? i + 1 : 0;
}

static status close_with_number(struct parser *p, size_t digits, size_t end)
{
    char number[64], *rest;
    size_t length = 0;
    for (size_t i = digits; i < end - 1 && !is_space(point(p, i)) && length < sizeof number - 1; i++)
        number[length++] = (char)point(p, i);
    number[length] = '\0';
    double weight = strtod(number, &rest);
    if (rest == number || *rest != '\0' || !isfinite((float)weight))
        return fail(p->e, ERR_ARGUMENT,
                    "prompt: \"(..:%s)\": a weight must be a number; write \\( for a bracket that is none, or turn "
                    "prompt_weights off", number);
    close_bracket(p, &p->rounds, weight);
    p->at = end;
    return OK;
}

/* Where a break that begins at or after i, within a run that ends at `end`, stands: BREAK as a whole word. */
static size_t find_break(const struct parser *p, size_t begin, size_t i, size_t end)
{
    static const char word[] = "BREAK";
    const size_t n = sizeof word - 1;
    for (; i + n <= end; i++) {
        size_t k = 0;
        while (k < n && point(p, i + k) == (unsigned char)word[k])
            k++;
        if (k == n && !(i > begin && is_word(point(p, i - 1))) && !(i + n < end && is_word(point(p, i + n))))
            return i;
    }
    return end;
}

/* Words between brackets, split where a BREAK stands, which takes the spaces around it along. */
static status add_words(struct parser *p, size_t begin, size_t end)
{
    for (size_t first = begin, at;; first = at) {
        size_t found = find_break(p, begin, first, end), words = found;
        while (found < end && words > first && is_space(point(p, words - 1)))
            words--;
        TRY(add_pair(p, first, words, 1));
        if (found == end)
            return OK;
        at = found + strlen("BREAK");
        TRY(add_pair(p, found, at, -1));
        while (at < end && is_space(point(p, at)))
            at++;
    }
}

static bool is_special(uint32_t c)
{
    return c != 0 && c < 0x80 && strchr("\\()[]:", (int)c) != NULL;
}

static status parse_one(struct parser *p)
{
    size_t begin = p->at, digits, end;
    uint32_t c = point(p, begin);
    switch (c) {
    case '\\':
        p->at += 1 + (point(p, begin + 1) != ':' && is_special(point(p, begin + 1)));
        return add_pair(p, begin + 1, p->at, 1);
    case '(': return open_bracket(p, &p->rounds);
    case '[': return open_bracket(p, &p->squares);
    case ':':
        end = number_end(p, &digits);
        if (end > 0 && p->rounds.count > 0)
            return close_with_number(p, digits, end);
        p->at = end > 0 ? end : begin + 1;
        return add_words(p, begin, p->at);
    case ')':
        p->at++;
        if (p->rounds.count == 0)
            return add_words(p, begin, p->at);
        close_bracket(p, &p->rounds, round_bracket);
        return OK;
    case ']':
        p->at++;
        if (p->squares.count == 0)
            return add_words(p, begin, p->at);
        close_bracket(p, &p->squares, square_bracket);
        return OK;
    default:
        while (p->at < p->text->count && !is_special(point(p, p->at)))
            p->at++;
        return add_words(p, begin, p->at);
    }
}

/* Neighbours of one weight become one. In place, as there are never more. */
static status merge(struct parser *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count;) {
        size_t end = i + 1, length = strlen(p->pairs[i].text);
        while (end < p->count && p->pairs[end].weight == p->pairs[i].weight)
            length += strlen(p->pairs[end++].text);
        struct prompt_pair whole = p->pairs[i];
        if (end > i + 1) {
            char *grown = realloc(whole.text, length + 1);
            if (grown == NULL)
                return fail(p->e, ERR_MEMORY, "not enough memory for a prompt");
            char *to = grown + strlen(grown);
            whole.text = p->pairs[i].text = grown;
            for (size_t k = i + 1; k < end; k++) {
                size_t n = strlen(p->pairs[k].text);
                memcpy(to, p->pairs[k].text, n + 1);
                to += n;
                free(p->pairs[k].text);
                p->pairs[k].text = NULL;
            }
        }
        p->pairs[i].text = NULL;
        p->pairs[kept++] = whole;
        i = end;
    }
    p->count = kept;
    return OK;
}

static status parse(struct parser *p)
{
    while (p->at < p->text->count)
        TRY(parse_one(p));
    while (p->rounds.count > 0)
        close_bracket(p, &p->rounds, round_bracket);
    while (p->squares.count > 0)
        close_bracket(p, &p->squares, square_bracket);
    if (p->count == 0)
        return add_pair(p, 0, 0, 1);
    return merge(p);
}

void prompt_pairs_free(struct prompt_pairs *pairs)
{
    for (size_t i = 0; i < pairs->count; i++)
        free(pairs->items[i].text);
    free(pairs->items);
    *pairs = (struct prompt_pairs){0};
}

status prompt_parse(const char *prompt, struct prompt_pairs *out, struct error *e)
{
    size_t length = strlen(prompt);
    struct code_points text = {0};
    *out = (struct prompt_pairs){0};
    if (length > TOKENIZER_MAX_PROMPT)
        return fail(e, ERR_ARGUMENT, "a prompt of %zu bytes, the limit is %d", length, TOKENIZER_MAX_PROMPT);
    status s = unicode_decode(prompt, length, &text, e);
    size_t room = text.count + 1; /* no pair without a character, but the empty prompt's */
    size_t opened[2][MAX_DEPTH];
    struct parser p = {.text = &text, .rounds.opened = opened[0], .squares.opened = opened[1], .e = e};
    p.pairs = s == OK ? calloc(room, sizeof *p.pairs) : NULL;
    if (s == OK && p.pairs == NULL)
        s = fail(e, ERR_MEMORY, "not enough memory for a prompt");
    if (s == OK)
        s = parse(&p);
    code_points_free(&text);
    *out = (struct prompt_pairs){p.pairs, p.count};
    if (s != OK)
        prompt_pairs_free(out);
    return s;
}

bool prompt_is_plain(const struct prompt_pairs *pairs, const char *prompt)
{
    return pairs->count == 1 && pairs->items[0].weight == 1 && strcmp(pairs->items[0].text, prompt) == 0;
}

/* ------------------------------------------------------------------------------------------------------- windows
 */

enum { BACKTRACK = 20 }; /* comma_padding_backtrack */

struct filler {
    const struct tokenizer *t;
    enum long_prompt mode;
    struct token_windows *out;
    size_t room;                         /* windows allocated */
    int32_t ids[TOKEN_WINDOW_IDS];       /* of the window that is being filled */
    float weights[TOKEN_WINDOW_IDS];
    size_t count;
    size_t after_comma; /* how many of them end with the last comma; 0: there is none */
    struct error *e;
};

/* Ends the window after its first `count` ids; the others begin the next one. */
static status end_window(struct filler *f, size_t count)
{
    struct token_windows *out = f->out;
    if (out->count == f->room) {
        size_t room = 2 * f->room + 1;
        int32_t *ids = realloc(out->ids, room * TOKEN_WINDOW * sizeof *ids);
        out->ids = ids != NULL ? ids : out->ids;
        float *weights = realloc(out->weights, room * TOKEN_WINDOW * sizeof *weights);
        out->weights = weights != NULL ? weights : out->weights;
        if (ids == NULL || weights == NULL)
            return fail(f->e, ERR_MEMORY, "no memory for %zu windows of %d tokens", room, TOKEN_WINDOW);
        f->room = room;
    }
    int32_t *ids = out->ids + out->count * TOKEN_WINDOW;
    float *weights = out->weights + out->count * TOKEN_WINDOW;
    tokenizer_empty_window(f->t, ids);
    for (int i = 0; i < TOKEN_WINDOW; i++)
        weights[i] = 1;
    int32_t end = ids[1], pad = ids[2];
    memcpy(ids + 1, f->ids, count * sizeof *ids);
    memcpy(weights + 1, f->weights, count * sizeof *weights);
    ids[1 + count] = end;
    for (size_t i = count + 2; i < TOKEN_WINDOW; i++)
        ids[i] = pad;
    memmove(f->ids, f->ids + count, (f->count - count) * sizeof *f->ids);
    memmove(f->weights, f->weights + count, (f->count - count) * sizeof *f->weights);
    f->count -= count;
    f->after_comma = 0;
    out->count++;
    return OK;
}

static status add_id(struct filler *f, int32_t id, float weight, bool comma)
{
    f->out->total++;
    if (f->count == TOKEN_WINDOW_IDS && f->mode == LONG_PROMPT_TRUNCATE) {
        f->out->cut++;
        return OK;
    }
    if (comma)
        f->after_comma = f->count + 1; /* forgotten at once where it opens the next window */
    else if (f->count == TOKEN_WINDOW_IDS && f->after_comma > 0 && f->count - (f->after_comma - 1) <= BACKTRACK)
        TRY(end_window(f, f->after_comma));
    if (f->count == TOKEN_WINDOW_IDS)
        TRY(end_window(f, f->count));
    f->ids[f->count] = id;
    f->weights[f->count++] = weight;
    return OK;
}

static status add_pair_ids(struct filler *f, const struct prompt_pair *pair, int32_t comma)
{
    int32_t *ids;
    size_t count;
    status s = tokenizer_encode(f->t, pair->text, &ids, &count, f->e);
    for (size_t i = 0; i < count && s == OK; i++)
        s = add_id(f, ids[i], (float)pair->weight, ids[i] == comma);
    free(ids);
    return s;
}

static status fill(struct filler *f, const struct prompt_pairs *pairs)
{
    int32_t *comma;
    size_t commas;
    TRY(tokenizer_encode(f->t, ",", &comma, &commas, f->e));
    int32_t id = commas == 1 ? comma[0] : -1;
    free(comma);
    for (size_t i = 0; i < pairs->count; i++) {
        const struct prompt_pair *pair = &pairs->items[i];
        if (pair->weight == -1 && strcmp(pair->text, "BREAK") == 0)
            TRY(end_window(f, f->count));
        else
            TRY(add_pair_ids(f, pair, id));
    }
    return f->count > 0 || f->out->count == 0 ? end_window(f, f->count) : OK;
}

status prompt_windows(const struct tokenizer *t, const struct prompt_pairs *pairs, enum long_prompt mode,
                      struct token_windows *out, struct error *e)
{
    *out = (struct token_windows){0};
    struct filler f = {.t = t, .mode = mode, .out = out, .e = e};
    status s = fill(&f, pairs);
    if (s != OK)
        token_windows_free(out);
    return s;
}

/* ------------------------------------------------------------------------------------------------------ weighing
 */

void prompt_weigh(float *states, const float *weights, int64_t width, bool restore_mean)
{
    double before = 0, after = 0;
    for (int64_t i = 0; i < TOKEN_WINDOW * width; i++) {
        before += states[i];
        states[i] *= weights[i / width];
        after += states[i];
    }
    float scale = (float)(before / after);
    for (int64_t i = 0; i < TOKEN_WINDOW * width && restore_mean && isfinite(scale); i++)
        states[i] *= scale;
}
