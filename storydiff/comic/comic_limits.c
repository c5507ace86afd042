#include "storydiff/comic/comic_limits.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sdxl/text/unicode.h"
#include "tensor/utf8.h"

enum { NAMED = 12 }; /* words, or panels, that a line names */

/* Words that hold a sentence together: every caption has them, and none is a thing that could be drawn. */
static const char function_words[] =
    " a an the this that these those some any every each all both "
    "and or but nor so as than then if when while because where who whom whose which what how "
    "of in on at by to for from with without into onto over under up down off out near beside besides behind between "
    "among amongst above below beneath across through along around about against towards toward upon within inside "
    "outside before after during until past beyond next front "
    "i me my mine you your yours he him his she her hers it its we us our ours they them their theirs "
    "himself herself itself themselves "
    "is are am was were be been being do does did done has have had will would can could may might must shall should "
    "not too very also just only don doesn didn isn aren wasn weren won couldn wouldn shouldn ";

struct list {
    struct text text;
    int count;
};

static void list_name(struct list *l, const char *format, const char *name, int length)
{
    if (l->count++ >= NAMED)
        return;
    text_append(&l->text, "%s", l->text.length > 0 ? ", " : "");
    text_append(&l->text, format, length, name);
}

/* "3, 5" or "3, 5, .. (40 in all)" */
static const char *list_end(struct list *l)
{
    if (l->count > NAMED)
        text_append(&l->text, ", .. (%d in all)", l->count);
    return l->text.data != NULL ? l->text.data : "";
}

static void note(struct text *notes, const struct comic *c, const char *format, const char *what)
{
    text_append(notes, "%smodel %s ", notes->length > 0 ? "\n" : "", c->model_name);
    text_append(notes, format, what);
}

/* ---------------------------------------------------------------------------------------------------------- words */

/* The next word of a text: its letters, and in *whole its length with what follows an apostrophe ("girl's"). NULL:
 * there is none. */
static const char *next_word(const char *text, size_t *length, size_t *whole)
{
    const char *word = NULL;
    bool apart = false;
    *length = *whole = 0;
    while (*text != '\0') {
        const char *at = text;
        uint32_t c = utf8_next(&text);
        if (unicode_flags(c) & UNICODE_LETTER) {
            word = word != NULL ? word : at;
            *whole = (size_t)(text - word);
            *length = apart ? *length : *whole;
        } else if (word != NULL && c != '\'' && c != 0x2019) {
            return word;
        } else {
            apart = word != NULL;
        }
    }
    return word;
}

/* Whether `list`, in which blanks surround each word, has this one in whichever case. */
static bool is_among(const char *list, const char *word, size_t length)
{
    for (const char *p = strchr(list, ' '); p != NULL && p[1] != '\0'; p = strchr(p + 1, ' '))
        if (strncasecmp(p + 1, word, length) == 0 && p[1 + length] == ' ')
            return true;
    return false;
}

/* BREAK ends a part of a prompt (prompt_weights.h), and one letter is no word. */
static bool is_meant(const struct comic *c, const char *word, size_t length)
{
    bool is_break = c->settings.prompt_weights != WEIGHTS_OFF && length == 5 && strncmp(word, "BREAK", 5) == 0;
    return length > 1 && !is_break && !is_among(function_words, word, length);
}

static void note_words(const struct comic *c, struct text *notes)
{
    struct list unknown = {0};
    struct text seen = {0};
    text_append(&seen, " ");
    for (int i = 0; i < c->story.panel_count; i++) {
        size_t length, whole;
        const char *word = next_word(c->story.panels[i].prompt, &length, &whole);
        for (; word != NULL; word = next_word(word + whole, &length, &whole)) {
            if (!is_meant(c, word, length) || model_hints_know(&c->model->hints, word, length) ||
                is_among(seen.data, word, length))
                continue;
            list_name(&unknown, "\"%.*s\"", word, (int)whole);
            text_append_bytes(&seen, word, length);
            text_append(&seen, " ");
        }
    }
    if (unknown.count > 0)
        note(notes, c, "was not trained on these words, and draws something else for them: %s (model_index.json in its "
                       "folder lists those that it knows)", list_end(&unknown));
    text_free(&unknown.text);
    text_free(&seen);
}

/* --------------------------------------------------------------------------------------------------------- panels */

static bool is_empty(const struct comic *c, int panel)
{
    return c->model->hints.somebody && c->story.panels[panel].nobody;
}

static bool is_crowded(const struct comic *c, int panel)
{
    return c->model->hints.figures > 0 && c->story.panels[panel].character_count > c->model->hints.figures;
}

static void note_panels(const struct comic *c, bool (*exceeds)(const struct comic *c, int panel), const char *what,
                        struct text *notes)
{
    struct list panels = {0};
    for (int i = 0; i < c->story.panel_count; i++) {
        char number[16];
        int length = snprintf(number, sizeof number, "%d", i + 1);
        if (exceeds(c, i))
            list_name(&panels, "%.*s", number, length);
    }
    if (panels.count > 0)
        note(notes, c, what, list_end(&panels));
    text_free(&panels.text);
}

static void note_size(const struct comic *c, struct text *notes)
{
    const struct settings *o = &c->settings;
    int pixels = c->model->hints.pixels;
    char size[96];
    if (pixels == 0 || (o->width == pixels && o->height == pixels))
        return;
    snprintf(size, sizeof size, "%d x %d px, not for %lld x %lld", pixels, pixels, (long long)o->width,
             (long long)o->height);
    note(notes, c, "was made for panels of %s: they will be worse", size);
}

void comic_note_limits(const struct comic *c, struct text *notes)
{
    note_words(c, notes);
    note_panels(c, is_empty, "was never shown a place without anybody, and puts somebody there: panel %s", notes);
    note_panels(c, is_crowded, "was trained on fewer figures than these name, and mixes them: panel %s", notes);
    note_size(c, notes);
}
