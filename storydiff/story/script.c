/* Parsing a story script, line by line.
 *
 *   file    = { setting | character } "---" { panel }      blank lines and // comments anywhere
 *   character = "[" key "]" text [ "#" remark ]             the last # of the line
 *   panel   = { "[" key "]" | text } [ "#" caption ]        the same
 *
 * A line is copied, checked to be clean text once, and then read with plain string functions: every position in it
 * can be turned into a column. Stories are small, so their tables are allocated once, at their limits. */
#include "storydiff/story/script.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "storydiff/story/suggest.h"
#include "tensor/utf8.h"
#include "tensor/file.h"
#include "tensor/text.h"

static const char no_character_key[] = "NC";
static const char separator[] = "---";
static const char blanks[] = " \t";

const char *const story_default_panels[] = {
    "standing in the bedroom #Five more minutes. Well, four.",
    "having breakfast in the kitchen #Toast first. Plans later.",
    "waving on the street #Good morning, everybody!",
    "running in the park #Once around the pond, for the ducks.",
    "jumping on the beach #The sea was here first. It does not mind.",
    "reading a book at home #One more chapter never hurt anyone.",
    NULL,
};

/* ---------------------------------------------------------------------------------------------------------- lines */

/* One line that is being read: where it is from, and its text, terminated. */
struct line {
    const char *name;
    int number;
    const char *text;
};

/* A text that is read line by line. */
struct reader {
    const char *at, *end;
    struct line line;
    char buffer[STORY_MAX_LINE + 1];
};

static bool is_blank(const char *text)
{
    return text[strspn(text, blanks)] == '\0';
}

/* Where a stretch ends without the blanks at its end. */
static const char *trimmed_end(const char *begin, const char *end)
{
    while (end > begin && strchr(blanks, end[-1]) != NULL)
        end--;
    return end;
}

static int column_of(const struct line *line, const char *at)
{
    int column = 1;
    for (const char *p = line->text; p < at; column++)
        utf8_next(&p);
    return column;
}

__attribute__((format(printf, 4, 5))) static status fail_at(const struct line *line, const char *at, struct error *e,
                                                            const char *format, ...)
{
    char what[sizeof e->message];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail(e, ERR_FORMAT, "%s:%d:%d: %s", line->name, line->number, column_of(line, at), what);
}

static status fail_memory(const struct line *line, struct error *e)
{
    return fail(e, ERR_MEMORY, "%s:%d: not enough memory for the story", line->name, line->number);
}

/* Control characters are refused because prompts and captions end up on terminals and in the metadata of images. */
static status check_characters(const struct line *line, struct error *e)
{
    struct utf8 c;
    for (const char *p = line->text; *p != '\0'; p += c.length) {
        c = utf8_read(p, strnlen(p, 4));
        if (!c.valid)
            return fail_at(line, p, e, "not UTF-8 (byte 0x%02X): save the text as UTF-8", (unsigned char)*p);
        if ((c.code < 0x20 && c.code != '\t') || (c.code >= 0x7F && c.code < 0xA0))
            return fail_at(line, p, e, "control character U+%04X: remove it", (unsigned)c.code);
    }
    return OK;
}

/* Copies a line into the reader's buffer and checks it. */
static status take_line(struct reader *r, const char *text, size_t length, struct error *e)
{
    size_t kept = length <= STORY_MAX_LINE ? length : STORY_MAX_LINE;
    for (int i = 0; i < 3 && kept > 0 && kept < length && ((unsigned char)text[kept] & 0xC0) == 0x80; i++)
        kept--; /* not within a character */
    r->line.number++;
    r->line.text = r->buffer;
    if (kept > 0)
        memcpy(r->buffer, text, kept);
    r->buffer[kept] = '\0';
    TRY(check_characters(&r->line, e));
    size_t seen = strlen(r->buffer);
    if (seen < kept)
        return fail_at(&r->line, r->buffer + seen, e, "a zero byte: this is not a text");
    if (length > kept)
        return fail_at(&r->line, r->buffer + kept, e, "the line is too long: %d bytes are allowed", STORY_MAX_LINE);
    return OK;
}

/* *more is false, and the line unchanged, after the last one. */
static status next_line(struct reader *r, bool *more, struct error *e)
{
    *more = r->at < r->end;
    if (!*more)
        return OK;
    const char *begin = r->at;
    const char *newline = memchr(begin, '\n', (size_t)(r->end - begin));
    const char *end = newline != NULL ? newline : r->end;
    r->at = newline != NULL ? newline + 1 : r->end;
    if (end > begin && end[-1] == '\r')
        end--;
    return take_line(r, begin, (size_t)(end - begin), e);
}

/* ------------------------------------------------------------------------------------------- settings, characters */

/* key: value */
static status add_setting(struct story *story, const struct line *line, struct error *e)
{
    const char *key = line->text + strspn(line->text, blanks);
    size_t length = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    const char *colon = key + length + strspn(key + length, blanks);
    if (length == 0 || *colon != ':')
        return fail_at(line, key, e, "above the line %s belong only '[Name] description' and 'setting: value'",
                       separator);
    if (story->setting_count == STORY_MAX_SETTINGS)
        return fail_at(line, key, e, "more than %d settings", STORY_MAX_SETTINGS);

    const char *value = colon + 1 + strspn(colon + 1, blanks);
    const char *end = trimmed_end(value, value + strlen(value));
    struct story_setting *s = &story->settings[story->setting_count++];
    *s = (struct story_setting){
        .key = strndup(key, length),
        .value = strndup(value, (size_t)(end - value)),
        .line = line->number,
        .key_column = column_of(line, key),
        .value_column = column_of(line, value),
    };
    if (s->key == NULL || s->value == NULL)
        return fail_memory(line, e);
    for (char *c = s->key; *c != '\0'; c++)
        *c = *c == '-' ? '_' : *c;
    return OK;
}

/* A name in brackets; `at` is at its opening one and moves behind the closing one, which is before `end`. */
static status read_key(const struct line *line, const char **at, const char *end, char key[STORY_MAX_KEY + 1],
                       struct error *e)
{
    const char *begin = *at + 1;
    size_t length = strcspn(begin, "[]");
    if (begin + length >= end || begin[length] != ']')
        return fail_at(line, *at, e, "'[' without its ']'");
    if (length > STORY_MAX_KEY)
        return fail_at(line, *at, e, "the name in brackets is too long: %d bytes are allowed", STORY_MAX_KEY);
    memcpy(key, begin, length);
    key[length] = '\0';
    *at = begin + length + 1;
    return OK;
}

static int find_character(const struct story *story, const char *key)
{
    for (int i = 0; i < story->character_count; i++)
        if (strcmp(story->characters[i].key, key) == 0)
            return i;
    return -1;
}

/* The description is the line's text from `description` up to `end`. */
static status add_character(struct story *story, const struct line *line, const char *key, const char *description,
                            const char *end, struct error *e)
{
    const char *bracket = memchr(description, '[', (size_t)(end - description));
    if (bracket != NULL)
        return fail_at(line, bracket, e,
                       "a bracket in a description: it would reach the model as it is, so write "
                       "it in words");
    if (story->character_count == STORY_MAX_CHARACTERS)
        return fail_at(line, line->text, e, "more than %d characters", STORY_MAX_CHARACTERS);
    struct story_character *c = &story->characters[story->character_count++];
    *c = (struct story_character){
        .key = strdup(key),
        .description = strndup(description, (size_t)(end - description)),
        .line = line->number,
        .column = column_of(line, line->text + strspn(line->text, blanks)),
    };
    return c->key != NULL && c->description != NULL ? OK : fail_memory(line, e);
}

/* [key]description # remark */
static status add_named_character(struct story *story, const struct line *line, struct error *e)
{
    const char *open = line->text + strspn(line->text, blanks), *rest = open;
    char key[STORY_MAX_KEY + 1];
    TRY(read_key(line, &rest, open + strlen(open), key, e));
    if (is_blank(key))
        return fail_at(line, open + 1, e, "the character has no name: write one in the brackets");
    if (strchr(key, '#') != NULL)
        return fail_at(line, strchr(open, '#'), e,
                       "'#' in a name: it begins the caption of a panel, so take "
                       "another sign");
    if (strcasecmp(key, no_character_key) == 0)
        return fail_at(line, open, e, "[%s] marks panels without a character: take another name", no_character_key);
    int first = find_character(story, key);
    if (first >= 0)
        return fail_at(line, open, e, "[%s] is described already, in line %d", key, story->characters[first].line);
    const char *hash = strrchr(rest, '#'), *end = hash != NULL ? hash : rest + strlen(rest);
    if (rest + strspn(rest, blanks) >= end)
        return fail_at(line, rest, e, "[%s] has no description: say how it looks", key);
    return add_character(story, line, key, rest, end, e);
}

/* --------------------------------------------------------------------------------------------------------- panels */

/* The one character of a general prompt without brackets is in every panel. */
static bool is_unnamed(const struct story *story)
{
    return story->character_count == 1 && story->characters[0].key[0] == '\0';
}

static status fail_unknown(const struct story *story, const struct line *line, const char *at, const char *key,
                           struct error *e)
{
    struct suggestion nearest = {.word = key};
    struct text known = {0};
    for (int i = 0; i < story->character_count && !is_unnamed(story); i++) {
        suggestion_offer(&nearest, story->characters[i].key);
        text_append(&known, "[%s], ", story->characters[i].key);
    }
    suggestion_offer(&nearest, no_character_key);
    text_append(&known, "[%s]", no_character_key);
    status s = nearest.best != NULL ? fail_at(line, at, e, "there is no character [%s]: did you mean [%s]? Known: %s",
                                              key, nearest.best, known.failed ? "many" : known.data)
                                    : fail_at(line, at, e, "there is no character [%s]: known: %s", key,
                                              known.failed ? "many" : known.data);
    text_free(&known);
    return s;
}

/* What a panel line says. */
struct scan {
    struct text prompt;
    struct text sentence; /* the prompt part with names instead of descriptions */
    size_t opening;       /* length of the key that opens the sentence, if one does */
    bool named[STORY_MAX_CHARACTERS];
    int keys;                 /* of characters */
    const char *no_character; /* the [NC], or NULL */
    bool has_words;           /* beside keys */
};

/* Reads the prompt part of a panel, line->text up to `end`. The texts of the scan are the caller's to free. */
static status scan_panel(const struct story *story, const struct line *line, const char *end, struct scan *scan,
                         struct error *e)
{
    for (const char *p = line->text; p < end;) {
        const char *open = p;
        if (*p != '[') {
            while (p < end && *p != '[')
                scan->has_words |= strchr(blanks, *p++) == NULL;
            text_append_bytes(&scan->prompt, open, (size_t)(p - open));
            text_append_bytes(&scan->sentence, open, (size_t)(p - open));
            continue;
        }
        char key[STORY_MAX_KEY + 1];
        TRY(read_key(line, &p, end, key, e));
        if (strcmp(key, no_character_key) == 0) {
            scan->no_character = open;
            continue;
        }
        int who = is_unnamed(story) ? -1 : find_character(story, key);
        if (who < 0)
            return fail_unknown(story, line, open, key, e);
        scan->named[who] = true;
        text_append(&scan->prompt, "%s ", story->characters[who].description);
        text_append_bytes(&scan->sentence, key, strlen(key));
        if (scan->keys++ == 0 && !scan->has_words)
            scan->opening = scan->sentence.length;
        if (scan->prompt.length > STORY_MAX_PROMPT)
            break; /* at once: many keys with long descriptions are much memory */
    }
    if (is_unnamed(story) && scan->no_character == NULL) {
        struct text whole = {0};
        text_append(&whole, "%s, %s", story->characters[0].description, scan->prompt.data ? scan->prompt.data : "");
        text_free(&scan->prompt);
        scan->prompt = whole;
        scan->named[0] = true;
        scan->keys = 1;
    }
    if (scan->prompt.failed || scan->sentence.failed)
        return fail_memory(line, e);
    if (scan->prompt.length > STORY_MAX_PROMPT)
        return fail_at(line, line->text, e, "with its descriptions the prompt is too long: %d bytes are allowed",
                       STORY_MAX_PROMPT);
    if (scan->no_character != NULL && scan->keys > 0)
        return fail_at(line, scan->no_character, e, "[%s] says that no character is in the panel, but one is named",
                       no_character_key);
    if (!scan->has_words)
        return fail_at(line, line->text, e, "the panel has no text: say what is to be seen");
    bool from_prompts = story->panels_name != story->name;
    if (scan->keys > 0 || scan->no_character != NULL || (story->character_count == 0 && from_prompts))
        return OK;
    if (story->character_count == 0)
        return fail_at(line, line->text, e, "the story has no characters: begin the panel with [%s], or describe one",
                       no_character_key);
    return fail_at(line, line->text, e,
                   "the panel names no character: begin it with [%s], or with [%s] if nobody is "
                   "in it",
                   story->characters[0].key, no_character_key);
}

/* From `begin` to `end` without blanks at its ends and with one for each run of them. */
static char *collapsed(const char *begin, const char *end)
{
    char *out = calloc((size_t)(end - begin) + 1, 1);
    size_t length = 0;
    for (const char *p = begin; out != NULL && p < end; p++) {
        bool blank = strchr(blanks, *p) != NULL;
        if (!blank)
            out[length++] = *p;
        else if (length > 0 && out[length - 1] != ' ')
            out[length++] = ' ';
    }
    if (length > 0 && out[length - 1] == ' ')
        out[length - 1] = '\0';
    return out;
}

/* `hash`: the last one of the line, or NULL. */
static char *caption_of(const struct scan *scan, const char *hash)
{
    if (hash != NULL) {
        const char *begin = hash + 1 + strspn(hash + 1, blanks);
        return strndup(begin, (size_t)(trimmed_end(begin, begin + strlen(begin)) - begin));
    }
    const char *begin = scan->sentence.data, *end = begin + scan->sentence.length;
    return collapsed(scan->keys == 1 ? begin + scan->opening : begin, end);
}

static status add_panel(struct story *story, const struct line *line, struct error *e)
{
    if (story->panel_count == STORY_MAX_PANELS)
        return fail_at(line, line->text, e, "more than %d panels", STORY_MAX_PANELS);
    const char *hash = strrchr(line->text, '#');
    struct scan scan = {0};
    status s = scan_panel(story, line, hash != NULL ? hash : line->text + strlen(line->text), &scan, e);
    if (s == OK) {
        struct story_panel *panel = &story->panels[story->panel_count++];
        *panel = (struct story_panel){
            .text = strdup(line->text),
            .prompt = scan.prompt.data,
            .caption = caption_of(&scan, hash),
            .characters = calloc((size_t)story->character_count + 1, sizeof *panel->characters),
            .nobody = scan.no_character != NULL,
            .line = line->number,
        };
        scan.prompt = (struct text){0}; /* the panel's now */
        if (panel->text == NULL || panel->caption == NULL || panel->characters == NULL)
            s = fail_memory(line, e);
        for (int i = 0; s == OK && i < story->character_count; i++)
            if (scan.named[i])
                panel->characters[panel->character_count++] = i;
    }
    text_free(&scan.prompt);
    text_free(&scan.sentence);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- stories */

static status story_begin(struct story *story, const char *name, struct error *e)
{
    *story = (struct story){
        .name = strdup(name),
        .settings = calloc(STORY_MAX_SETTINGS, sizeof *story->settings),
        .characters = calloc(STORY_MAX_CHARACTERS, sizeof *story->characters),
        .panels = calloc(STORY_MAX_PANELS, sizeof *story->panels),
    };
    story->panels_name = story->name;
    if (story->name == NULL || story->settings == NULL || story->characters == NULL || story->panels == NULL)
        return fail(e, ERR_MEMORY, "%s: not enough memory for the story", name);
    return OK;
}

void story_free(struct story *story)
{
    for (int i = 0; i < story->setting_count; i++) {
        free(story->settings[i].key);
        free(story->settings[i].value);
    }
    for (int i = 0; i < story->character_count; i++) {
        free(story->characters[i].key);
        free(story->characters[i].description);
    }
    for (int i = 0; i < story->panel_count; i++) {
        free(story->panels[i].text);
        free(story->panels[i].prompt);
        free(story->panels[i].caption);
        free(story->panels[i].characters);
    }
    free(story->name);
    free(story->settings);
    free(story->characters);
    free(story->panels);
    *story = (struct story){0};
}

static bool same_key(const char *a, const char *b)
{
    for (; *a != '\0' && (*a == '-' ? '_' : *a) == (*b == '-' ? '_' : *b); a++)
        b++;
    return *a == *b;
}

const struct story_setting *story_setting_find(const struct story *story, const char *key)
{
    for (int i = 0; i < story->setting_count; i++)
        if (same_key(story->settings[i].key, key))
            return &story->settings[i];
    return NULL;
}

static bool is_separator(const struct line *line)
{
    return strncmp(line->text, separator, strlen(separator)) == 0 && is_blank(line->text + strlen(separator));
}

static bool is_comment(const struct line *line)
{
    return strncmp(line->text + strspn(line->text, blanks), "//", 2) == 0;
}

/* A first pass over all lines, so that the missing separator is named before what follows from it. */
static status check_lines(struct reader r, struct error *e)
{
    bool more, separated = false;
    TRY(next_line(&r, &more, e));
    while (more) {
        if (is_separator(&r.line) && separated)
            return fail_at(&r.line, r.line.text, e, "a second line %s: only one stands above the panels", separator);
        separated |= is_separator(&r.line);
        TRY(next_line(&r, &more, e));
    }
    r.line.number += r.line.number == 0;
    if (!separated)
        return fail(e, ERR_FORMAT, "%s:%d:1: there is no line %s between the characters and the panels", r.line.name,
                    r.line.number, separator);
    return OK;
}

static status parse_lines(struct story *story, struct reader *r, struct error *e)
{
    bool more, panels = false;
    for (;;) {
        TRY(next_line(r, &more, e));
        if (!more)
            break;
        const struct line *line = &r->line;
        if (is_blank(line->text) || is_comment(line))
            continue;
        if (is_separator(line))
            panels = true;
        else if (panels)
            TRY(add_panel(story, line, e));
        else if (line->text[strspn(line->text, blanks)] == '[')
            TRY(add_named_character(story, line, e));
        else
            TRY(add_setting(story, line, e));
    }
    if (story->panel_count == 0)
        return fail(e, ERR_FORMAT, "%s:%d:1: there are no panels below the line %s", r->line.name, r->line.number,
                    separator);
    return OK;
}

status story_parse(const char *name, const char *text, size_t length, struct story *story, struct error *e)
{
    *story = (struct story){0};
    if (length > STORY_MAX_BYTES)
        return fail(e, ERR_FORMAT, "%s: the story has %zu bytes, %d are allowed", name, length, STORY_MAX_BYTES);
    bool marked = length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0;
    struct reader r = {.at = text + (marked ? 3 : 0), .end = text + length, .line = {.name = name}};
    TRY(check_lines(r, e));
    status s = story_begin(story, name, e);
    if (s == OK)
        s = parse_lines(story, &r, e);
    if (s != OK)
        story_free(story);
    return s;
}

status story_read(const char *path, struct story *story, struct error *e)
{
    *story = (struct story){0};
    struct file_map map;
    TRY(file_map(path, &map, e));
    status s = story_parse(path, map.size > 0 ? (const char *)map.data : "", map.size, story, e);
    file_unmap(&map);
    return s;
}

static status parse_general_prompt(struct story *story, const char *text, struct error *e)
{
    struct reader r = {.at = text, .end = text + strlen(text), .line = {.name = story->name}};
    for (bool more;;) {
        TRY(next_line(&r, &more, e));
        if (!more)
            return OK;
        const char *begin = r.line.text + strspn(r.line.text, blanks);
        if (*begin == '\0')
            continue;
        bool named = *begin == '[';
        if (story->character_count > 0 && (!named || is_unnamed(story)))
            return fail_at(&r.line, begin, e, "several lines: each must begin with the [Name] of a character");
        if (named)
            TRY(add_named_character(story, &r.line, e));
        else
            TRY(add_character(story, &r.line, "", r.line.text, r.line.text + strlen(r.line.text), e));
    }
}

static status parse_panels(struct story *story, const char *const *panels, size_t count, struct error *e)
{
    if (count == 0)
        return fail(e, ERR_FORMAT, "%s: there are none: a story has at least one", story->panels_name);
    struct reader r = {.line = {.name = story->panels_name}};
    for (size_t i = 0; i < count; i++) {
        TRY(take_line(&r, panels[i], strlen(panels[i]), e));
        TRY(add_panel(story, &r.line, e));
    }
    return OK;
}

status story_from_prompts(const char *general_prompt, const char *const *panels, size_t count, struct story *story,
                          struct error *e)
{
    status s = story_begin(story, "general_prompt", e);
    story->panels_name = "panels";
    if (s == OK && general_prompt != NULL)
        s = parse_general_prompt(story, general_prompt, e);
    if (s == OK)
        s = parse_panels(story, panels, count, e);
    if (s != OK)
        story_free(story);
    return s;
}
