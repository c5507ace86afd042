/* The tokenizer against recorded ids of the reference implementations (with CLIP's vocabulary, where it is at hand,
 * and with a small one), the merge loop against a slow one, and the readers against broken files. */
#include "sdxl/text/tokenizer.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "sdxl/text/bpe.h"
#include "tensor/file.h"
#include "tensor/json.h"
#include "tensor/safetensors.h"

#include "tests/check.h"
#include "tests/folder.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* The small model's tokenizers, and facts from their vocab.json. */
#define SMALL    "tests/golden/pipeline/tokenizer"
#define SMALL_2  "tests/golden/pipeline/tokenizer_2"
#define RECORDED "tests/golden/wide/three-levels" /* another vocabulary, with prompts */
enum { SMALL_SIZE = 664, SMALL_BEGIN = 662, SMALL_END = 663, ID_A = 320, ID_CAT = 556 };

static void put(const char *name, const void *content, size_t size)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void put_gzip(const char *name, const char *text, size_t size)
{
    gzFile f = gzopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, (unsigned)size), size);
    assert_int_equal(gzclose(f), Z_OK);
}

/* The content of a file, terminated. The caller frees it. */
static char *content_of(const char *path, size_t *size)
{
    struct file_map map;
    assert_int_equal(file_map(path, &map, NULL), OK);
    char *text = malloc(map.size + 1);
    assert_non_null(text);
    memcpy(text, map.data, map.size);
    text[map.size] = '\0';
    if (size != NULL)
        *size = map.size;
    file_unmap(&map);
    return text;
}

/* Copies the small vocabulary into the folder, in one of its files `old` replaced by `new`; NULL: an exact copy. */
static void put_small_vocabulary(const char *file, const char *old, const char *new)
{
    static const char *const files[] = {"vocab.json", "merges.txt"};
    for (size_t i = 0; i < 2; i++) {
        char path[256];
        snprintf(path, sizeof path, SMALL "/%s", files[i]);
        char *text = content_of(path, NULL);
        if (file == NULL || strcmp(file, files[i]) != 0) {
            put_text(files[i], text);
        } else {
            char *at = strstr(text, old);
            assert_non_null(at);
            struct text changed = {0};
            text_append_bytes(&changed, text, (size_t)(at - text));
            text_append(&changed, "%s%s", new, at + strlen(old));
            put_text(files[i], changed.data);
            text_free(&changed);
        }
        free(text);
    }
}

/* Opening and comparing */

static struct tokenizer *opened(const char *path, const char *pad)
{
    struct tokenizer *t;
    struct error e = {0};
    struct tokenizer_options options = {.pad_token = pad};
    if (tokenizer_open(path, &options, &t, &e) != OK)
        fail_msg("%s", e.message);
    return t;
}

static void check_refused(const char *path, const char *pad, const char *where, const char *reason)
{
    struct tokenizer *t;
    struct error e = {0};
    struct tokenizer_options options = {.pad_token = pad};
    if (tokenizer_open(path, &options, &t, &e) == OK)
        fail_msg("accepted, expected '%s'", reason);
    assert_null(t);
    if (strstr(e.message, where) == NULL || strstr(e.message, reason) == NULL || strchr(e.message, '\n') != NULL)
        fail_msg("expected '%s..%s', found '%s'", where, reason, e.message);
}

static void check_ids(const char *text, const int32_t *expected, size_t expected_count, const int32_t *found,
                      size_t count)
{
    for (size_t i = 0; i < expected_count && i < count; i++)
        if (expected[i] != found[i])
            fail_msg("'%s': id %zu is %d, not %d", text, i, found[i], expected[i]);
    if (expected_count != count)
        fail_msg("'%s': %zu ids, not %zu", text, count, expected_count);
}

static void check_encodes(const struct tokenizer *t, const char *text, const int32_t *expected, size_t expected_count)
{
    int32_t *ids;
    size_t count;
    struct error e = {0};
    if (tokenizer_encode(t, text, &ids, &count, &e) != OK)
        fail_msg("'%s': %s", text, e.message);
    check_ids(text, expected, expected_count, ids, count);
    free(ids);
}

/* check_encodes with the expected ids as arguments. */
#define CHECK_ENCODES(t, text, ...)                                                                                  \
    check_encodes(t, text, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* Ids from a JSON array. The caller frees them. */
static int32_t *recorded_ids(const struct json *array)
{
    int32_t *ids = malloc((array->count + 1) * sizeof *ids), *next = ids;
    assert_non_null(ids);
    for (const struct json *id = array->child; id != NULL; id = id->next)
        *next++ = (int32_t)json_int(id, -1);
    return ids;
}

/* CLIP's vocabulary */

/* The path of one of its files, or of their folder (""); skips the test if it is not there. */
static const char *clip_path(const char *file)
{
    static char path[4096];
    const char *where = getenv("CLIP");
    snprintf(path, sizeof path, "%s%s%s", where != NULL ? where : "../shared/clip", *file != '\0' ? "/" : "", file);
    if (!file_exists(path)) {
        print_message("no %s (set CLIP to the folder of CLIP's vocabulary): skipped\n", path);
        skip();
    }
    return path;
}

static const struct json *cases(void)
{
    const struct json *root;
    struct error e = {0};
    if (json_read("tests/golden/tokenizer/cases.json", &root, &e) != OK)
        fail_msg("%s", e.message);
    assert_true(json_get(root, "cases")->count > 200);
    return root;
}

/* Every case's `key`, or its `ids` where that is not recorded. */
static void check_cases(struct tokenizer *t, const char *key)
{
    const struct json *root = cases();
    for (const struct json *c = json_get(root, "cases")->child; c != NULL; c = c->next) {
        const struct json *expected = json_get(c, key) != NULL ? json_get(c, key) : json_get(c, "ids");
        int32_t *ids = recorded_ids(expected);
        check_encodes(t, json_string(json_get(c, "text"), NULL), ids, expected->count);
        free(ids);
    }
    json_free(root);
    tokenizer_close(t);
}

static void check_recorded_windows(struct tokenizer *t, const char *key)
{
    const struct json *root = cases();
    size_t checked = 0;
    for (const struct json *c = json_get(root, "cases")->child; c != NULL; c = c->next) {
        const char *text = json_string(json_get(c, "text"), NULL);
        if (json_get(c, key) == NULL)
            continue;
        struct token_windows windows;
        assert_int_equal(tokenizer_windows(t, text, LONG_PROMPT_TRUNCATE, &windows, NULL), OK);
        assert_int_equal(windows.count, 1);
        int32_t *ids = recorded_ids(json_get(c, key));
        check_ids(text, ids, json_get(c, key)->count, windows.ids, TOKEN_WINDOW);
        free(ids);
        token_windows_free(&windows);
        checked++;
    }
    assert_true(checked >= 50);
    json_free(root);
    tokenizer_close(t);
}

static void first_tokenizer_gives_the_recorded_ids(void **state)
{
    (void)state;
    check_cases(opened(clip_path(""), NULL), "ids");
}

static void second_tokenizer_gives_the_recorded_ids(void **state)
{
    (void)state;
    check_cases(opened(clip_path(""), "!"), "ids_tokenizer_2");
}

static void openai_vocabulary_gives_the_recorded_ids(void **state)
{
    (void)state;
    check_cases(opened(clip_path("bpe_simple_vocab_16e6.txt.gz"), NULL), "ids_openai");
}

static void windows_of_both_tokenizers_are_the_recorded_ones(void **state)
{
    (void)state;
    check_recorded_windows(opened(clip_path(""), NULL), "ids77_1");
    check_recorded_windows(opened(clip_path(""), "!"), "ids77_2");
}

static void published_vocabularies_have_clips_ids(void **state)
{
    (void)state;
    static const char *const files[] = {"", "bpe_simple_vocab_16e6.txt.gz"};
    for (size_t i = 0; i < 2; i++) {
        struct tokenizer *t = opened(clip_path(files[i]), NULL);
        assert_int_equal(tokenizer_size(t), 49408);
            assert_int_equal(tokenizer_end(t), 49407);
        assert_int_equal(tokenizer_pad(t), 49407);
        tokenizer_close(t);
    }
}

/* The small vocabulary */

static void check_pipeline(const char *path, struct tokenizer *t, const char *name)
{
    struct safetensors file;
    const struct json *prompts;
    struct error e = {0};
    if (safetensors_open(path, &file, &e) != OK)
        fail_msg("%s", e.message);
    const char *text = safetensors_meta(&file, "prompts");
    assert_int_equal(json_parse(path, text, strlen(text), &prompts, NULL), OK);
    const struct tensor *recorded = safetensors_find(&file, name);
    assert_true(tensor_is(recorded, 2, (const int64_t[]){(int64_t)prompts->count, TOKEN_WINDOW}));
    assert_int_equal(recorded->dtype, DTYPE_I64);
    const int64_t *expected = recorded->data;
    for (const struct json *prompt = prompts->child; prompt != NULL; prompt = prompt->next) {
        struct token_windows windows;
        assert_int_equal(tokenizer_windows(t, prompt->string, LONG_PROMPT_TRUNCATE, &windows, NULL), OK);
        for (size_t i = 0; i < TOKEN_WINDOW; i++, expected++)
            if (windows.ids[i] != *expected)
                fail_msg("'%s': %s[%zu] is %d, not %d", prompt->string, name, i, windows.ids[i], (int)*expected);
        token_windows_free(&windows);
    }
    json_free(prompts);
    safetensors_close(&file);
}

static void pipeline_prompts_give_the_recorded_ids(void **state)
{
    (void)state;
    static const char *const files[] = {"io-batch2", "io-large"};
    struct tokenizer *first = opened(RECORDED "/tokenizer", NULL), *second = opened(RECORDED "/tokenizer_2", NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        snprintf(path, sizeof path, RECORDED "/%s.safetensors", files[i]);
        check_pipeline(path, first, "input_ids_1");
        check_pipeline(path, second, "input_ids_2");
    }
    tokenizer_close(first);
    tokenizer_close(second);
}

static void the_folder_says_which_token_pads(void **state)
{
    (void)state;
    struct tokenizer *first = opened(SMALL, NULL), *second = opened(SMALL_2, NULL), *given = opened(SMALL, "!");
    assert_int_equal(tokenizer_size(first), SMALL_SIZE);
    assert_int_equal(tokenizer_end(first), SMALL_END);
    assert_int_equal(tokenizer_pad(first), SMALL_END);
    assert_int_equal(tokenizer_pad(second), 0);
    assert_int_equal(tokenizer_pad(given), 0);
    CHECK_ENCODES(first, "cat!!", ID_CAT, 0, 256); /* "!" inside a word and at its end */
    CHECK_ENCODES(second, "cat!!", ID_CAT, 0, 0);
    CHECK_ENCODES(given, "cat!!", ID_CAT, 0, 0);
    tokenizer_close(first);
    tokenizer_close(second);
    tokenizer_close(given);
}

static void special_tokens_may_be_objects_or_missing(void **state)
{
    (void)state;
    put_small_vocabulary(NULL, NULL, NULL);
    struct tokenizer *t = opened(own_folder()->path, NULL);
    assert_int_equal(tokenizer_pad(t), SMALL_END);
    tokenizer_close(t);
    put_text("tokenizer_config.json", "{\"pad_token\": {\"content\": \"!\"}, \"eos_token\": null}");
    t = opened(own_folder()->path, NULL);
    assert_int_equal(tokenizer_pad(t), 0);
    assert_int_equal(tokenizer_end(t), SMALL_END);
    tokenizer_close(t);
    put_text("special_tokens_map.json", "{\"pad_token\": \"\\\"\"}"); /* goes first */
    t = opened(own_folder()->path, NULL);
    assert_int_equal(tokenizer_pad(t), 1);
    tokenizer_close(t);
    put_text("special_tokens_map.json", "{\"pad_token\": \"<pad>\"}");
    check_refused(own_folder()->path, NULL, own_folder()->path, "the pad token \"<pad>\" is not in the vocabulary");
    put_text("special_tokens_map.json", "{\"pad_token\": ");
    check_refused(own_folder()->path, NULL, "special_tokens_map.json:1:", "");
}

static void special_tokens_are_known_anywhere_in_the_text(void **state)
{
    (void)state;
    struct tokenizer *t = opened(SMALL, NULL);
    CHECK_ENCODES(t, "cat<|endoftext|>cat", ID_CAT, SMALL_END, ID_CAT);
    CHECK_ENCODES(t, "<<|endoftext|>", 283, SMALL_END); /* "<" ends a word */
    CHECK_ENCODES(t, "<|STARTOFTEXT|> a", SMALL_BEGIN, ID_A);
    CHECK_ENCODES(t, "<|start\u200Boftext|>", SMALL_BEGIN);
    tokenizer_close(t);
}

/* transformers' slow tokenizers cut added tokens out of the text before anything else, wherever they stand, the longest
 * first, and in this case of letters only. */
static void added_tokens_are_one_id(void **state)
{
    (void)state;
    put_small_vocabulary(NULL, NULL, NULL);
    put_text("added_tokens.json", "{\"<sks>\": 664, \"<sks> cat\": 665}");
    put_text("tokenizer_config.json", "{\"added_tokens_decoder\": {\"0\": {\"content\": \"!\"}, \"664\": {\"content\": "
                                      "\"<sks>\", \"lstrip\": false}, \"670\": {\"content\": \"A\\u00e9\"}}}");
    struct tokenizer *t = opened(own_folder()->path, NULL);
    assert_int_equal(tokenizer_size(t), 671);
    CHECK_ENCODES(t, "<sks>", 664);
    CHECK_ENCODES(t, "a<sks>cat <sks> a", ID_A, 664, ID_CAT, 664, ID_A);
    CHECK_ENCODES(t, "a <sks> cat", ID_A, 665);
    CHECK_ENCODES(t, "cat A\u00e9", ID_CAT, 670);
    CHECK_ENCODES(t, "cat!", ID_CAT, 0); /* listed there, it is cut out like any */
    int32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(t, "<SKS>", &ids, &count, NULL), OK);
    assert_true(count > 1);
    free(ids);
    tokenizer_close(t);
}

static void refuses_added_tokens_that_mean_something_else(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *reason;
    } rows[] = {
        {"added_tokens.json", "[]", "not an object"},
        {"added_tokens.json", "{\"x\": \"664\"}", "\"x\" has no id"},
        {"added_tokens.json", "{\"<x>\": 663}", "another token has that"},
        {"added_tokens.json", "{\"<x>\": 664, \"<y>\": 664}", "another token has that"},
        {"added_tokens.json", "{\"!\": 664}", "it has another already"},
        {"added_tokens.json", "{\"\": 664}", "1 to 255 bytes"},
        {"added_tokens.json", "{\"x\": -1}", "ids are below"},
        {"added_tokens.json", "{\"x\": 99999999999}", "ids are below"},
        {"added_tokens.json", "{\"x\": 664", "added_tokens.json:1:"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": 1}", "not an object"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}", "\"x\" is no id"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"664\": {}}}", "1 to 255 bytes"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\": {\"664\": {\"content\": \"x\", \"single_word\": true}}}", "single_word"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        put_small_vocabulary(NULL, NULL, NULL);
        put_text("added_tokens.json", "{}");
        put_text("tokenizer_config.json", "{}");
        put_text(rows[r].file, rows[r].text);
        check_refused(own_folder()->path, NULL, own_folder()->path, rows[r].reason);
    }
}

static void what_cannot_be_seen_is_dropped(void **state)
{
    (void)state;
    struct tokenizer *t = opened(SMALL, NULL);
    CHECK_ENCODES(t, "A \u3000C\u00ADa\u200Bt\x01\r\n", ID_A, ID_CAT);
    CHECK_ENCODES(t,
                  "c\xFF"
                  "a\xE2\x80"
                  "t \xF0\x9F",
                  ID_CAT); /* not UTF-8 */
    CHECK_ENCODES(t, "a\u2028cat", ID_A, ID_CAT);
    tokenizer_close(t);
}

static void a_prompt_is_cut_every_75_ids_or_truncated(void **state)
{
    (void)state;
    struct tokenizer *t = opened(SMALL_2, NULL);
    char text[4 * 160 + 1] = "";
    int32_t empty[TOKEN_WINDOW];
    tokenizer_empty_window(t, empty);
    for (size_t total = 0; total <= 160; total++) {
        struct token_windows windows, truncated;
        assert_int_equal(tokenizer_windows(t, text, LONG_PROMPT_WINDOWS, &windows, NULL), OK);
        assert_int_equal(tokenizer_windows(t, text, LONG_PROMPT_TRUNCATE, &truncated, NULL), OK);
        assert_int_equal(windows.count, total <= 75 ? 1 : total <= 150 ? 2 : 3);
        assert_int_equal(windows.total, total);
        assert_int_equal(windows.cut, 0);
        assert_int_equal(truncated.count, 1);
        assert_int_equal(truncated.total, total);
        assert_int_equal(truncated.cut, total <= 75 ? 0 : total - 75);
        assert_memory_equal(truncated.ids, windows.ids, TOKEN_WINDOW * sizeof(int32_t));
        if (total == 0)
            assert_memory_equal(windows.ids, empty, sizeof empty);
        for (size_t i = 0; i < windows.count * TOKEN_WINDOW; i++) {
            size_t place = i % TOKEN_WINDOW, first = i / TOKEN_WINDOW * 75;
            size_t used = total - first < 75 ? total - first : 75;
            int32_t expected = place == 0 ? SMALL_BEGIN : place <= used ? ID_CAT : place == used + 1 ? SMALL_END : 0;
            assert_int_equal(windows.ids[i], expected);
        }
        token_windows_free(&windows);
        token_windows_free(&truncated);
        if (total < 160)
            strcat(text, "cat ");
    }
    tokenizer_close(t);
}

static void refuses_an_endless_prompt(void **state)
{
    (void)state;
    struct tokenizer *t = opened(SMALL, NULL);
    char *text = malloc(TOKENIZER_MAX_PROMPT + 2);
    assert_non_null(text);
    memset(text, ' ', TOKENIZER_MAX_PROMPT + 1);
    text[TOKENIZER_MAX_PROMPT + 1] = '\0';
    int32_t *ids;
    size_t count;
    struct error e = {0};
    assert_int_equal(tokenizer_encode(t, text, &ids, &count, &e), ERR_ARGUMENT);
    assert_null(ids);
    assert_non_null(strstr(e.message, "1048577 bytes"));
    text[TOKENIZER_MAX_PROMPT] = '\0';
    assert_int_equal(tokenizer_encode(t, text, &ids, &count, NULL), OK);
    assert_int_equal(count, 0);
    free(text);
    tokenizer_close(t);
}

/* Merging */

static int32_t single_id(const struct tokenizer *t, const char *text)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(t, text, &ids, &count, NULL), OK);
    assert_int_equal(count, 1);
    int32_t id = ids[0];
    free(ids);
    return id;
}

/* Its merges are "i n" (rank 0) and, later, "i n</w>"; none has "in" and "in", so the answer is plain. A loop that
 * searches all pairs for each merge would take 5e9 steps. */
static void a_word_of_a_hundred_kilobytes_is_quick(void **state)
{
    (void)state;
    enum { PAIRS = 50000 };
    struct tokenizer *t = opened(SMALL, NULL);
    struct vocabulary v;
    assert_int_equal(vocabulary_open_folder(SMALL, &v, NULL), OK);
    char *text = malloc(2 * PAIRS + 1);
    assert_non_null(text);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 2 * i, "in", 3);
    int32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(t, text, &ids, &count, NULL), OK);
    assert_int_equal(count, PAIRS);
    for (size_t i = 0; i + 1 < PAIRS; i++)
        assert_int_equal(ids[i], vocabulary_find(&v, "in", 2));
    assert_int_equal(ids[PAIRS - 1], single_id(t, "in"));
    free(ids);
    free(text);
    vocabulary_close(&v);
    tokenizer_close(t);
}

/* A random vocabulary over "abc" whose merges are in no sensible order, as a stranger might write it. */
enum { LONGEST = 8, MERGES = 60, SYMBOLS = 6 + MERGES };

struct random_merges {
    char symbols[SYMBOLS][LONGEST + 8]; /* "ab", or "ab</w>" at the end of a word */
    size_t symbol_count;
    char left[MERGES][LONGEST + 8], right[MERGES][LONGEST + 8];
    size_t count;
};

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % below;
}

static bool has_symbol(const struct random_merges *m, const char *symbol)
{
    for (size_t i = 0; i < m->symbol_count; i++)
        if (strcmp(m->symbols[i], symbol) == 0)
            return true;
    return false;
}

/* The slow loop, in the words of the definition: least rank first, all occurrences, left to right. */
static size_t merge_slowly(const struct random_merges *m, char word[][LONGEST + 8], size_t length)
{
    for (;;) {
        size_t rank = m->count;
        for (size_t i = 0; i + 1 < length; i++)
            for (size_t r = 0; r < rank; r++)
                if (strcmp(m->left[r], word[i]) == 0 && strcmp(m->right[r], word[i + 1]) == 0)
                    rank = r;
        if (rank == m->count)
            return length;
        size_t kept = 0;
        for (size_t i = 0; i < length; i++, kept++) {
            bool merge =
                i + 1 < length && strcmp(m->left[rank], word[i]) == 0 && strcmp(m->right[rank], word[i + 1]) == 0;
            if (kept != i)
                strcpy(word[kept], word[i]);
            if (merge)
                strcat(word[kept], word[++i]);
        }
        length = kept;
    }
}

static struct random_merges draw_merges(uint32_t *seed)
{
    struct random_merges m = {.symbols = {"a", "b", "c", "a</w>", "b</w>", "c</w>"}, .symbol_count = 6};
    while (m.count < MERGES) {
        const char *left = m.symbols[draw(seed, (uint32_t)m.symbol_count)];
        const char *right = m.symbols[draw(seed, (uint32_t)m.symbol_count)];
        char joined[2 * LONGEST + 16];
        snprintf(joined, sizeof joined, "%s%s", left, right);
        bool known = false;
        for (size_t r = 0; r < m.count; r++)
            known = known || (strcmp(m.left[r], left) == 0 && strcmp(m.right[r], right) == 0);
        if (known || strchr(left, '<') != NULL || strcspn(joined, "<") > LONGEST)
            continue;
        size_t rank = draw(seed, (uint32_t)m.count + 1); /* the one that was there goes last */
        memmove(m.left[m.count], m.left[rank], sizeof m.left[0]);
        memmove(m.right[m.count], m.right[rank], sizeof m.right[0]);
        strcpy(m.left[rank], left);
        strcpy(m.right[rank], right);
        m.count++;
        if (!has_symbol(&m, joined)) /* two merges may make the same token */
            strcpy(m.symbols[m.symbol_count++], joined);
    }
    return m;
}

/* vocab.json: the small vocabulary's 512 tokens of single bytes, the symbols that merges make, begin and end. */
static void put_merges(const struct random_merges *m)
{
    const struct json *small;
    struct text vocab = {0}, merges = {0};
    assert_int_equal(json_read(SMALL "/vocab.json", &small, NULL), OK);
    text_append(&vocab, "{\"<|startoftext|>\": %zu, \"<|endoftext|>\": %zu", 506 + m->symbol_count,
                507 + m->symbol_count);
    for (const struct json *token = small->child; token != NULL; token = token->next)
        if (token->integer < 512) {
            text_append(&vocab, ", ");
            text_append_json_string(&vocab, token->key);
            text_append(&vocab, ": %d", (int)token->integer);
        }
    for (size_t i = 6; i < m->symbol_count; i++)
        text_append(&vocab, ", \"%s\": %zu", m->symbols[i], 506 + i);
    text_append(&vocab, "}");
    text_append(&merges, "#version: 0.2\n");
    for (size_t r = 0; r < m->count; r++)
        text_append(&merges, "%s %s\n", m->left[r], m->right[r]);
    put_text("vocab.json", vocab.data);
    put_text("merges.txt", merges.data);
    text_free(&vocab);
    text_free(&merges);
    json_free(small);
}

static void merges_as_the_slow_loop_whatever_the_order_of_ranks(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 30; round++) {
        struct random_merges m = draw_merges(&seed);
        struct vocabulary v;
        struct error e = {0};
        put_merges(&m);
        if (vocabulary_open_folder(own_folder()->path, &v, &e) != OK)
            fail_msg("%s", e.message);
        for (int n = 0; n < 60; n++) {
            enum { MOST = 60 };
            char word[MOST + 1], slow[MOST][LONGEST + 8];
            size_t length = 1 + draw(&seed, MOST);
            for (size_t i = 0; i < length; i++) {
                word[i] = (char)('a' + draw(&seed, 3));
                snprintf(slow[i], sizeof slow[i], "%c%s", word[i], i + 1 == length ? "</w>" : "");
            }
            word[length] = '\0';
            size_t slow_length = merge_slowly(&m, slow, length);
            int32_t expected[MOST];
            for (size_t i = 0; i < slow_length; i++)
                expected[i] = vocabulary_find(&v, slow[i], strlen(slow[i]));
            struct token_ids ids = {0};
            assert_int_equal(bpe_encode(&v, word, length, &ids, NULL), OK);
            check_ids(word, expected, slow_length, ids.data, ids.count);
            token_ids_free(&ids);
        }
        vocabulary_close(&v);
    }
}

/* Files from strangers */

static void refuses_a_broken_vocab_json(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *reason;
    } rows[] = {
        {"\"!\": 0,", "\"!\": 1,", "has id 1, as another token before it"},
        {"\"!\": 0,", "\"!\": \"0\",", "token \"!\" has no integer id"},
        {"\"!\": 0,", "\"!\": 0.5,", "token \"!\" has no integer id"},
        {"\"!\": 0,", "\"!\": 664,", "token \"!\" has id 664, but 664 tokens must have the ids 0 to 663"},
        {"\"!\": 0,", "\"!\": -1,", "token \"!\" has id -1"},
        {"\"!\": 0,", "\"!\": 4294967296,", "token \"!\" has id 4294967296"},
        {"\"!\": 0,", "", "but 663 tokens must have the ids 0 to 662"},
        {"\"!\": 0,", "\"?\\n!\": 0,", "byte 0x21 has no token"},
        {"\"!\": 0,", "\"\": 0,", "has 0 bytes"},
        {"\"!\": 0,", "\"!\" 0,", "vocab.json:1:6"},
        {"{\"!\": 0,", "[{\"!\": 0,", "vocab.json:1:"},
        {"\"<|startoftext|>\"", "\"<|start|>\"", "the begin token \"<|startoftext|>\" is not in the vocabulary"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        put_small_vocabulary("vocab.json", rows[r].old, rows[r].new);
        check_refused(own_folder()->path, NULL, own_folder()->path, rows[r].reason);
    }
    put_text("vocab.json", "[\"!\", \"a\"]");
    check_refused(own_folder()->path, NULL, "vocab.json", "expected an object");
    put_text("vocab.json", "{}");
    check_refused(own_folder()->path, NULL, "vocab.json", "expected an object");
}

static void refuses_broken_merges_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *where, *reason;
    } rows[] = {
        {"#version: 0.2\n", "", "merges.txt:1: ", "instead of a line with \"#version\""},
        {"\ni n\n", "\ni n n\n", "merges.txt:2: ", "\"i n n\" is not a merge"},
        {"\ni n\n", "\nin\n", "merges.txt:2: ", "\"in\" is not a merge"},
        {"\ni n\n", "\n n\n", "merges.txt:2: ", "is not a merge"},
        {"\ni n\n", "\ni \n", "merges.txt:2: ", "is not a merge"},
        {"\ni n\n", "\n\ni n\n", "merges.txt:2: ", "is not a merge"},
        {"\nt h\n", "\nt th\n", "merges.txt:4: ", "makes \"tth\", which vocab.json does not have"},
        {"\nt h\n", "\nt hhh\n", "merges.txt:4: ", "there is no token \"hhh\""},
        {"\nt h\n", "\nttt h\n", "merges.txt:4: ", "there is no token \"ttt\""},
        {"\nt h\n", "\ni n\n", "merges.txt:4: ", "\"i n\" was merged before"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        put_small_vocabulary("merges.txt", rows[r].old, rows[r].new);
        check_refused(own_folder()->path, NULL, rows[r].where, rows[r].reason);
    }
    put_text("merges.txt", "");
    check_refused(own_folder()->path, NULL, "merges.txt", "no merges in it");
    assert_int_equal(unlink(in_folder("merges.txt")), 0);
    check_refused(own_folder()->path, NULL, "merges.txt", "No such file");
}

static void reads_merges_with_windows_line_ends(void **state)
{
    (void)state;
    put_small_vocabulary("merges.txt", "#version: 0.2\ni n\n", "#version: 0.2\r\ni n\r\n");
    struct tokenizer *t = opened(own_folder()->path, NULL);
    CHECK_ENCODES(t, "a cat", ID_A, ID_CAT);
    tokenizer_close(t);
}

static const char tiny_merges[] = "vocabulary#version: 0.2\nc a\nca t</w>\n";
enum { TINY_CA = 512, TINY_CAT, TINY_BEGIN, TINY_END, AMPERSAND = 256 + '&' - '!' };

static void a_gzip_file_numbers_its_merges(void **state)
{
    (void)state;
    put_gzip("tiny.gz", tiny_merges, strlen(tiny_merges));
    struct tokenizer *t = opened(in_folder("tiny.gz"), NULL);
    assert_int_equal(tokenizer_size(t), 516);
    assert_int_equal(tokenizer_end(t), TINY_END);
    assert_int_equal(tokenizer_pad(t), TINY_END);
    CHECK_ENCODES(t, "Cat &amp;amp; CAT", TINY_CAT, AMPERSAND, TINY_CAT);
    CHECK_ENCODES(t, "cat&#99;at", TINY_CA, 't' - '!', TINY_CAT);             /* one word: "catcat" */
    CHECK_ENCODES(t, "<<|endoftext|>", '<' - '!', '<' - '!', 256 + '|' - '!', /* the pattern takes "<<|" first */
                  'e' - '!', 'n' - '!', 'd' - '!', 'o' - '!', 'f' - '!', 't' - '!', 'e' - '!', 'x' - '!',
                  256 + 't' - '!', '|' - '!', 256 + '>' - '!');
    tokenizer_close(t);
    t = opened(in_folder("tiny.gz"), "!");
    assert_int_equal(tokenizer_pad(t), 0);
    CHECK_ENCODES(t, "cat!", TINY_CAT, 0);
    tokenizer_close(t);
}

static void refuses_a_broken_gzip_file(void **state)
{
    (void)state;
    size_t size;
    put_gzip("broken.gz", tiny_merges, strlen(tiny_merges));
    const char *path = in_folder("broken.gz");
    char *bytes = content_of(path, &size);
    for (size_t length = 2; length < size; length++) {
        put("broken.gz", bytes, length);
        check_refused(path, NULL, "broken.gz: ", "the file is cut short");
    }
    put("broken.gz", bytes, 1);
    check_refused(path, NULL, "broken.gz: ", "nor a gzip file");
    put("broken.gz", "", 0);
    check_refused(path, NULL, "broken.gz: ", "nor a gzip file");
    bytes[size - 5] ^= 1; /* in the check sum */
    put("broken.gz", bytes, size);
    check_refused(path, NULL, "broken.gz: ", "damaged gzip data (incorrect data check)");
    bytes[size - 5] ^= 1;
    char *longer = calloc(1, size + 3);
    assert_non_null(longer);
    memcpy(longer, bytes, size);
    put("broken.gz", longer, size + 3);
    check_refused(path, NULL, "broken.gz: ", "3 bytes after the end");
    free(longer);
    free(bytes);
    check_refused(in_folder("absent.gz"), NULL, "absent.gz: ", "No such file");
}

static void refuses_a_gzip_file_that_grows_without_end(void **state)
{
    (void)state;
    size_t size = (16 << 20) + 1;
    char *zeros = calloc(1, size);
    assert_non_null(zeros);
    put_gzip("bomb.gz", zeros, size);
    free(zeros);
    check_refused(in_folder("bomb.gz"), NULL, "bomb.gz: ", "decompresses to more than 16 MiB");
}

static void refuses_broken_merges_in_a_gzip_file(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where, *reason;
    } rows[] = {
        {"c a\nca t</w>\n", "m.gz:1: ", "\"#version\""},
        {"#version\nc a\nca\n", "m.gz:3: ", "\"ca\" is not a merge"},
        {"#version\nca t\n", "m.gz:2: ", "there is no token \"ca\""},
        {"#version\nc a\na t\nca t\nc at\n", "m.gz:5: ", "the token \"cat\" was made before"},
        {"#version\nc a\nc a\n", "m.gz:3: ", "\"c a\" was merged before"},
        {"\n", "m.gz: ", "no merges in it"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        put_gzip("m.gz", rows[r].text, strlen(rows[r].text));
        check_refused(in_folder("m.gz"), NULL, rows[r].where, rows[r].reason);
    }
    put_gzip("m.gz", tiny_merges, strlen(tiny_merges));
    check_refused(in_folder("m.gz"), "<pad>", "m.gz: ", "the pad token \"<pad>\" is not in the vocabulary");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_tokenizer_gives_the_recorded_ids),
        cmocka_unit_test(second_tokenizer_gives_the_recorded_ids),
        cmocka_unit_test(openai_vocabulary_gives_the_recorded_ids),
        cmocka_unit_test(windows_of_both_tokenizers_are_the_recorded_ones),
        cmocka_unit_test(published_vocabularies_have_clips_ids),
        cmocka_unit_test(pipeline_prompts_give_the_recorded_ids),
        cmocka_unit_test(the_folder_says_which_token_pads),
        TEST(special_tokens_may_be_objects_or_missing),
        cmocka_unit_test(special_tokens_are_known_anywhere_in_the_text),
        TEST(added_tokens_are_one_id),
        TEST(refuses_added_tokens_that_mean_something_else),
        cmocka_unit_test(what_cannot_be_seen_is_dropped),
        cmocka_unit_test(a_prompt_is_cut_every_75_ids_or_truncated),
        cmocka_unit_test(refuses_an_endless_prompt),
        cmocka_unit_test(a_word_of_a_hundred_kilobytes_is_quick),
        TEST(merges_as_the_slow_loop_whatever_the_order_of_ranks),
        TEST(refuses_a_broken_vocab_json),
        TEST(refuses_broken_merges_with_their_line),
        TEST(reads_merges_with_windows_line_ends),
        TEST(a_gzip_file_numbers_its_merges),
        TEST(refuses_a_broken_gzip_file),
        TEST(refuses_a_gzip_file_that_grows_without_end),
        TEST(refuses_broken_merges_in_a_gzip_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
