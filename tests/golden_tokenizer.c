/* The tokenizer: recorded ids of the reference implementations, with CLIP's own vocabulary.
 *
 * tokenizer/NAME.json is {"cases": [{"class": "ascii", "text": "..", "ids": [..], ..}, ..]}. Every text goes through
 * every tokenizer; a case says a tokenizer's ids only where they differ from "ids". "ids77_1" and "ids77_2", the
 * padded windows of the two encoders, are recorded for some texts only. "ids_fast" is another implementation's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/tokenizer.h"
#include "tests/golden.h"

static const struct kind {
    const char *key;
    const char *file; /* of the vocabulary, opened by itself; "": the folder */
    const char *pad;
    bool window;
} kinds[] = {
    {"ids", "", NULL, false},
    {"ids_tokenizer_2", "", "!", false},
    {"ids_openai", "bpe_simple_vocab_16e6.txt.gz", NULL, false},
    {"ids77_1", "", NULL, true},
    {"ids77_2", "", "!", true},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/* What a text must give; NULL: that is not recorded. */
static const struct json *expected_ids(const struct json *text_case, const struct kind *kind)
{
    const struct json *ids = json_get(text_case, kind->key);
    return ids != NULL || kind->window ? ids : json_get(text_case, "ids");
}

/* The ids as the recording has them. The caller frees *ids. */
static status encode(const struct tokenizer *t, const struct kind *kind, const char *text, int32_t **ids,
                     size_t *count, struct error *e)
{
    struct token_windows windows;
    if (!kind->window)
        return tokenizer_encode(t, text, ids, count, e);
    TRY(tokenizer_windows(t, text, LONG_PROMPT_TRUNCATE, &windows, e));
    *ids = windows.ids;
    *count = windows.count * TOKEN_WINDOW;
    return OK;
}

/* The first id that differs; the count of both if none does. */
static size_t agreeing(const int32_t *ids, size_t count, const struct json *expected)
{
    size_t i = 0;
    for (const struct json *id = expected->child; id != NULL && i < count; id = id->next, i++)
        if (json_int(id, -1) != ids[i])
            break;
    return i;
}

/* A line only if the text gives other ids. */
static bool check_text(struct golden *g, const char *where, const struct tokenizer *t, const struct kind *kind,
                       const struct json *text_case, const struct json *expected)
{
    const char *text = json_string(json_get(text_case, "text"), "");
    int32_t *ids = NULL;
    size_t count = 0;
    struct error e = {0};
    status s = encode(t, kind, text, &ids, &count, &e);
    size_t same = s == OK ? agreeing(ids, count, expected) : 0;
    bool ok = s == OK && same == count && same == expected->count;
    if (!ok) {
        struct text detail = {0};
        text_append_json_string(&detail, text);
        if (s != OK)
            text_append(&detail, ": %s", e.message);
        else
            text_append(&detail, ": %zu ids, recorded %zu; the first %zu agree", count, expected->count, same);
        golden_check(g, where, kind->key, false, detail.failed ? "not enough memory" : detail.data);
        text_free(&detail);
    }
    free(ids);
    return ok;
}

static const char *class_of(const struct json *text_case)
{
    return json_string(json_get(text_case, "class"), "no class");
}

static void check_class(struct golden *g, const char *path, const struct tokenizer *t, const struct kind *kind,
                        const struct json *cases, const char *class)
{
    int texts = 0, passed = 0;
    for (const struct json *c = cases->child; c != NULL; c = c->next) {
        const struct json *expected = expected_ids(c, kind);
        if (expected == NULL || strcmp(class_of(c), class) != 0)
            continue;
        texts++;
        passed += check_text(g, path, t, kind, c, expected);
    }
    char name[128], detail[64];
    snprintf(name, sizeof name, "%s, %s", kind->key, class);
    snprintf(detail, sizeof detail, "%d of %d texts exact", passed, texts);
    if (passed > 0)
        golden_passed(g, path, name, passed, detail);
}

static void check_kind(struct golden *g, const char *path, const struct kind *kind, const struct json *cases)
{
    char vocabulary[4096], needed[4096];
    struct tokenizer *t;
    struct error e = {0};
    struct tokenizer_options options = {.pad_token = kind->pad};
    const char *file = kind->file[0] != '\0' ? kind->file : "vocab.json";
    if (path_join(vocabulary, sizeof vocabulary, g->clip, kind->file, &e) != OK ||
        path_join(needed, sizeof needed, g->clip, file, &e) != OK) {
        golden_error(g, path, &e);
        return;
    }
    if (!file_exists(needed)) {
        char why[8192];
        snprintf(why, sizeof why, "%s: no %s (set CLIP to the folder of CLIP's vocabulary)", kind->key, needed);
        golden_skip(g, path, why);
        return;
    }
    if (tokenizer_open(vocabulary, &options, &t, &e) != OK) {
        golden_error(g, path, &e);
        return;
    }
    for (const struct json *c = cases->child; c != NULL; c = c->next) {
        const struct json *first = cases->child;
        while (strcmp(class_of(first), class_of(c)) != 0)
            first = first->next;
        if (first == c)
            check_class(g, path, t, kind, cases, class_of(c));
    }
    tokenizer_close(t);
}

/* A member that nobody compares, or the lack of one that is needed, must not pass for agreement. */
static void check_members(struct golden *g, const char *path, const struct json *cases)
{
    static const char *const others[] = {"class", "text", "ids_fast"};
    for (const struct json *c = cases->child; c != NULL; c = c->next) {
        if (json_string(json_get(c, "text"), NULL) == NULL || json_get(c, "ids") == NULL)
            golden_check(g, path, "cases", false, "a case without its text or its ids");
        for (const struct json *member = c->child; member != NULL && c->kind == JSON_OBJECT; member = member->next) {
            bool known = false;
            for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                known = known || strcmp(member->key, others[i]) == 0;
            for (size_t i = 0; i < KINDS; i++)
                known = known || strcmp(member->key, kinds[i].key) == 0;
            if (!known)
                golden_check(g, path, member->key, false, "no ids of this name are known");
        }
    }
}

static void cases_file(struct golden *g, const char *folder, const char *path)
{
    const struct json *root;
    struct error e = {0};
    (void)folder;
    if (json_read(path, &root, &e) != OK) {
        golden_error(g, path, &e);
        return;
    }
    const struct json *cases = json_get(root, "cases");
    if (json_at(cases, 0) == NULL) {
        golden_check(g, path, "cases", false, "there are none");
    } else {
        check_members(g, path, cases);
        for (size_t i = 0; i < KINDS; i++)
            check_kind(g, path, &kinds[i], cases);
    }
    json_free(root);
}

void golden_tokenizer(struct golden *g, const char *folder)
{
    golden_files(g, folder, "", ".json", cases_file);
}
