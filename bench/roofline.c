#include "bench/roofline.h"

#include <math.h>
#include <stdio.h>

/* The plot's own coordinates: 0.25 .. 2048 flops a byte, 1 .. 2048 GFLOP/s (or more), as powers of two. */
enum { WIDTH = 960, HEIGHT = 600, LEFT = 70, RIGHT = 20, TOP = 50, BOTTOM = 50, FIRST_X = -2, LAST_X = 11 };

struct plot {
    struct text *t;
    int first_y, last_y; /* powers of two of GFLOP/s */
};

static double at_x(double intensity)
{
    double place = (log2(intensity) - FIRST_X) / (LAST_X - FIRST_X);
    return LEFT + fmin(fmax(place, 0), 1) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct plot *p, double gflops)
{
    double place = (log2(gflops) - p->first_y) / (p->last_y - p->first_y);
    return HEIGHT - BOTTOM - fmin(fmax(place, 0), 1) * (HEIGHT - TOP - BOTTOM);
}

static void line(const struct plot *p, double x1, double y1, double x2, double y2, const char *style)
{
    text_append(p->t, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

static void label(const struct plot *p, double x, double y, const char *anchor, const char *words)
{
    text_append(p->t, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, words);
}

static void axes(const struct plot *p)
{
    static const char grid[] = "stroke=\"#ddd\"";
    char number[32];
    for (int i = FIRST_X; i <= LAST_X; i++) {
        double x = at_x(exp2(i));
        line(p, x, TOP, x, HEIGHT - BOTTOM, grid);
        snprintf(number, sizeof number, "%g", exp2(i));
        label(p, x, HEIGHT - BOTTOM + 18, "middle", number);
    }
    for (int i = p->first_y; i <= p->last_y; i++) {
        double y = at_y(p, exp2(i));
        line(p, LEFT, y, WIDTH - RIGHT, y, grid);
        snprintf(number, sizeof number, "%g", exp2(i));
        label(p, LEFT - 8, y + 4, "end", number);
    }
    label(p, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10, "middle", "flops per byte of memory traffic");
    label(p, LEFT, TOP - 12, "start", "GFLOP/s");
}

/* The means of what was measured beside the kernels. */
static void roofs(const struct plot *p, double peak, double copy)
{
    static const char style[] = "stroke=\"#333\" stroke-width=\"2\"";
    double ridge = peak / copy, first = exp2(FIRST_X);
    char words[96];
    line(p, at_x(first), at_y(p, first * copy / 1e9), at_x(ridge), at_y(p, peak / 1e9), style);
    line(p, at_x(ridge), at_y(p, peak / 1e9), WIDTH - RIGHT, at_y(p, peak / 1e9), style);
    snprintf(words, sizeof words, "peak %.0f GFLOP/s, copying %.1f GB/s", peak / 1e9, copy / 1e9);
    label(p, WIDTH - RIGHT - 8, HEIGHT - BOTTOM - 10, "end", words);
}

static const struct kind_style {
    enum case_kind kind;
    const char *name, *colour;
} kinds[] = {{CASE_LINEAR, "linear", "#1f6fb4"},
             {CASE_CONV, "convolution", "#c8501e"},
             {CASE_ATTENTION, "attention", "#2a8c3c"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void points(const struct plot *p, const struct report *r, const struct kind_style *style)
{
    for (const struct measurement *m = r->items; m < r->items + r->count; m++) {
        if (m->c->kind != style->kind)
            continue;
        double x = at_x(m->size.flops / m->size.bytes), best = measurement_best_peer(m);
        if (best > 0)
            text_append(p->t, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"none\" stroke=\"%s\"/>\n", x,
                        at_y(p, m->size.flops / best / 1e9), style->colour);
        text_append(p->t,
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>%s, %lld px: %.1f %% of "
                    "peak</title></circle>\n",
                    x, at_y(p, m->size.flops / m->seconds / 1e9), style->colour, m->c->name, (long long)m->px,
                    measurement_percent(m));
    }
}

static void legend(const struct plot *p)
{
    double x = LEFT + 100;
    for (int i = 0; i < KINDS; i++, x += 130) {
        text_append(p->t, "<circle cx=\"%.1f\" cy=\"%d\" r=\"4\" fill=\"%s\"/>\n", x, TOP - 16, kinds[i].colour);
        label(p, x + 10, TOP - 12, "start", kinds[i].name);
    }
    label(p, x, TOP - 12, "start", "rings: the best other library");
}

void roofline_append(struct text *t, const struct report *r)
{
    double peak = 0, copy = 0, fastest = 0;
    for (const struct measurement *m = r->items; m < r->items + r->count; m++) {
        peak += m->peak_flops / r->count;
        copy += m->copy_bytes / r->count;
        fastest = fmax(fastest, m->size.flops / m->seconds);
    }
    struct plot p = {.t = t, .first_y = 0, .last_y = (int)ceil(log2(fmax(fmax(peak, fastest) / 1e9, 2)))};
    text_append(t, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
                   "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", WIDTH, HEIGHT);
    axes(&p);
    if (r->count > 0)
        roofs(&p, peak, copy);
    for (int i = 0; i < KINDS; i++)
        points(&p, r, &kinds[i]);
    legend(&p);
    text_append(t, "</svg>\n");
}
