#include "storydiff/comic/drawing.h"

#include <stdio.h>
#include <stdlib.h>

#include "storydiff/comic/render.h"
#include "tensor/finite.h"

static bool stop_asked(const struct draw_watch *watch)
{
    return watch->stop != NULL && *watch->stop;
}

static status check_latents(const struct lockstep *l, struct error *e)
{
    int64_t size = l->h * l->w * l->c;
    char stage[64];
    for (int i = 0; i < l->request->panels; i++) {
        if (all_finite(l->latents + i * size, size))
            continue;
        snprintf(stage, sizeof stage, "step %d of %d, panel %d", l->step, l->request->sampler->steps, i + 1);
        return model_fail_not_finite(l->request->model, stage, e);
    }
    return OK;
}

static status sample(struct lockstep *l, const struct context *ctx, const struct draw_watch *watch,
                     const struct draw_sink *sink, struct error *e)
{
    int steps = l->request->sampler->steps;
    while (l->step < steps) {
        lockstep_step(l, ctx, &watch->passes);
        TRY(lockstep_check(l, e));
        TRY(check_latents(l, e));
        if (sink->step_done != NULL)
            TRY(sink->step_done(sink->self, l, e));
        if (watch->step_saved != NULL)
            watch->step_saved(watch->self, l->step - 1);
        if (stop_asked(watch) && l->step < steps && lockstep_is_complete(l))
            return fail(e, ERR_STOPPED, "stopped after step %d of %d", l->step, steps);
    }
    return sink->sampled != NULL ? sink->sampled(sink->self, e) : OK;
}

/* one: the latent of the first panel; the others follow it. */
static status decode(const struct model *m, int panels, struct features one, const struct context *ctx,
                     const struct draw_watch *watch, const struct draw_sink *sink, struct error *e)
{
    for (int i = 0; i < panels; i++, one.x += features_count(one)) {
        struct image image = {0};
        if (!sink->wants(sink->self, i))
            continue;
        if (stop_asked(watch))
            return fail(e, ERR_STOPPED, "stopped before the picture of panel %d", i + 1);
        if (watch->decodes != NULL)
            watch->decodes(watch->self, i);
        TRY(render_latents_watched(ctx, m, one, NULL, &image, watch->memory, e));
        status s = sink->picture(sink->self, i, &image, e);
        image_free(&image);
        TRY(s);
    }
    return OK;
}

status drawing_run(struct lockstep *l, const struct context *ctx, const struct draw_watch *watch,
                   const struct draw_sink *sink, struct error *e)
{
    const struct lockstep_request *r = l->request;
    struct features one = {NULL, 1, l->h, l->w, l->c};
    float *latents;
    if (watch->begins != NULL)
        watch->begins(watch->self, l->step);
    TRY(sample(l, ctx, watch, sink, e));
    TRY(lockstep_take_latents(l, &latents, e));
    one.x = latents;
    status s = decode(r->model, r->panels, one, ctx, watch, sink, e);
    if (s == ERR_MEMORY)
        fail_context(e, "all steps are done and saved; go on with `resume` where there is more memory");
    free(latents);
    return s;
}
