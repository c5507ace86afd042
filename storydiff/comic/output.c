#include "storydiff/comic/output.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/picture/png.h"
#include "storydiff/comic/recipe.h"

static const char STATE[] = "unfinished.safetensors", PREVIEW[] = "preview.png", PDF[] = "comic.pdf",
                  CBZ[] = "comic.cbz", DIGITS[] = "0123456789";

status output_path(const struct comic *c, enum output_file file, int number, struct output_path *path,
                   struct error *e)
{
    char name[64] = "";
    switch (file) {
    case OUTPUT_PANEL: snprintf(name, sizeof name, "panel-%02d.png", number); break;
    case OUTPUT_PAGE: snprintf(name, sizeof name, "page-%02d.png", number); break;
    case OUTPUT_PDF: snprintf(name, sizeof name, "%s", PDF); break;
    case OUTPUT_CBZ: snprintf(name, sizeof name, "%s", CBZ); break;
    case OUTPUT_PREVIEW: snprintf(name, sizeof name, "%s", PREVIEW); break;
    case OUTPUT_STATE: snprintf(name, sizeof name, "%s", STATE); break;
    }
    return path_join(path->text, sizeof path->text, c->settings.output_dir, name, e);
}

/* --------------------------------------------------------------------------------------------------------- names */

/* panel-NN.png, page-NN.png, comic.pdf, comic.cbz: not what a person may have put beside them. */
static bool is_result(const char *name)
{
    size_t prefix = strncmp(name, "panel-", 6) == 0 ? 6 : strncmp(name, "page-", 5) == 0 ? 5 : 0;
    size_t digits = strspn(name + prefix, DIGITS);
    return (prefix > 0 && digits > 0 && strcmp(name + prefix + digits, ".png") == 0) || strcmp(name, PDF) == 0 ||
           strcmp(name, CBZ) == 0;
}

/* A name of ours with the ending of a file written aside (tensor/file.h). */
static bool is_leftover(const char *name)
{
    static const char *const ours[] = {"panel-", "page-", PDF, CBZ, PREVIEW, STATE};
    const char *aside = strstr(name, ".tmp-");
    bool matches = aside != NULL && aside[5] != '\0' && aside[5 + strspn(aside + 5, DIGITS)] == '\0';
    for (size_t i = 0; i < sizeof ours / sizeof *ours && matches; i++)
        if (strncmp(name, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

/* The first such name in the output folder, or "". */
static void find_first(const struct comic *c, bool (*wanted)(const char *name), char *name, size_t size)
{
    struct dirent **entries;
    int count = scandir(c->settings.output_dir, &entries, NULL, alphasort);
    name[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (name[0] == '\0' && wanted(entries[i]->d_name))
            snprintf(name, size, "%s", entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void remove_all(const struct comic *c, bool (*wanted)(const char *name))
{
    char name[256], path[4500];
    for (find_first(c, wanted, name, sizeof name); name[0] != '\0'; find_first(c, wanted, name, sizeof name))
        if (path_join(path, sizeof path, c->settings.output_dir, name, NULL) != OK || unlink(path) != 0)
            return;
}

void output_remove_results(const struct comic *c)
{
    remove_all(c, is_result);
}

void output_remove_leftovers(const struct comic *c)
{
    remove_all(c, is_leftover);
}

/* --------------------------------------------------------------------------------------------------------- check */

static status check_recipe(const struct comic *c, const char *source, const char *saved, enum recipe_use use,
                           int panel, struct error *e)
{
    struct text ours = {0};
    recipe_append(&ours, c, use, panel);
    status s = ours.failed ? fail(e, ERR_MEMORY, "not enough memory for the recipe")
                           : recipe_same(source, saved, ours.data, e);
    text_free(&ours);
    return s;
}

/* *recipe: a copy, which the caller frees. The file is closed again: it is none of those that a run uses. */
static status read_state_recipe(const char *path, char **recipe, struct error *e)
{
    static const char advice[] = "this cannot be resumed; `overwrite` starts anew";
    struct safetensors file;
    if (safetensors_open(path, &file, e) != OK)
        return fail_context(e, "%s", advice);
    const char *saved = safetensors_meta(&file, "recipe");
    *recipe = saved != NULL ? strdup(saved) : NULL;
    status s = OK;
    if (saved == NULL)
        s = fail(e, ERR_FORMAT, "%s: %s is not the state of a storydiff run", advice, path);
    else if (*recipe == NULL)
        s = fail(e, ERR_MEMORY, "%s: not enough memory for its recipe", path);
    safetensors_close(&file);
    return s;
}

static status check_state(const struct comic *c, const char *path, struct error *e)
{
    char *saved = NULL;
    TRY(read_state_recipe(path, &saved, e));
    status s = check_recipe(c, path, saved, RECIPE_OF_STATE, 0, e);
    free(saved);
    return s;
}

/* *there becomes false if it is not; another recipe in it is a failure. */
static status check_panel(const struct comic *c, int panel, bool *there, struct error *e)
{
    struct output_path path;
    char *saved = NULL;
    TRY(output_path(c, OUTPUT_PANEL, panel + 1, &path, e));
    *there = *there && file_exists(path.text);
    if (!*there)
        return OK;
    TRY(png_read_text(path.text, RECIPE_KEY, &saved, e));
    status s = saved == NULL ? fail(e, ERR_FORMAT, "%s has no recipe: it was not made by storydiff", path.text)
                             : check_recipe(c, path.text, saved, RECIPE_OF_PANEL, panel, e);
    free(saved);
    return s;
}

static status check_there(const struct comic *c, enum output_file file, int number, bool *complete, struct error *e)
{
    struct output_path path;
    TRY(output_path(c, file, number, &path, e));
    *complete = *complete && file_exists(path.text);
    return OK;
}

/* Whether everything that this run would write is there, made from the same recipe. */
static status check_results(const struct comic *c, bool *complete, struct error *e)
{
    *complete = true;
    for (int i = 0; i < c->story.panel_count; i++)
        if (c->wanted[i])
            TRY(check_panel(c, i, complete, e));
    for (int i = 0; i < c->pages.page_count && (c->formats & FORMAT_PNG); i++)
        TRY(check_there(c, OUTPUT_PAGE, i + 1, complete, e));
    if (c->formats & FORMAT_PDF)
        TRY(check_there(c, OUTPUT_PDF, 0, complete, e));
    return c->formats & FORMAT_CBZ ? check_there(c, OUTPUT_CBZ, 0, complete, e) : OK;
}

/* --resume without a saved state. */
static status check_finished(const struct comic *c, const char *found, bool *finished, struct error *e)
{
    const struct settings *o = &c->settings;
    struct error ignored = {0};
    if (o->only != NULL) { /* anything else that is there is kept under another name */
        *finished = check_results(c, finished, &ignored) == OK && *finished;
        return OK;
    }
    TRY(check_results(c, finished, e));
    if (!*finished)
        return fail(e, ERR_ARGUMENT, "%s has some of the results (%s ..) but no saved state: start anew with "
                                     "`overwrite`, or choose another `output_dir`", o->output_dir, found);
    return OK;
}

/* The folder, or the nearest one above it: nothing is made yet. */
static status check_writable(const char *folder, struct error *e)
{
    char path[4096];
    if (folder[0] == '\0')
        return fail(e, ERR_ARGUMENT, "`output_dir`: a folder needs a name; . is the one that you are in");
    TRY(path_join(path, sizeof path, folder, "", e));
    for (char *slash = path; !file_exists(path) && slash != NULL;) {
        slash = strrchr(path, '/');
        if (slash == NULL)
            strcpy(path, ".");
        else
            slash[slash == path] = '\0'; /* "/a" is in "/" */
    }
    if (!file_is_directory(path))
        return fail(e, ERR_IO, "`output_dir` %s: %s is not a folder", folder, path);
    if (access(path, W_OK | X_OK) != 0)
        return fail(e, ERR_IO, "`output_dir` %s: nothing can be written to %s: %s", folder, path, strerror(errno));
    return OK;
}

/* Whether --resume may begin what a killed run had only written down. */
static bool had_begun(const struct comic *c, const struct output_lock *lock)
{
    struct error ignored = {0};
    return lock->begun != NULL && check_recipe(c, lock->path, lock->begun, RECIPE_OF_STATE, 0, &ignored) == OK;
}

/* What is there already, and what the person said about it. */
static status check_folder(const struct comic *c, const struct output_lock *lock, bool *finished, struct error *e)
{
    const struct settings *o = &c->settings;
    struct output_path state;
    char found[256];
    if (o->overwrite || o->pages_only)
        return OK;
    TRY(output_path(c, OUTPUT_STATE, 0, &state, e));
    if (file_exists(state.text) && o->resume)
        return check_state(c, state.text, e);
    if (file_exists(state.text))
        return fail(e, ERR_ARGUMENT, "%s has an unfinished run: go on with `resume`, start anew with `overwrite`, or "
                                     "choose another `output_dir`", o->output_dir);
    find_first(c, is_result, found, sizeof found);
    if (o->resume && had_begun(c, lock)) { /* and had ended, if it was killed after it had removed its state */
        struct error ignored = {0};
        *finished = check_results(c, finished, &ignored) == OK && *finished;
        return OK;
    }
    if (found[0] == '\0')
        return OK;
    if (o->resume)
        return check_finished(c, found, finished, e);
    if (o->only == NULL)
        return fail(e, ERR_ARGUMENT, "%s has results already (%s ..): replace them with `overwrite`, or choose "
                                     "another `output_dir`", o->output_dir, found);
    return OK;
}

/* A panel that `only` leaves out, and that the pages will show. older: the numbers of those that looked at an id
 * panel as it was before. */
static status check_kept(const struct comic *c, int panel, struct text *older, struct text *notices, struct error *e)
{
    struct output_path path;
    struct recipe saved;
    bool looked = false;
    TRY(output_path(c, OUTPUT_PANEL, panel + 1, &path, e));
    TRY(recipe_of_panel(c->settings.output_dir, panel + 1, &saved, e));
    if (saved.values == NULL && file_exists(path.text))
        text_append(notices, "%s%s has no recipe: the page shows it, whatever it is of", notices->length ? "\n" : "",
                    path.text);
    status s = saved.values != NULL ? recipe_fits(&saved, c, panel, &looked, e) : OK;
    if (looked)
        text_append(older, "%s%d", older->length ? ", " : "", panel + 1);
    recipe_free(&saved);
    return s;
}

static status check_pages(const struct comic *c, struct text *notices, struct error *e)
{
    struct text older = {0};
    status s = OK;
    for (int i = 0; i < c->story.panel_count && s == OK && c->settings.comic_type != PAGE_NONE; i++)
        if (!c->wanted[i] || c->settings.pages_only)
            s = check_kept(c, i, &older, notices, e);
    if (older.length > 0)
        text_append(notices,
                    "%spanels that are kept were drawn looking at an id panel as it was before: if they no longer "
                    "fit, redraw them, too (`only` %s)",
                    notices->length ? "\n" : "", older.data);
    text_free(&older);
    return s;
}

static status check_all(const struct comic *c, struct output_lock *lock, bool *finished, struct text *notices,
                        struct error *e)
{
    struct text recipe = {0};
    TRY(check_folder(c, lock, finished, e));
    if (*finished)
        return OK;
    TRY(check_pages(c, notices, e));
    recipe_append(&recipe, c, RECIPE_OF_STATE, 0);
    status s = recipe.failed ? fail(e, ERR_MEMORY, "not enough memory for the recipe")
                             : output_lock_begin(lock, recipe.data, e);
    text_free(&recipe);
    return s;
}

status output_open(const struct comic *c, struct output_lock *lock, bool *finished, struct text *notices,
                   struct error *e)
{
    const struct settings *o = &c->settings;
    *finished = false;
    *lock = (struct output_lock){0};
    if (o->overwrite && o->resume)
        return fail(e, ERR_ARGUMENT, "`overwrite` and `resume` exclude each other: start anew, or go on?");
    if (o->pages_only && (o->resume || o->only != NULL || o->comic_type == PAGE_NONE))
        return fail(e, ERR_ARGUMENT,
                    "`pages_only` draws pages and no panel: it excludes `resume`, `only` and `comic_type` "
                    "none");
    TRY(check_writable(o->output_dir, e));
    TRY(file_make_directory(o->output_dir, e));
    TRY(output_lock_take(lock, o->output_dir, e));
    status s = check_all(c, lock, finished, notices, e);
    if (s != OK || *finished)
        output_lock_drop(lock, lock->begun != NULL && s != OK ? OUTPUT_LEFT : OUTPUT_DONE);
    return s;
}

/* ---------------------------------------------------------------------------------------------------------- keep */

static bool has_content(const char *path, const struct file_map *content)
{
    struct file_map map;
    if (file_map(path, &map, NULL) != OK)
        return false;
    bool same = map.size == content->size && memcmp(map.data, content->data, map.size) == 0;
    file_unmap(&map);
    return same;
}

/* A copy and not another name for it, so that the folder always has a panel of every number. */
static status copy_aside(const char *path, const struct file_map *content, struct error *e)
{
    char kept[4300];
    const char *ending = strrchr(path, '.');
    for (int i = 1; i < 1000; i++) {
        snprintf(kept, sizeof kept, "%.*s.before-%d%s", (int)(ending - path), path, i, ending);
        if (!file_exists(kept))
            return file_write(kept, content->data, content->size, e);
        if (has_content(kept, content))
            return OK;
    }
    return fail(e, ERR_IO, "%s: there are 999 older versions of it; remove some, or say `overwrite`", path);
}

static status keep(const struct comic *c, enum output_file file, int number, struct error *e)
{
    struct output_path path;
    struct file_map content;
    TRY(output_path(c, file, number, &path, e));
    if (!file_exists(path.text))
        return OK;
    TRY(file_map(path.text, &content, e));
    status s = copy_aside(path.text, &content, e);
    file_unmap(&content);
    return s;
}

status output_keep(const struct comic *c, struct error *e)
{
    const struct settings *o = &c->settings;
    if ((o->only == NULL && !o->pages_only) || o->overwrite)
        return OK;
    for (int i = 0; i < c->story.panel_count; i++)
        if (c->wanted[i] && !o->pages_only)
            TRY(keep(c, OUTPUT_PANEL, i + 1, e));
    for (int i = 0; i < c->pages.page_count; i++)
        TRY(keep(c, OUTPUT_PAGE, i + 1, e));
    TRY(keep(c, OUTPUT_PDF, 0, e));
    return keep(c, OUTPUT_CBZ, 0, e);
}
