#include "storydiff/progress.h"

#include <unistd.h>

#include "tensor/profile.h"

void progress_start(struct progress *p, const struct comic *c, FILE *out)
{
    *p = (struct progress){.out = out, .comic = c, .terminal = isatty(fileno(out)), .start = seconds_now()};
    p->last = p->start;
}

static int panels_per_step(const struct lockstep_request *r)
{
    int panels = 0;
    for (int i = 0; i < r->pass_count; i++)
        panels += r->passes[i].panel_count;
    return panels;
}

static int panels_after(const struct lockstep_request *r, int pass)
{
    int panels = 0;
    for (int i = pass + 1; i < r->pass_count; i++)
        panels += r->passes[i].panel_count;
    return panels;
}

void progress_pass_done(void *self, int step, int pass)
{
    struct progress *p = self;
    const struct lockstep_request *r = &p->comic->request;
    const struct lockstep_pass *done = &r->passes[pass];
    double now = seconds_now();
    p->done += done->panel_count;
    bool last = step == r->sampler->steps - 1 && pass == r->pass_count - 1;
    if (!last && now - p->last < (p->terminal ? 0.2 : 10))
        return;
    double left = (double)(r->sampler->steps - 1 - step) * panels_per_step(r) + panels_after(r, pass);
    double seconds = (now - p->start) / p->done * left;
    fprintf(p->out, "%sstep %d of %d, panel %d%s: %.0f s left%s", p->terminal ? "\r" : "", step + 1, r->sampler->steps,
            done->panels[0] + 1, done->panel_count > 1 ? " and its id panels" : "", seconds, p->terminal ? "\033[K" : "\n");
    fflush(p->out);
    p->last = now;
    p->shown = true;
}

void progress_end(struct progress *p)
{
    if (p->terminal && p->shown)
        fputc('\n', p->out);
}
