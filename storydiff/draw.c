#include "storydiff/draw.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/page.h"
#include "storydiff/png.h"
#include "storydiff/recipe.h"
#include "storydiff/render.h"

static const char STATE[] = "unfinished.safetensors", PREVIEW[] = "preview.png";

/* One drawing under way. */
struct drawing {
    const struct comic *c;
    const struct context *ctx;
    const struct draw_watch *watch;
    struct draw_result *result;
    char state[4200];
    struct text recipe;
    struct lockstep lockstep;
    struct preview_map preview;
};

static void notice(const struct drawing *d, const char *line)
{
    if (d->watch->notice != NULL)
        d->watch->notice(d->watch->self, line);
}

static status output_path(const struct comic *c, const char *name, char *out, size_t size, struct error *e)
{
    return path_join(out, size, c->options.output_dir, name, e);
}

static status numbered_path(const struct comic *c, const char *kind, int number, char *out, size_t size, struct error *e)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%02d.png", kind, number);
    return output_path(c, name, out, size, e);
}

/* ---------------------------------------------------------------------------------------------------- what is there */

static bool is_result(const char *name)
{
    size_t length = strlen(name);
    return (strncmp(name, "panel-", 6) == 0 || strncmp(name, "page-", 5) == 0) && length > 4 && strcmp(name + length - 4, ".png") == 0;
}

/* The name of a finished result in the output folder, or "". */
static void find_result(const char *folder, char *name, size_t size)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    name[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (name[0] == '\0' && is_result(entries[i]->d_name))
            snprintf(name, size, "%s", entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* The recipe of a saved state, for comparison: malloced, NULL on failure. */
static char *state_recipe(const char *path, struct error *e)
{
    struct safetensors file;
    if (safetensors_open(path, &file, e) != OK)
        return NULL;
    const char *text = safetensors_meta(&file, "recipe");
    char *copy = text != NULL ? strdup(text) : NULL;
    if (copy == NULL)
        fail(e, ERR_FORMAT, "%s: not the state of a storydiff run; --overwrite starts anew", path);
    safetensors_close(&file);
    return copy;
}

static status check_same(const struct comic *c, const char *source, char *saved, struct error *e)
{
    struct text ours = {0};
    recipe_append(&ours, c);
    status s = saved == NULL ? (e->code != OK ? e->code : fail(e, ERR_FORMAT, "%s has no recipe: it was not made by storydiff", source))
                             : recipe_same(source, saved, ours.data, e);
    text_free(&ours);
    free(saved);
    return s;
}

/* --resume with no unfinished run: everything may be done already. */
static status check_finished(const struct comic *c, const char *result_name, struct draw_result *result, struct error *e)
{
    char path[4200], *saved = NULL;
    if (result_name[0] == '\0')
        return OK; /* nothing there at all: a fresh start */
    TRY(output_path(c, result_name, path, sizeof path, e));
    TRY(png_read_text(path, RECIPE_KEY, &saved, e));
    TRY(check_same(c, path, saved, e));
    result->was_finished = true;
    return OK;
}

status draw_check_output(const struct comic *c, struct draw_result *result, struct error *e)
{
    const struct options *o = &c->options;
    char state[4200], found[256];
    *result = (struct draw_result){0};
    if (o->overwrite && o->resume)
        return fail(e, ERR_ARGUMENT, "--overwrite and --resume exclude each other: start anew, or go on?");
    if (o->overwrite)
        return OK;
    TRY(output_path(c, STATE, state, sizeof state, e));
    find_result(o->output_dir, found, sizeof found);
    if (o->resume)
        return file_exists(state) ? check_same(c, state, state_recipe(state, e), e) : check_finished(c, found, result, e);
    if (file_exists(state))
        return fail(e, ERR_ARGUMENT, "%s has an unfinished run: go on with --resume, start anew with --overwrite, or choose another "
                                     "--output_dir", o->output_dir);
    if (found[0] != '\0' && o->only == NULL)
        return fail(e, ERR_ARGUMENT, "%s has results already (%s): replace them with --overwrite, or choose another --output_dir",
                    o->output_dir, found);
    return OK;
}

/* ------------------------------------------------------------------------------------------------------- sampling */

static status save_state(struct drawing *d, struct error *e)
{
    return d->c->options.no_save ? OK : lockstep_save(&d->lockstep, d->state, d->recipe.data, e);
}

static status write_preview(struct drawing *d, struct error *e)
{
    const struct lockstep *l = &d->lockstep;
    int panels = l->request->panels;
    char path[4200];
    struct image sheet = {0};
    int64_t size = l->h * l->w * l->c;
    TRY(image_new(l->w * panels, l->h, &sheet, e));
    status s = OK;
    for (int i = 0; s == OK && i < panels; i++) {
        struct image one = {0};
        s = preview_image(&d->preview, l->predicted + i * size, l->h, l->w, &one, e);
        if (s == OK)
            image_paste(&sheet, (int)(i * l->w), 0, &one);
        image_free(&one);
    }
    struct image large = {0};
    if (s == OK)
        s = image_resize(&sheet, 4 * (int64_t)sheet.width, 4 * (int64_t)sheet.height, &large, e);
    if (s == OK)
        s = output_path(d->c, PREVIEW, path, sizeof path, e);
    if (s == OK)
        s = png_write(path, &large, NULL, 0, e);
    image_free(&large);
    image_free(&sheet);
    return s;
}

static bool stop_asked(const struct drawing *d)
{
    return d->watch->stop != NULL && *d->watch->stop;
}

static status sample(struct drawing *d, struct error *e)
{
    struct lockstep *l = &d->lockstep;
    const struct options *o = &d->c->options;
    struct lockstep_progress progress = {d->watch->pass_done, d->watch->self};
    if (o->preview_every > 0)
        TRY(preview_map_make(d->ctx, &d->c->model, &d->preview, e));
    while (l->step < d->c->sampler.steps) {
        lockstep_step(l, d->ctx, d->watch->pass_done != NULL ? &progress : NULL);
        TRY(save_state(d, e));
        if (o->preview_every > 0 && l->step % o->preview_every == 0)
            TRY(write_preview(d, e));
        if (stop_asked(d) && l->step < d->c->sampler.steps)
            return fail(e, ERR_STOPPED, "stopped after step %d of %d", l->step, d->c->sampler.steps);
    }
    return OK;
}

/* -------------------------------------------------------------------------------------------------------- pictures */

static status write_picture(const struct drawing *d, const char *path, const struct image *image, struct error *e)
{
    return png_write(path, image, &(struct png_text){RECIPE_KEY, d->recipe.data}, 1, e);
}

/* A panel that --only redraws stays, as panel-03.before-1.png. */
static status keep_old(const struct comic *c, int number, const char *path, struct error *e)
{
    char kept[4200], name[64];
    if (c->options.overwrite || !file_exists(path))
        return OK;
    for (int i = 1; i < 1000; i++) {
        snprintf(name, sizeof name, "panel-%02d.before-%d.png", number, i);
        TRY(output_path(c, name, kept, sizeof kept, e));
        if (file_exists(kept))
            continue;
        if (rename(path, kept) != 0)
            return fail(e, ERR_IO, "%s: cannot be kept as %s: %s", path, name, strerror(errno));
        return OK;
    }
    return fail(e, ERR_IO, "%s: too many older versions of it; remove some", path);
}

/* Decodes and writes one wanted panel, or reads one that an earlier run drew. *present: whether there is a picture. */
static status panel_picture(struct drawing *d, const float *latents, struct features shape, int panel, struct image *image,
                            bool *present, struct error *e)
{
    char path[4200];
    const struct comic *c = d->c;
    TRY(numbered_path(c, "panel", panel + 1, path, sizeof path, e));
    *present = true;
    if (c->wanted[panel]) {
        struct features one = shape;
        one.x = (float *)latents + panel * features_count(shape);
        TRY(render_latents(d->ctx, &c->model, one, NULL, image, e));
        if (c->options.only != NULL)
            TRY(keep_old(c, panel + 1, path, e));
        TRY(write_picture(d, path, image, e));
        d->result->panels++;
        return OK;
    }
    *present = file_exists(path) && png_read(path, image, NULL) == OK && image->width == c->options.width &&
               image->height == c->options.height;
    if (!*present)
        image_free(image);
    return OK;
}

static status write_pages(struct drawing *d, const struct image *panels, struct error *e)
{
    const struct comic *c = d->c;
    struct page_plan plan = {0};
    struct image *pages = NULL;
    const char **captions = calloc((size_t)c->story.panel_count, sizeof *captions);
    if (captions == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the page");
    for (int i = 0; i < c->story.panel_count; i++)
        captions[i] = c->story.panels[i].caption;
    struct page_story story = {
        .kind = c->options.comic_type == COMIC_CLASSIC ? PAGE_CLASSIC : PAGE_FOUR,
        .count = c->story.panel_count,
        .width = (int)c->options.width,
        .height = (int)c->options.height,
        .captions = captions,
        .font = c->font,
    };
    status s = page_layout(&story, &plan, e);
    if (s == OK)
        s = page_draw(&story, &plan, panels, &pages, e);
    for (int i = 0; s == OK && i < plan.page_count; i++) {
        char path[4200];
        s = numbered_path(c, "page", i + 1, path, sizeof path, e);
        if (s == OK)
            s = write_picture(d, path, &pages[i], e);
        if (s == OK && i == 0)
            snprintf(d->result->first_page, sizeof d->result->first_page, "%s", path);
        d->result->pages += s == OK;
    }
    page_images_free(pages, plan.page_count);
    page_plan_free(&plan);
    free(captions);
    return s;
}

static status write_pictures(struct drawing *d, const float *latents, struct features shape, struct error *e)
{
    const struct comic *c = d->c;
    int count = c->story.panel_count, missing = 0;
    struct image *panels = calloc((size_t)count, sizeof *panels);
    if (panels == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the panels");
    status s = OK;
    for (int i = 0; s == OK && i < count; i++) {
        bool present = false;
        s = panel_picture(d, latents, shape, i, &panels[i], &present, e);
        missing += !present;
    }
    if (s == OK && c->options.comic_type != COMIC_NONE && missing == 0)
        s = write_pages(d, panels, e);
    else if (s == OK && missing > 0)
        notice(d, "no page: the output folder does not have the panels that --only left out");
    for (int i = 0; i < count; i++)
        image_free(&panels[i]);
    free(panels);
    return s;
}

/* --overwrite: results of another story, which this one would not replace name by name. */
static void remove_results(const struct comic *c)
{
    char name[256], path[4200];
    for (find_result(c->options.output_dir, name, sizeof name); name[0] != '\0'; find_result(c->options.output_dir, name, sizeof name))
        if (output_path(c, name, path, sizeof path, NULL) != OK || unlink(path) != 0)
            return;
}

/* Sampling memory is given back before the decoder takes its own. */
static status finish(struct drawing *d, struct error *e)
{
    struct lockstep *l = &d->lockstep;
    struct features shape = {NULL, 1, l->h, l->w, l->c};
    size_t bytes = (size_t)(l->request->panels * features_count(shape)) * sizeof(float);
    float *latents = malloc(bytes);
    if (latents == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for the latents");
    memcpy(latents, l->latents, bytes);
    lockstep_close(l);
    if (d->c->options.overwrite && d->c->options.only == NULL)
        remove_results(d->c);
    status s = write_pictures(d, latents, shape, e);
    free(latents);
    if (s == OK)
        unlink(d->state);
    return s;
}

static status draw(struct drawing *d, struct error *e)
{
    TRY(output_path(d->c, STATE, d->state, sizeof d->state, e));
    TRY(file_make_directory(d->c->options.output_dir, e));
    recipe_append(&d->recipe, d->c);
    if (d->recipe.failed)
        return fail(e, ERR_MEMORY, "not enough memory for the recipe");
    TRY(lockstep_open(&d->lockstep, &d->c->request, d->ctx->threads, d->ctx->observer, e));
    if (d->c->options.resume && file_exists(d->state))
        TRY(lockstep_load(&d->lockstep, d->state, e));
    else if (d->c->options.resume)
        notice(d, "nothing to resume: starting from the beginning");
    TRY(save_state(d, e));
    TRY(sample(d, e));
    return finish(d, e);
}

status draw_comic(const struct comic *c, const struct context *ctx, const struct draw_watch *watch,
                  struct draw_result *result, struct error *e)
{
    TRY(draw_check_output(c, result, e));
    if (result->was_finished)
        return OK;
    struct drawing d = {.c = c, .ctx = ctx, .watch = watch, .result = result};
    status s = draw(&d, e);
    lockstep_close(&d.lockstep);
    text_free(&d.recipe);
    return s;
}
