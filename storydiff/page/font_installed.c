/* Which installed fonts have the letters that a text needs. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "storydiff/page/arabic.h"
#include "storydiff/page/font.h"
#include "tensor/utf8.h"

/* Beyond these, fonts and letters are passed over. */
enum { FILES_MOST = 8192, DEPTH_MOST = 8, MISSING_MOST = 4096, PATH_MOST = 4096 };

struct files {
    char **path;
    int count;
    bool failed;
};

static bool is_font(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL &&
           (strcasecmp(dot, ".ttf") == 0 || strcasecmp(dot, ".otf") == 0 || strcasecmp(dot, ".ttc") == 0);
}

static void add_file(struct files *f, const char *path)
{
    if (f->count % 256 == 0) {
        char **more = realloc(f->path, (size_t)(f->count + 256) * sizeof *more);
        f->failed = f->failed || more == NULL;
        if (more == NULL)
            return;
        f->path = more;
    }
    f->path[f->count] = strdup(path);
    f->failed = f->failed || f->path[f->count] == NULL;
    f->count += !f->failed;
}

static void walk(struct files *f, const char *folder, int depth)
{
    DIR *d = depth < DEPTH_MOST ? opendir(folder) : NULL;
    for (struct dirent *entry; d != NULL && !f->failed && f->count < FILES_MOST && (entry = readdir(d)) != NULL;) {
        char path[PATH_MOST];
        struct stat info;
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path || stat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            walk(f, path, depth + 1);
        else if (S_ISREG(info.st_mode) && is_font(entry->d_name))
            add_file(f, path);
    }
    if (d != NULL)
        closedir(d);
}

static void walk_below(struct files *f, const char *variable, const char *folder)
{
    char path[PATH_MOST];
    const char *home = getenv(variable);
    if (home != NULL && home[0] == '/' && snprintf(path, sizeof path, "%s/%s", home, folder) < (int)sizeof path)
        walk(f, path, 0);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In an order that does not depend on that of the folders. */
static void find_files(struct files *f)
{
    walk(f, "/usr/share/fonts", 0);
    walk(f, "/usr/local/share/fonts", 0);
    walk_below(f, "HOME", ".fonts");
    if (getenv("XDG_DATA_HOME") != NULL)
        walk_below(f, "XDG_DATA_HOME", "fonts");
    else
        walk_below(f, "HOME", ".local/share/fonts");
    if (f->count > 0)
        qsort(f->path, (size_t)f->count, sizeof *f->path, by_path);
}

static void files_free(struct files *f)
{
    for (int i = 0; i < f->count; i++)
        free(f->path[i]);
    free(f->path);
}

/* How far a font is from what a caption is set in, by the words in its file's name. */
static int strangeness(const char *path)
{
    static const char *const strange[] = {"Bold", "Black", "Heavy", "Italic", "Oblique", "Slant", "Thin", "Light",
                                          "Condensed", "Mono"};
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    int rank = strcasestr(name, "Sans") != NULL ? 0 : 1;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        rank += strcasestr(name, strange[i]) != NULL ? 2 : 0;
    return rank;
}

static int list_code(uint32_t code, uint32_t *missing, int count)
{
    for (int i = 0; i < count; i++)
        if (missing[i] == code)
            return count;
    if (count < MISSING_MOST)
        missing[count++] = code;
    return count;
}

/* Adds what is missing and not yet in the list, up to MISSING_MOST: letters, and the shapes by which they join. */
static int list_missing(const struct font *font, const char *text, uint32_t *missing, int count)
{
    while (*text != '\0') {
        const uint32_t code = utf8_next(&text), shape = arabic_isolated(code);
        if (!font_is_invisible(code) && font_glyph(font, code) == 0)
            count = list_code(code, missing, count);
        if (shape != 0 && font_glyph(font, shape) == 0)
            count = list_code(shape, missing, count);
    }
    return count;
}

/* The font with most of the missing letters of one script, and of those that are equal the least strange. */
struct best {
    const struct font_hint *script;
    int file, letters, strangeness;
};

/* How many of the missing letters of a script a font has. */
static int letters_in(const struct font *font, const struct font_hint *script, const uint32_t *missing, int count)
{
    int letters = 0;
    for (int i = 0; i < count; i++)
        letters += font_hint(missing[i]) == script && font_glyph(font, missing[i]) != 0;
    return letters;
}

static void compare(const struct files *f, int file, const uint32_t *missing, int count, struct best *best, int scripts)
{
    struct font *font;
    if (font_open(f->path[file], &font, NULL) != OK)
        return;
    for (struct best *b = best; b < best + scripts; b++) {
        const int letters = letters_in(font, b->script, missing, count), strange = strangeness(f->path[file]);
        if (letters > b->letters || (letters > 0 && letters == b->letters && strange < b->strangeness))
            *b = (struct best){b->script, file, letters, strange};
    }
    font_close(font);
}

static bool is_added(const struct font *font, const char *path)
{
    for (int i = 0; i < font_count(font); i++)
        if (strcmp(font_path(font, i), path) == 0)
            return true;
    return false;
}

/* One font for each script. Returns how many were added. */
static int add_best(struct font *font, const struct files *f, const uint32_t *missing, int count)
{
    struct best best[FONT_FACES_MOST] = {0};
    int scripts = 0, added = 0;
    for (int i = 0; i < count; i++) {
        const struct font_hint *script = font_hint(missing[i]);
        int k = 0;
        while (k < scripts && best[k].script != script)
            k++;
        if (k == scripts && scripts < FONT_FACES_MOST)
            best[scripts++] = (struct best){.script = script, .file = -1};
    }
    for (int file = 0; file < f->count; file++)
        compare(f, file, missing, count, best, scripts);
    for (int k = 0; k < scripts; k++)
        if (best[k].file >= 0 && !is_added(font, f->path[best[k].file]))
            added += font_add(font, f->path[best[k].file], NULL) == OK;
    return added;
}

status font_add_installed(struct font *font, const char *const *texts, int count, struct error *e)
{
    struct files files = {0};
    uint32_t *missing = calloc(MISSING_MOST, sizeof *missing);
    int missed = 0, added = missing != NULL;
    for (int round = 0; added > 0 && !files.failed && round < 3; round++) { /* a script may need a second font */
        missed = 0;
        for (int i = 0; i < count; i++)
            missed = list_missing(font, texts[i], missing, missed);
        if (missed == 0)
            break;
        if (files.count == 0)
            find_files(&files);
        added = add_best(font, &files, missing, missed);
    }
    const bool failed = files.failed || missing == NULL;
    files_free(&files);
    free(missing);
    return failed ? fail(e, ERR_MEMORY, "no memory to look for fonts") : OK;
}
