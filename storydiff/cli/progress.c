#include "storydiff/cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tensor/profile.h"

void progress_start(struct progress *p, const struct lockstep_request *request, const char *label, FILE *out)
{
    double now = seconds_now();
    const char *kind = getenv("TERM");
    bool plain = kind == NULL || kind[0] == '\0' || strcmp(kind, "dumb") == 0; /* knows no escape codes */
    *p = (struct progress){out, request, label, .terminal = isatty(fileno(out)) && !plain, .start = now, .last = now};
}

static int panels_per_half(const struct lockstep_request *r)
{
    int panels = 0;
    for (int i = 0; i < r->pass_count; i++)
        panels += r->passes[i].panel_count;
    return panels;
}

/* Still to come in this step: what follows in this half, and the halves after it. */
static int panels_after(const struct lockstep_request *r, int half, int pass)
{
    int panels = (lockstep_halves(r) - 1 - half) * panels_per_half(r);
    for (int i = pass + 1; i < r->pass_count; i++)
        panels += r->passes[i].panel_count;
    return panels;
}

/* On a terminal the line is rewritten, at most five times a second; a log gets one every ten seconds. */
static bool is_due(struct progress *p)
{
    double now = seconds_now();
    if (now - p->last < (p->terminal ? 0.2 : 10))
        return false;
    p->last = now;
    return true;
}

/* Of the terminal now: people resize windows. A longer line would be continued below and stay there. */
static int columns(const struct progress *p)
{
    struct winsize size;
    return ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

static void show(struct progress *p, const char *line)
{
    char whole[256];
    int length = snprintf(whole, sizeof whole, "%s%s", p->label, line), room = columns(p) - 1;
    if (p->terminal)
        fprintf(p->out, "\r%.*s\033[K", length > room ? room : length, whole);
    else
        fprintf(p->out, "%s\n", whole);
    fflush(p->out);
    p->shown = true;
}

double progress_seconds_left(const struct progress *p, int step, int half, int pass)
{
    const struct lockstep_request *r = p->request;
    double left = panels_after(r, half, pass);
    for (int later = step + 1; later < r->sampler->steps; later++)
        left += (double)(lockstep_halves(r) - lockstep_first_half(r, later)) * panels_per_half(r);
    return (seconds_now() - p->start) / p->done * left;
}

void progress_pass_done(struct progress *p, int step, int half, int pass)
{
    const struct lockstep_request *r = p->request;
    const struct story_pass *done = &r->passes[pass];
    char line[128];
    p->done += done->panel_count;
    int halves = lockstep_halves(r);
    bool last = (step == r->sampler->steps - 1 || sampler_stands_still(r->sampler, step + 1)) && half == halves - 1 &&
                pass == r->pass_count - 1;
    if (!is_due(p) && !last)
        return;
    snprintf(line, sizeof line, "step %d of %d, panel %d%s: %.0f s left", step + 1, r->sampler->steps,
             done->panels[0] + 1, done->panel_count > 1 ? " and its id panels" : "",
             progress_seconds_left(p, step, half, pass));
    show(p, line);
}

void progress_decodes(struct progress *p, int panel)
{
    char line[64];
    snprintf(line, sizeof line, "picture of panel %d", panel + 1);
    if (is_due(p))
        show(p, line);
}

void progress_end(struct progress *p)
{
    if (p->terminal && p->shown)
        fputc('\n', p->out);
}
