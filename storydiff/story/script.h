/* The story script: what a person types, as characters, panels and settings; and who is drawn with whom.
 *
 *   // a comment                                a file: settings, characters, a line ---, panels
 *   title: The newspaper                        settings are the caller's business: any key is kept, twice, too
 *   [Bob] a man, black suit
 *   [Alice] a woman, white shirt
 *   ---
 *   [Bob] at home, reading #The news!           prompt " a man, black suit  at home, reading ", caption "The news!"
 *   [NC] a tiger in the forest                  no character: prompt " a tiger in the forest"
 *   [Bob] and [Alice] running                   two characters; caption "Bob and Alice running"
 *
 * The prompt of a panel is the line before its last `#`, each `[Key]` replaced by the character's description and one
 * blank, `[NC]` by nothing. Every other blank stays, those of descriptions too: byte for byte the reference's prompt.
 * A description, too, ends before the last `#` of its line; what follows is a remark that is not drawn.
 * Source: StoryDiffusion, process_generation of its app.
 *
 * The surprise: captions may contain [brackets], which mean nothing. What stands behind the `#` is shown as it is. */
#ifndef STORYDIFF_SCRIPT_H
#define STORYDIFF_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/status.h"

/* Limits; beyond them a story is refused. */
enum {
    STORY_MAX_BYTES = 1 << 20, /* of a file */
    STORY_MAX_LINE = 4096,     /* bytes */
    STORY_MAX_KEY = 64,        /* bytes of a character's name */
    STORY_MAX_PROMPT = 16384,  /* bytes of a panel's prompt, descriptions included */
    STORY_MAX_SETTINGS = 100,
    STORY_MAX_CHARACTERS = 64,
    STORY_MAX_PANELS = 1000,
};

/* `key: value`. Lines and columns count from 1; columns in characters, not bytes. */
struct story_setting {
    char *key;   /* as written, but dashes are underscores: "negative_prompt" */
    char *value; /* without blanks at its ends; may be "" */
    int line, key_column, value_column;
};

/* `[key]description`. */
struct story_character {
    char *key;         /* without brackets; "" for the one character of a general prompt without brackets */
    char *description; /* all that follows the bracket, blanks too */
    int line, column;
};

struct story_panel {
    char *text;      /* the line as written */
    char *prompt;    /* before styling */
    char *caption;   /* may be "" */
    int *characters; /* [character_count] whom it names, in the order of their lines, each once */
    int character_count; /* 0: an [NC] panel, or there are no characters at all */
    bool nobody;         /* it says [NC] */
    int line;            /* of the file; of an array of panels its number, from 1 */
};

/* Owns everything in it. */
struct story {
    char *name;              /* where the characters come from, for messages: a path, or "general_prompt" */
    const char *panels_name; /* where the panels do: the same, or "panels" */
    struct story_setting *settings;
    struct story_character *characters;
    struct story_panel *panels;
    int setting_count, character_count, panel_count;
};

/* Reads a story file, or `length` bytes of one; `name` is for messages. UTF-8, with or without a byte order mark;
 * lines end with or without a carriage return. `//` at the start of a line, after blanks, makes it a comment; blank
 * lines are skipped.
 *
 * A caption is the text after the last `#`, trimmed. Without a `#` it is the line without [NC] and without the key
 * that opens it, if that is the only one; other keys lose just their brackets, so that a sentence stays a sentence.
 * Runs of blanks count as one there.
 *
 * Refused, with "name:LINE:COLUMN: what, and what to do":
 *   the file        no line `---`, or two; no panel; text that is not UTF-8; control characters other than tab; more
 *                   of anything than the limits above
 *   above the ---   a line of neither kind; a character given twice; a character without name or
 *                   description, or whose name is NC or has a bracket or `#` in it; a `[` in a description
 *   a panel         a `[` that is not closed; a name that is not known (the nearest is suggested); [NC] beside a
 *                   character; neither of them, where the story has characters; no text beside them
 * The caller frees the story; after a failure there is nothing to free. */
status story_read(const char *path, struct story *story, struct error *e);
status story_parse(const char *name, const char *text, size_t length, struct story *story, struct error *e);

/* A story from a general prompt and panel lines, as command lines and programs give them.
 *
 *   "[Bob] a man\n[Alice]a woman"   begins with a bracket: character lines; panels as in a file
 *   "a man with a black suit"       no brackets: one character, in every panel that is not [NC]; the prompt of a
 *                                   panel is the general prompt, ", " and the panel's text
 *   NULL, "" or blank               no character: all panels are [NC], whether they say so or not
 *
 * Panels may not have line breaks and are never comments. Positions read "general_prompt:LINE:COLUMN" and
 * "panels:NUMBER:COLUMN". Otherwise as above. */
status story_from_prompts(const char *general_prompt, const char *const *panels, size_t count, struct story *story,
                          struct error *e);

void story_free(struct story *story); /* fine on a zeroed struct, and twice */

/* The first setting of that key, dashes or underscores, or NULL. */
const struct story_setting *story_setting_find(const struct story *story, const char *key);

/* A day in the life of anyone, in words that the bundled model knows: the panels of a general prompt that came without.
 * Ends with a NULL. */
extern const char *const story_default_panels[];

#endif
