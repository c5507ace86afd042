#include "storydiff/comic/draw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/comic/output.h"
#include "storydiff/comic/publish.h"
#include "storydiff/comic/recipe.h"
#include "storydiff/comic/render.h"
#include "storydiff/picture/png.h"
#include "tensor/mapped.h"

/* A comic being drawn. */
struct job {
    const struct comic *c;
    const struct comic_request *request;
    const struct context *ctx;
    const struct draw_watch *watch;
    struct draw_result *result;
    struct output_path state;
    struct text state_recipe;
    struct preview_map preview;
    struct mapped_files files; /* the model's, the font's: as they were at the beginning */
    struct image *panels; /* [panel_count] what the pages are made of; empty where there is none */
};

static void notice(const struct job *j, const char *line)
{
    if (j->watch->notice != NULL)
        j->watch->notice(j->watch->self, line);
}

static void written(const struct job *j, const char *path)
{
    if (j->watch->written != NULL)
        j->watch->written(j->watch->self, path);
}

/* --------------------------------------------------------------------------------------------------------- steps */

static status save_state(const struct job *j, const struct lockstep *l, struct error *e)
{
    bool due = !j->c->settings.no_save && lockstep_is_complete(l);
    return !due ? OK : lockstep_save(l, j->state.text, j->state_recipe.data, e);
}

enum { PREVIEW_SCALE = 4 }; /* pixels per latent */

/* The probes of the preview are no part of the story: nobody watches them. */
static status prepare_preview(struct job *j, struct error *e)
{
    struct context unwatched = {.threads = j->ctx->threads};
    bool linear = j->c->settings.preview_every > 0 && !j->c->model->taesd.has_decoder;
    return linear ? preview_map_make(&unwatched, j->c->model, &j->preview, e) : OK;
}

/* One panel: a pixel per latent by the linear map, or half the size of what the tiny decoder draws. */
static status preview_panel(const struct job *j, const struct lockstep *l, int panel, struct image *one,
                            struct error *e)
{
    const float *latent = l->predicted + panel * l->h * l->w * l->c;
    if (!j->c->model->taesd.has_decoder)
        return preview_image(&j->preview, latent, l->h, l->w, one, e);
    struct context unwatched = {.threads = j->ctx->threads};
    struct image whole = {0};
    status s = preview_tiny(&unwatched, j->c->model, latent, l->h, l->w, &whole, e);
    if (s == OK)
        s = image_resize(&whole, PREVIEW_SCALE * l->w, PREVIEW_SCALE * l->h, one, e);
    image_free(&whole);
    return s;
}

int draw_preview_columns(int panels)
{
    return (int)ceil(sqrt(panels));
}

static status write_preview(const struct job *j, const struct lockstep *l, struct error *e)
{
    int panels = l->request->panels, columns = draw_preview_columns(panels), rows = (panels + columns - 1) / columns;
    struct output_path path;
    struct image sheet = {0};
    int64_t scale = j->c->model->taesd.has_decoder ? PREVIEW_SCALE : 1, w = scale * l->w, h = scale * l->h;
    TRY(image_new(w * columns, h * rows, &sheet, e));
    status s = OK;
    for (int i = 0; s == OK && i < panels; i++) {
        struct image one = {0};
        s = preview_panel(j, l, i, &one, e);
        if (s == OK)
            image_paste(&sheet, (int)(i % columns * w), (int)(i / columns * h), &one);
        image_free(&one);
    }
    struct image large = {0};
    if (s == OK)
        s = image_resize(&sheet, PREVIEW_SCALE * l->w * columns, PREVIEW_SCALE * l->h * rows, &large, e);
    if (s == OK)
        s = output_path(j->c, OUTPUT_PREVIEW, 0, &path, e);
    if (s == OK)
        s = png_write(path.text, &large, NULL, 0, e);
    if (s == OK)
        written(j, path.text);
    image_free(&large);
    image_free(&sheet);
    return s;
}

static status step_done(void *self, const struct lockstep *l, struct error *e)
{
    const struct job *j = self;
    int64_t every = j->c->settings.preview_every;
    TRY(mapped_files_same(&j->files, e));
    TRY(save_state(j, l, e));
    return every > 0 && l->step % every == 0 ? write_preview(j, l, e) : OK;
}

/* ------------------------------------------------------------------------------------------------------ pictures */

/* What is replaced goes when its successor is near: also panels of a longer story, whose numbers this one has not. */
static status sampled(void *self, struct error *e)
{
    const struct job *j = self;
    const struct settings *o = &j->c->settings;
    (void)e;
    if ((o->overwrite || o->resume) && o->only == NULL)
        output_remove_results(j->c);
    return OK;
}

static bool wants(void *self, int panel)
{
    const struct job *j = self;
    return j->c->wanted[panel];
}

static status picture(void *self, int panel, struct image *image, struct error *e)
{
    struct job *j = self;
    TRY(publish_panel(j->c, panel, image, j->watch, e));
    j->result->panels++;
    if (j->c->settings.comic_type == PAGE_NONE)
        return OK;
    j->panels[panel] = *image;
    *image = (struct image){0};
    return OK;
}

/* A panel that an earlier run drew. Fails if there is none that fits. */
static status read_panel(struct job *j, int panel, struct error *e)
{
    const struct settings *o = &j->c->settings;
    struct image *image = &j->panels[panel];
    struct output_path path;
    TRY(output_path(j->c, OUTPUT_PANEL, panel + 1, &path, e));
    if (!file_exists(path.text))
        return fail(e, ERR_ARGUMENT, "%s is not there: draw it with `only` %d", path.text, panel + 1);
    TRY(image_read(path.text, image, e));
    int64_t width = image->width, height = image->height;
    if (width == o->width && height == o->height)
        return OK;
    image_free(image);
    return fail(e, ERR_ARGUMENT, "%s has %lld x %lld px, not %lld x %lld: draw it with `only` %d", path.text,
                (long long)width, (long long)height, (long long)o->width, (long long)o->height, panel + 1);
}

static status make_pages(struct job *j, struct error *e)
{
    struct error why = {0};
    status s = OK;
    if (j->c->settings.comic_type == PAGE_NONE)
        return OK;
    for (int i = 0; i < j->c->story.panel_count && s == OK; i++)
        if (!j->c->wanted[i])
            s = read_panel(j, i, &why);
    if (s == OK)
        return publish_pages(j->c, j->panels, j->watch, j->result, e);
    char line[1100];
    snprintf(line, sizeof line, "no page, it would need the panels that `only` left out, but %.1000s", why.message);
    notice(j, line);
    return OK;
}

/* --------------------------------------------------------------------------------------------------------- a run */

/* Both needs against what there is, before hours are spent. */
static status check_memory(const struct job *j, const struct lockstep *l, struct memory_limit limit, struct error *e)
{
    size_t sampling = l->fixed.capacity + l->csa.memory.capacity + l->work.capacity;
    size_t decoding = render_measure(j->c->model, l->h, l->w, j->ctx->threads, NULL);
    char line[256];
    if (sampling > limit.hard || decoding > limit.hard)
        return fail(e, ERR_MEMORY,
                    "sampling takes %.0f MB and decoding %.0f MB besides the model's file, but %.0f MB are "
                    "left (%s): draw smaller (`height`, `width`), or find more memory",
                    (double)sampling / 1e6, (double)decoding / 1e6, (double)limit.hard / 1e6, limit.why);
    if (sampling > limit.soft || decoding > limit.soft) {
        snprintf(line, sizeof line,
                 "sampling takes %.0f MB and decoding %.0f MB, but %.0f MB are free: this may be slow",
                 (double)sampling / 1e6, (double)decoding / 1e6, (double)limit.soft / 1e6);
        notice(j, line);
    }
    return OK;
}

static status prepare(struct job *j, struct error *e)
{
    const struct comic *c = j->c;
    recipe_append(&j->state_recipe, c, RECIPE_OF_STATE, 0);
    j->panels = calloc((size_t)c->story.panel_count, sizeof *j->panels);
    if (j->state_recipe.failed || j->panels == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for %d panels", c->story.panel_count);
    return OK;
}

static status begin(struct job *j, struct lockstep *l, struct error *e)
{
    const struct comic *c = j->c;
    TRY(output_path(c, OUTPUT_STATE, 0, &j->state, e));
    TRY(prepare(j, e));
    struct memory_limit limit = memory_left(); /* before any is taken */
    TRY(lockstep_open(l, &j->request->lockstep, j->ctx->threads, j->ctx->observer, e));
    TRY(check_memory(j, l, limit, e));
    TRY(mapped_files_note(&j->files, e));
    output_remove_leftovers(c);
    if (c->settings.resume && file_exists(j->state.text))
        return lockstep_load(l, j->state.text, e);
    if (c->settings.resume)
        notice(j, "nothing to resume: starting from the beginning");
    TRY(output_keep(c, e));
    return save_state(j, l, e);
}

static status draw(struct job *j, struct lockstep *l, struct error *e)
{
    const struct draw_sink sink = {step_done, sampled, wants, picture, j};
    TRY(begin(j, l, e));
    TRY(prepare_preview(j, e));
    TRY(drawing_run(l, j->ctx, j->watch, &sink, e));
    TRY(make_pages(j, e));
    unlink(j->state.text);
    return OK;
}

static void job_free(struct job *j)
{
    for (int i = 0; j->panels != NULL && i < j->c->story.panel_count; i++)
        image_free(&j->panels[i]);
    free(j->panels);
    text_free(&j->state_recipe);
    mapped_files_free(&j->files);
}

status draw_comic(const struct comic *c, const struct comic_request *request, const struct context *ctx,
                  const struct draw_watch *watch, struct draw_result *result, struct error *e)
{
    struct job j = {.c = c, .request = request, .ctx = ctx, .watch = watch, .result = result};
    struct lockstep lockstep = {0};
    *result = (struct draw_result){0};
    status s = draw(&j, &lockstep, e);
    lockstep_close(&lockstep);
    job_free(&j);
    return s;
}

static status lay_out_again(struct job *j, struct error *e)
{
    TRY(prepare(j, e));
    for (int i = 0; i < j->c->story.panel_count; i++)
        if (read_panel(j, i, e) != OK)
            return fail_context(e, "`pages_only`");
    TRY(output_keep(j->c, e));
    return publish_pages(j->c, j->panels, j->watch, j->result, e);
}

status draw_pages_only(const struct comic *c, const struct draw_watch *watch, struct draw_result *result,
                       struct error *e)
{
    struct job j = {.c = c, .watch = watch, .result = result};
    *result = (struct draw_result){0};
    status s = lay_out_again(&j, e);
    job_free(&j);
    return s;
}
