/* A prompt on its way to ids:
 *
 *     "A Café!"  --special and added tokens are cut out of the raw text-->  "A Café" | "!" (if it is the pad token)
 *                --cleaned: NFC, lower case-->                   "a café"
 *                --split by the pattern-->                       "a" "café"
 *                --bytes, byte pairs-->                          320 15304 | 0
 *
 * Source: transformers, models/clip/tokenization_clip.py (with its BasicTokenizer, which is used when ftfy is not
 * installed); openai/CLIP, clip/simple_tokenizer.py. The surprise: they disagree. transformers drops control
 * characters, sets CJK ideographs apart and normalises; OpenAI does none of this, but unescapes HTML twice. Which one
 * is meant follows from which of the two vocabularies is used. */
#include "sdxl/text/tokenizer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/added_tokens.h"
#include "sdxl/text/bpe.h"
#include "sdxl/text/html.h"
#include "sdxl/text/unicode.h"
#include "tensor/utf8.h"
#include "sdxl/text/vocabulary.h"
#include "tensor/file.h"
#include "tensor/json.h"

const char *const long_prompt_names[] = {"truncate", "windows", NULL};

enum cleaning { CLEAN_TRANSFORMERS, CLEAN_OPENAI };

enum special { BEGIN, END, PAD, SPECIALS };

struct special_token {
    char *name;
    size_t length;
    int32_t id;
    bool raw; /* is cut out of the raw text, wherever it stands */
};

struct tokenizer {
    struct vocabulary vocabulary;
    enum cleaning cleaning;
    struct special_token special[SPECIALS];
    struct added_tokens added;
};

/* Opening */

/* Reads a config that need not be there: then *root is NULL. */
static status read_optional(const char *folder, const char *name, const struct json **root, struct error *e)
{
    char path[4096];
    *root = NULL;
    TRY(path_join(path, sizeof path, folder, name, e));
    return file_exists(path) ? json_read(path, root, e) : OK;
}

/* A token in a config is a string or an object with its "content". */
static const char *token_name(const struct json *config, const char *key, const char *fallback)
{
    const struct json *token = json_get(config, key);
    return json_string(token, json_string(json_get(token, "content"), fallback));
}

static status set_special(struct tokenizer *t, enum special which, const char *name, const char *path,
                          struct error *e)
{
    static const char *const roles[SPECIALS] = {"begin", "end", "pad"};
    struct special_token *token = &t->special[which];
    token->length = strlen(name);
    token->id = vocabulary_find(&t->vocabulary, name, token->length);
    if (token->length == 0 || token->id < 0)
        return fail(e, ERR_FORMAT, "%s: the %s token \"%s\" is not in the vocabulary", path, roles[which], name);
    /* OpenAI leaves begin and end to the pattern, which sees none in "<<|endoftext|>". */
    token->raw = t->cleaning == CLEAN_TRANSFORMERS || (which == PAD && token->id != t->special[END].id);
    token->name = strdup(name);
    return token->name != NULL ? OK : fail(e, ERR_MEMORY, "%s: no memory for its special tokens", path);
}

/* The special tokens by name. special_tokens_map.json goes before tokenizer_config.json, as in transformers. */
static status set_specials(struct tokenizer *t, const char *path, const struct json *map, const struct json *config,
                           const char *pad, struct error *e)
{
    const char *begin = token_name(map, "bos_token", token_name(config, "bos_token", "<|startoftext|>"));
    const char *end = token_name(map, "eos_token", token_name(config, "eos_token", "<|endoftext|>"));
    if (pad == NULL)
        pad = token_name(map, "pad_token", token_name(config, "pad_token", end));
    TRY(set_special(t, BEGIN, begin, path, e));
    TRY(set_special(t, END, end, path, e));
    return set_special(t, PAD, pad, path, e);
}

static status open_folder(struct tokenizer *t, const char *folder, const char *pad, struct error *e)
{
    const struct json *map = NULL, *config = NULL, *added = NULL;
    TRY(vocabulary_open_folder(folder, &t->vocabulary, e));
    status s = read_optional(folder, "special_tokens_map.json", &map, e);
    if (s == OK)
        s = read_optional(folder, "tokenizer_config.json", &config, e);
    if (s == OK)
        s = read_optional(folder, "added_tokens.json", &added, e);
    if (s == OK)
        s = set_specials(t, folder, map, config, pad, e);
    if (s == OK)
        s = added_tokens_read(folder, &t->vocabulary, added, json_get(config, "added_tokens_decoder"), &t->added, e);
    json_free(map);
    json_free(config);
    json_free(added);
    return s;
}

static status open_gzip(struct tokenizer *t, const char *path, const char *pad, struct error *e)
{
    t->cleaning = CLEAN_OPENAI;
    TRY(vocabulary_open_gzip(path, &t->vocabulary, e));
    return set_specials(t, path, NULL, NULL, pad, e);
}

status tokenizer_open(const char *path, const struct tokenizer_options *options, struct tokenizer **out,
                      struct error *e)
{
    const char *pad = options != NULL ? options->pad_token : NULL;
    *out = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for a tokenizer", path);
    status s = file_is_directory(path) ? open_folder(t, path, pad, e) : open_gzip(t, path, pad, e);
    if (s != OK) {
        tokenizer_close(t);
        return s;
    }
    *out = t;
    return OK;
}

void tokenizer_close(struct tokenizer *t)
{
    if (t == NULL)
        return;
    vocabulary_close(&t->vocabulary);
    for (int i = 0; i < SPECIALS; i++)
        free(t->special[i].name);
    added_tokens_free(&t->added);
    free(t);
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    return t->vocabulary.size > t->added.size ? t->vocabulary.size : t->added.size;
}

int32_t tokenizer_end(const struct tokenizer *t)
{
    return t->special[END].id;
}

int32_t tokenizer_pad(const struct tokenizer *t)
{
    return t->special[PAD].id;
}

/* Cleaning */

/* BasicTokenizer's _is_control: tab, line feed and return are white space to it, though Unicode says control. */
static bool is_dropped(uint32_t c)
{
    bool white = c == '\t' || c == '\n' || c == '\r';
    return c == UTF8_REPLACEMENT || (unicode_flags(c) & UNICODE_CONTROL && !white);
}

/* BasicTokenizer up to NFC. White space needs no care: the pattern splits at every kind of it. */
static status clean_transformers(const struct code_points *text, struct code_points *out, struct error *e)
{
    struct code_points kept = {0};
    status s = OK;
    for (size_t i = 0; i < text->count && s == OK; i++) {
        uint32_t c = text->data[i];
        if (is_dropped(c))
            continue;
        bool apart = unicode_is_ideograph(c);
        if (apart)
            s = code_points_append(&kept, ' ', e);
        if (s == OK)
            s = code_points_append(&kept, c, e);
        if (apart && s == OK)
            s = code_points_append(&kept, ' ', e);
    }
    if (s == OK)
        s = unicode_nfc(&kept, out, e);
    code_points_free(&kept);
    return s;
}

/* Python's str.strip also takes the four separators that the pattern's \s does not. */
static bool is_stripped(uint32_t c)
{
    return unicode_flags(c) & UNICODE_SPACE || (c >= 0x1c && c <= 0x1f);
}

/* SimpleTokenizer's basic_clean and whitespace_clean. */
static status clean_openai(const struct code_points *text, struct code_points *out, struct error *e)
{
    struct code_points once = {0}, twice = {0};
    status s = html_unescape(text, &once, e);
    if (s == OK)
        s = html_unescape(&once, &twice, e);
    size_t begin = 0, end = twice.count;
    while (begin < end && is_stripped(twice.data[begin]))
        begin++;
    while (end > begin && is_stripped(twice.data[end - 1]))
        end--;
    for (size_t i = begin; i < end && s == OK; i++)
        s = code_points_append(out, twice.data[i], e);
    code_points_free(&once);
    code_points_free(&twice);
    return s;
}

/* The pattern, whatever the case: begin|end|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ */

/* Ignoring case has two surprises: a long s is an s, and the iota below a Greek vowel, a mark whose upper case is a
 * letter, is taken by no branch. */
enum { LONG_S = 0x17f, IOTA_BELOW = 0x345 };

/* One of UNICODE_LETTER, UNICODE_NUMBER, UNICODE_SPACE (what no branch takes), or 0 for the rest. */
static unsigned pattern_kind(uint32_t c)
{
    return c == IOTA_BELOW ? UNICODE_SPACE : unicode_flags(c) & (UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE);
}

/* True if `literal`, which must be ASCII, is at text[i..]. The text is in lower case. */
static bool matches(const struct code_points *text, size_t i, const char *literal)
{
    for (; *literal != '\0'; literal++, i++) {
        if (i >= text->count || (unsigned char)*literal >= 0x80)
            return false;
        uint32_t c = text->data[i] == LONG_S ? 's' : text->data[i];
        if (c != (unsigned char)*literal)
            return false;
    }
    return true;
}

/* Where the word that begins at text[i], not a space, ends. */
static size_t word_end(const struct code_points *text, size_t i)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t k = 0; k < sizeof contractions / sizeof *contractions; k++)
        if (matches(text, i, contractions[k]))
            return i + strlen(contractions[k]);
    unsigned kind = pattern_kind(text->data[i++]);
    while (kind != UNICODE_NUMBER && i < text->count && pattern_kind(text->data[i]) == kind)
        i++;
    return i;
}

static status encode_word(const struct tokenizer *t, const struct code_points *text, size_t begin, size_t end,
                          struct token_ids *ids, struct error *e)
{
    char *word = malloc(4 * (end - begin)); /* UTF-8 */
    if (word == NULL)
        return fail(e, ERR_MEMORY, "no memory for a word of %zu characters", end - begin);
    size_t length = 0;
    for (size_t i = begin; i < end; i++)
        length += utf8_write(text->data[i], word + length);
    status s = bpe_encode(&t->vocabulary, word, length, ids, e);
    free(word);
    return s;
}

/* Words of a cleaned text. Begin and end tokens may appear here, too: in upper case, say, which raw text does not
 * count, and always in OpenAI's way. */
static status encode_words(const struct tokenizer *t, const struct code_points *text, struct token_ids *ids,
                           struct error *e)
{
    for (size_t i = 0; i < text->count;) {
        const struct special_token *special = NULL;
        for (int k = BEGIN; k <= END; k++)
            if (matches(text, i, t->special[k].name))
                special = &t->special[k];
        if (special != NULL) {
            TRY(token_ids_append(ids, special->id, e));
            i += special->length;
        } else if (pattern_kind(text->data[i]) == UNICODE_SPACE) {
            i++;
        } else {
            size_t end = word_end(text, i);
            TRY(encode_word(t, text, i, end, ids, e));
            i = end;
        }
    }
    return OK;
}

/* Raw text between special tokens. */
static status encode_text(const struct tokenizer *t, const char *utf8, size_t length, struct token_ids *ids,
                          struct error *e)
{
    struct code_points raw = {0}, clean = {0}, lower = {0};
    status s = unicode_decode(utf8, length, &raw, e);
    if (s == OK)
        s = t->cleaning == CLEAN_OPENAI ? clean_openai(&raw, &clean, e) : clean_transformers(&raw, &clean, e);
    if (s == OK)
        s = unicode_lower(&clean, &lower, e);
    if (s == OK)
        s = encode_words(t, &lower, ids, e);
    code_points_free(&raw);
    code_points_free(&clean);
    code_points_free(&lower);
    return s;
}

/* The longest special or added token at the beginning of a text: its length, or 0, and *id. */
static size_t token_at(const struct tokenizer *t, const char *utf8, int32_t *id)
{
    const struct added_token *added = added_tokens_at(&t->added, utf8);
    size_t longest = added != NULL ? added->length : 0;
    *id = added != NULL ? added->id : -1;
    for (int k = 0; k < SPECIALS; k++) {
        const struct special_token *token = &t->special[k];
        if (token->raw && strncmp(utf8, token->name, token->length) == 0 && token->length > longest) {
            longest = token->length;
            *id = token->id;
        }
    }
    return longest;
}

static status encode_prompt(const struct tokenizer *t, const char *utf8, struct token_ids *ids, struct error *e)
{
    size_t length = strlen(utf8);
    if (length > TOKENIZER_MAX_PROMPT)
        return fail(e, ERR_ARGUMENT, "a prompt of %zu bytes, the limit is %d", length, TOKENIZER_MAX_PROMPT);
    const char *begin = utf8;
    while (*utf8 != '\0') {
        int32_t id;
        size_t length_of_token = token_at(t, utf8, &id);
        if (length_of_token == 0) {
            utf8++;
            continue;
        }
        TRY(encode_text(t, begin, (size_t)(utf8 - begin), ids, e));
        TRY(token_ids_append(ids, id, e));
        begin = utf8 += length_of_token;
    }
    return encode_text(t, begin, (size_t)(utf8 - begin), ids, e);
}

status tokenizer_encode(const struct tokenizer *t, const char *utf8, int32_t **ids, size_t *count, struct error *e)
{
    struct token_ids list = {0};
    status s = encode_prompt(t, utf8, &list, e);
    if (s != OK)
        token_ids_free(&list);
    *ids = list.data;
    *count = list.count;
    return s;
}

/* Windows */

static void fill_window(const struct tokenizer *t, const int32_t *ids, size_t count, int32_t *window)
{
    size_t n = 0;
    window[n++] = t->special[BEGIN].id;
    for (size_t i = 0; i < count; i++)
        window[n++] = ids[i];
    window[n++] = t->special[END].id;
    while (n < TOKEN_WINDOW)
        window[n++] = t->special[PAD].id;
}

void tokenizer_empty_window(const struct tokenizer *t, int32_t window[TOKEN_WINDOW])
{
    fill_window(t, NULL, 0, window);
}

status tokenizer_windows(const struct tokenizer *t, const char *utf8, enum long_prompt mode,
                         struct token_windows *out, struct error *e)
{
    *out = (struct token_windows){0};
    int32_t *ids;
    size_t total;
    TRY(tokenizer_encode(t, utf8, &ids, &total, e));
    size_t used = mode == LONG_PROMPT_TRUNCATE && total > TOKEN_WINDOW_IDS ? TOKEN_WINDOW_IDS : total;
    size_t count = used == 0 ? 1 : (used + TOKEN_WINDOW_IDS - 1) / TOKEN_WINDOW_IDS;
    int32_t *windows = calloc(count, TOKEN_WINDOW * sizeof *windows);
    if (windows == NULL) {
        free(ids);
        return fail(e, ERR_MEMORY, "no memory for %zu windows of %d tokens", count, TOKEN_WINDOW);
    }
    for (size_t w = 0; w < count; w++) {
        size_t first = w * TOKEN_WINDOW_IDS, left = used - first;
        fill_window(t, ids != NULL ? ids + first : NULL, left < TOKEN_WINDOW_IDS ? left : TOKEN_WINDOW_IDS,
                    windows + w * TOKEN_WINDOW);
    }
    free(ids);
    *out = (struct token_windows){.ids = windows, .count = count, .total = total, .cut = total - used};
    return OK;
}

void token_windows_free(struct token_windows *windows)
{
    free(windows->ids);
    free(windows->weights);
    *windows = (struct token_windows){0};
}
