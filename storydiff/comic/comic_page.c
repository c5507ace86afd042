#include "storydiff/comic/comic_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/page/shaping.h"
#include "tensor/utf8.h"

static void __attribute__((format(printf, 2, 3))) note(struct comic *c, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text_append(&c->notices, "%s%s", c->notices.length ? "\n" : "", line);
}

/* Scripts that have been noted: each is noted once. */
struct noted {
    const char *name[64];
    int count;
};

static bool is_new(struct noted *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->name[i], name) == 0)
            return false;
    if (n->count < (int)(sizeof n->name / sizeof *n->name))
        n->name[n->count++] = name;
    return true;
}

/* where: "the caption of panel 3" */
static void note_scripts(struct comic *c, const char *text, const char *where, struct noted *missing,
                         struct noted *unshaped)
{
    while (*text != '\0') {
        const uint32_t code = utf8_next(&text);
        const struct font_hint *hint = font_hint(code);
        const char *script = shaping_missing(c->font, code);
        if (font_is_invisible(code))
            continue;
        if (font_glyph(c->font, code) == 0) {
            if (is_new(missing, hint->script))
                note(c, "no font has %s (first U+%04X, in %s): install %s, or give `font` FILE such as %s",
                     hint->script, (unsigned)code, where, hint->package, hint->file);
        } else if (script != NULL && is_new(unshaped, script)) {
            note(c, "%s (first in %s) is drawn letter by letter: joining and reordering them is not done", script,
                 where);
        }
    }
}

static bool is_blank(const char *text)
{
    return text == NULL || text[strspn(text, " \t")] == '\0';
}

status comic_open_font(struct comic *c, struct error *e)
{
    const struct settings *o = &c->settings;
    const int panels = c->story.panel_count;
    struct noted missing = {0}, unshaped = {0};
    if (o->comic_type == PAGE_NONE) {
        if (!is_blank(o->title))
            note(c, "`title` has no effect: with `comic_type` none there are no pages");
        if (o->font_count > 0)
            note(c, "`font` has no effect: with `comic_type` none there are no pages");
        return OK;
    }
    c->captions = calloc((size_t)panels + 1, sizeof *c->captions);
    if (c->captions == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the captions");
    for (int i = 0; i < panels; i++)
        c->captions[i] = c->story.panels[i].caption;
    c->captions[panels] = o->title != NULL ? o->title : ""; /* one more text to find fonts for */
    TRY(font_open(o->font_count > 0 ? o->fonts[0] : NULL, &c->font, e));
    for (int i = 1; i < o->font_count; i++)
        TRY(font_add(c->font, o->fonts[i], e));
    TRY(font_add_installed(c->font, c->captions, panels + 1, e));
    note_scripts(c, c->captions[panels], "the title", &missing, &unshaped);
    for (int i = 0; i < panels; i++) {
        char where[64];
        snprintf(where, sizeof where, "the caption of panel %d", i + 1);
        note_scripts(c, c->captions[i], where, &missing, &unshaped);
    }
    return OK;
}

struct page_story comic_page_story(const struct comic *c)
{
    return (struct page_story){
        .kind = c->settings.comic_type,
        .count = c->story.panel_count,
        .width = (int)c->settings.width,
        .height = (int)c->settings.height,
        .captions = c->captions,
        .font = c->font,
        .title = is_blank(c->settings.title) ? NULL : c->settings.title,
    };
}

/* whose: "panel 3: the caption" */
static void note_lettering(struct comic *c, const char *whose, const struct lettering *l)
{
    if (l->cut)
        note(c, "%s is too long for the page, its end is cut", whose);
    if (l->harsh > 0)
        note(c, "%s has a word that is wider than its box: it is broken without a hyphen", whose);
}

status comic_lay_out(struct comic *c, struct error *e)
{
    if (c->settings.comic_type == PAGE_NONE)
        return OK;
    struct page_story story = comic_page_story(c);
    if (page_layout(&story, &c->pages, e) != OK)
        return fail_context(e, "`comic_type` %s (none draws panels only)", page_kind_names[c->settings.comic_type]);
    note_lettering(c, "the title", &c->pages.title);
    for (int i = 0; i < c->story.panel_count; i++) {
        char whose[64];
        snprintf(whose, sizeof whose, "panel %d: the caption", i + 1);
        note_lettering(c, whose, &c->pages.panels[i].lettering);
    }
    return OK;
}
