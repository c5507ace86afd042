#include "storydiff/comic/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/comic/output.h"
#include "storydiff/picture/png.h"
#include "storydiff/comic/recipe.h"
#include "storydiff/comic/render.h"

/* One drawing under way. */
struct drawing {
    const struct comic *c;
    const struct context *ctx;
    const struct draw_watch *watch;
    struct draw_result *result;
    struct output_path state;
    struct text recipe, state_recipe;
    struct lockstep lockstep;
    struct preview_map preview;
};

static void notice(const struct drawing *d, const char *line)
{
    if (d->watch->notice != NULL)
        d->watch->notice(d->watch->self, line);
}

static bool stop_asked(const struct drawing *d)
{
    return d->watch->stop != NULL && *d->watch->stop;
}

/* ------------------------------------------------------------------------------------------------------ sampling */

static status save_state(struct drawing *d, struct error *e)
{
    if (d->c->options.no_save)
        return OK;
    return lockstep_save(&d->lockstep, d->state.text, d->state_recipe.data, e);
}

/* All panels on one sheet, as nearly square as may be. */
static status write_preview(struct drawing *d, struct error *e)
{
    const struct lockstep *l = &d->lockstep;
    int panels = l->request->panels, columns = (int)ceil(sqrt(panels)), rows = (panels + columns - 1) / columns;
    struct output_path path;
    struct image sheet = {0};
    int64_t size = l->h * l->w * l->c;
    TRY(image_new(l->w * columns, l->h * rows, &sheet, e));
    status s = OK;
    for (int i = 0; s == OK && i < panels; i++) {
        struct image one = {0};
        s = preview_image(&d->preview, l->predicted + i * size, l->h, l->w, &one, e);
        if (s == OK)
            image_paste(&sheet, (int)(i % columns * l->w), (int)(i / columns * l->h), &one);
        image_free(&one);
    }
    struct image large = {0};
    if (s == OK)
        s = image_resize(&sheet, 4 * (int64_t)sheet.width, 4 * (int64_t)sheet.height, &large, e);
    if (s == OK)
        s = output_path(d->c, OUTPUT_PREVIEW, 0, &path, e);
    if (s == OK)
        s = png_write(path.text, &large, NULL, 0, e);
    image_free(&large);
    image_free(&sheet);
    return s;
}

static status sample(struct drawing *d, struct error *e)
{
    struct lockstep *l = &d->lockstep;
    const struct options *o = &d->c->options;
    int steps = d->c->sampler.steps;
    struct lockstep_watch watch = {d->watch->pass_begins, d->watch->pass_done, d->watch->self};
    struct context unwatched = *d->ctx; /* the probes of the preview are no part of the story */
    unwatched.observer = NULL;
    unwatched.profile = NULL;
    if (o->preview_every > 0)
        TRY(preview_map_make(&unwatched, &d->c->model, &d->preview, e));
    while (l->step < steps) {
        lockstep_step(l, d->ctx, &watch);
        TRY(save_state(d, e));
        if (o->preview_every > 0 && l->step % o->preview_every == 0)
            TRY(write_preview(d, e));
        if (stop_asked(d) && l->step < steps)
            return fail(e, ERR_STOPPED, "stopped after step %d of %d", l->step, steps);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------------ pictures */

static status write_picture(const struct drawing *d, const char *path, const struct image *image, struct error *e)
{
    return png_write(path, image, &(struct png_text){RECIPE_KEY, d->recipe.data}, 1, e);
}

static status draw_panel(struct drawing *d, const float *latents, struct features shape, int panel, const char *path,
                         struct image *image, struct error *e)
{
    struct features one = shape;
    one.x = (float *)latents + panel * features_count(shape);
    if (stop_asked(d))
        return fail(e, ERR_STOPPED, "stopped before the picture of panel %d", panel + 1);
    if (d->watch->decodes != NULL)
        d->watch->decodes(d->watch->self, panel);
    TRY(render_latents_watched(d->ctx, &d->c->model, one, NULL, image, d->watch->memory, e));
    TRY(write_picture(d, path, image, e));
    d->result->panels++;
    return OK;
}

/* Decodes and writes one wanted panel, or reads one that an earlier run drew. *present: there is a picture. */
static status panel_picture(struct drawing *d, const float *latents, struct features shape, int panel,
                            struct image *image, bool *present, struct error *e)
{
    struct output_path path;
    const struct comic *c = d->c;
    TRY(output_path(c, OUTPUT_PANEL, panel + 1, &path, e));
    *present = true;
    if (c->wanted[panel])
        return draw_panel(d, latents, shape, panel, path.text, image, e);
    *present = file_exists(path.text) && png_read(path.text, image, NULL) == OK && image->width == c->options.width &&
               image->height == c->options.height;
    if (!*present)
        image_free(image);
    return OK;
}

static status write_pages(struct drawing *d, const struct image *panels, struct error *e)
{
    const struct comic *c = d->c;
    struct page_story story = comic_page_story(c);
    struct image *pages = NULL;
    status s = page_draw(&story, &c->pages, panels, &pages, e);
    memory_look(d->watch->memory);
    for (int i = 0; s == OK && i < c->pages.page_count; i++) {
        struct output_path path;
        s = output_path(c, OUTPUT_PAGE, i + 1, &path, e);
        if (s == OK)
            s = write_picture(d, path.text, &pages[i], e);
        if (s == OK && i == 0)
            memcpy(d->result->first_page, path.text, sizeof path.text);
        d->result->pages += s == OK;
    }
    page_images_free(pages, c->pages.page_count);
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

/* Sampling memory is given back before the decoder takes its own. */
static status finish(struct drawing *d, struct error *e)
{
    struct lockstep *l = &d->lockstep;
    const struct options *o = &d->c->options;
    struct features shape = {NULL, 1, l->h, l->w, l->c};
    float *latents;
    TRY(lockstep_take_latents(l, &latents, e));
    if ((o->overwrite || o->resume) && o->only == NULL) /* also those of a longer story, whose numbers this has not */
        output_remove_results(d->c);
    status s = write_pictures(d, latents, shape, e);
    free(latents);
    if (s == OK)
        unlink(d->state.text);
    return s;
}

static status begin(struct drawing *d, struct error *e)
{
    const struct comic *c = d->c;
    TRY(output_path(c, OUTPUT_STATE, 0, &d->state, e));
    recipe_append(&d->recipe, c, RECIPE_OF_PICTURE);
    recipe_append(&d->state_recipe, c, RECIPE_OF_STATE);
    if (d->recipe.failed || d->state_recipe.failed)
        return fail(e, ERR_MEMORY, "not enough memory for the recipe");
    TRY(lockstep_open(&d->lockstep, &c->request, d->ctx->threads, d->ctx->observer, e));
    TRY(file_make_directory(c->options.output_dir, e));
    output_remove_leftovers(c);
    if (c->options.resume && file_exists(d->state.text))
        return lockstep_load(&d->lockstep, d->state.text, e);
    if (c->options.resume)
        notice(d, "nothing to resume: starting from the beginning");
    TRY(output_keep(c, e));
    return save_state(d, e);
}

static status draw(struct drawing *d, struct error *e)
{
    TRY(begin(d, e));
    if (d->watch->begins != NULL)
        d->watch->begins(d->watch->self, d->lockstep.step);
    TRY(sample(d, e));
    return finish(d, e);
}

status draw_comic(const struct comic *c, const struct context *ctx, const struct draw_watch *watch,
                  struct draw_result *result, struct error *e)
{
    struct drawing d = {.c = c, .ctx = ctx, .watch = watch, .result = result};
    *result = (struct draw_result){0};
    status s = draw(&d, e);
    lockstep_close(&d.lockstep);
    text_free(&d.recipe);
    text_free(&d.state_recipe);
    return s;
}
