#include "storydiff/comic/comic_syntax.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

/* POSIX extended regular expressions, and what to do instead. */
static const struct syntax {
    const char *pattern, *instead;
} foreign[] = {
    {"\\{[^{}]*\\|[^{}]*\\}", "no choice is made between alternatives: write one"},
    {"\\[[^][]*[|:][^][]*\\]", "words do not change while a picture is drawn: write one of them"},
    {"__[A-Za-z0-9/_*-]+__", "no wildcard is filled in: write what is meant"},
    {"[A-Za-z)\"]\\+\\+", "a weight is written (word:1.2)"},
    {"(^|[ ,])[A-Za-z]+:[0-9]*\\.[0-9]+([ ,]|$)", "a weight is written in parentheses, (word:1.2)"},
    {"[A-Za-z]::-?[0-9.]+", "a weight is written (word:1.2)"},
    {"<[A-Za-z_]+:[^<>]*>", "only LoRAs are named like this, <lora:NAME:WEIGHT>, and only in a panel"},
    {"embedding:[A-Za-z0-9_.-]+",
     "an embedding is known by its token alone, and only if the model's vocabulary has it"},
    {"(^|[ ,])AND([ ,]|$)", "prompts are not combined: BREAK begins a new window of the same one"},
    {"(^|[ ,])--[a-z]+", "settings are no part of a prompt: they are options, or lines of a story file"},
};

/* Whether a text has it; *at, *length: where. */
static bool find(const char *pattern, const char *text, int *at, int *length)
{
    regex_t compiled;
    regmatch_t match;
    if (text == NULL || regcomp(&compiled, pattern, REG_EXTENDED) != 0)
        return false;
    bool found = regexec(&compiled, text, 1, &match, 0) == 0;
    regfree(&compiled);
    for (*at = found ? match.rm_so : 0; found && (text[*at] == ' ' || text[*at] == ','); ++*at)
        continue;
    *length = found ? match.rm_eo - *at : 0;
    return found;
}

static void note(struct text *notes, const char *where, const char *found, int length, const char *instead)
{
    text_append(notes, "%s%s: \"%.*s\" is read as words: %s", notes->length > 0 ? "\n" : "", where,
                length < 60 ? length : 60, found, instead);
}

void comic_note_syntax(const struct comic *c, struct text *notes)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        int at, length;
        bool said = false;
        for (int panel = 0; panel < c->story.panel_count && !said; panel++) {
            char where[32];
            snprintf(where, sizeof where, "panel %d", panel + 1);
            said = find(foreign[i].pattern, c->story.panels[panel].prompt, &at, &length);
            if (said)
                note(notes, where, c->story.panels[panel].prompt + at, length, foreign[i].instead);
        }
        if (!said && find(foreign[i].pattern, c->settings.negative_prompt, &at, &length))
            note(notes, "the negative prompt", c->settings.negative_prompt + at, length, foreign[i].instead);
    }
}
