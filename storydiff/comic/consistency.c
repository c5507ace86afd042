#include "storydiff/comic/consistency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/output.h"

/* ------------------------------------------------------------------------------------------------------- palette */

enum { AXES = 3 };
static const int axis_bins[AXES] = {PALETTE_RG, PALETTE_BY, PALETTE_WB};

/* A coordinate of the grid of bins: the bin below, and how far it is to the next. */
static int split(double x, int bins, double *fraction)
{
    int below = (int)x < bins - 1 ? (int)x : bins - 2;
    *fraction = x - below;
    return below;
}

/* One pixel of weight 1, shared among the eight bins around its colour. */
static void add_pixel(struct palette *p, const uint8_t *rgb)
{
    double r = rgb[0] / 255.0, g = rgb[1] / 255.0, b = rgb[2] / 255.0;
    const double position[AXES] = {(r - g + 1) / 2, (2 * b - r - g + 2) / 4, (r + g + b) / 3}; /* each 0 .. 1 */
    int below[AXES];
    double fraction[AXES];
    for (int a = 0; a < AXES; a++)
        below[a] = split(position[a] * (axis_bins[a] - 1), axis_bins[a], &fraction[a]);
    for (int corner = 0; corner < 1 << AXES; corner++) {
        double share = 1;
        int bin = 0;
        for (int a = 0; a < AXES; a++) {
            int above = corner >> a & 1;
            share *= above ? fraction[a] : 1 - fraction[a];
            bin = bin * axis_bins[a] + below[a] + above;
        }
        p->share[bin] += share;
    }
}

/* The histogram of the columns first .. last - 1, added to. */
static void add_columns(struct palette *p, const struct image *image, int first, int last)
{
    for (int y = 0; y < image->height; y++)
        for (int x = first; x < last; x++)
            add_pixel(p, image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3);
}

static double total(const struct palette *p)
{
    double sum = 0;
    for (int i = 0; i < PALETTE_BINS; i++)
        sum += p->share[i];
    return sum;
}

static void scale_to_one(struct palette *p)
{
    double sum = total(p);
    for (int i = 0; i < PALETTE_BINS && sum > 0; i++)
        p->share[i] /= sum;
}

struct palette palette_of(const struct image *image)
{
    const double least = 1e-3; /* less than this is rounding and noise, not a character */
    struct palette middle = {{0}}, edges = {{0}}, excess = {{0}};
    int edge = image->width / 8;
    add_columns(&middle, image, edge, image->width - edge);
    add_columns(&edges, image, 0, edge);
    add_columns(&edges, image, image->width - edge, image->width);
    scale_to_one(&middle);
    scale_to_one(&edges);
    for (int i = 0; i < PALETTE_BINS; i++)
        if (middle.share[i] > edges.share[i])
            excess.share[i] = middle.share[i] - edges.share[i];
    if (total(&excess) < least)
        return middle;
    scale_to_one(&excess);
    return excess;
}

double palette_agreement(const struct palette *one, const struct palette *panel, int k)
{
    double sum = 0;
    for (int i = 0; i < PALETTE_BINS; i++) {
        double share = k * panel->share[i];
        sum += share < one->share[i] ? share : one->share[i];
    }
    return sum;
}

/* --------------------------------------------------------------------------------------------------------- pairs */

struct pairs {
    const struct story_plan *plan;
    const struct palette *palettes;
    struct consistency sums; /* means are sums until the end */
};

static void add_pair(struct pairs *p, enum consistency_row row, int one, int panel, int k)
{
    struct consistency_mean *m = &p->sums.rows[row];
    m->pairs++;
    if (p->palettes != NULL)
        m->mean += palette_agreement(&p->palettes[one], &p->palettes[panel], k);
}

static void add_among(struct pairs *p, const struct story_pass *write)
{
    for (int i = 0; i < write->panel_count; i++)
        for (int j = i + 1; j < write->panel_count; j++)
            add_pair(p, CONSISTENCY_ID_PANELS, write->panels[i], write->panels[j], 1);
}

static void add_between(struct pairs *p, const struct story_pass *a, const struct story_pass *b)
{
    for (int i = 0; i < a->panel_count; i++)
        for (int j = 0; j < b->panel_count; j++)
            add_pair(p, CONSISTENCY_DIFFERENT, a->panels[i], b->panels[j], 1);
}

static bool shows(const struct story_pass *read, int character)
{
    for (int i = 0; i < read->character_count; i++)
        if (read->characters[i] == character)
            return true;
    return false;
}

static void add_pairs_of(struct pairs *p, int character)
{
    const struct story_pass *passes = p->plan->passes, *write = &passes[character]; /* in the order of the cast */
    add_among(p, write);
    for (int i = 0; i < character; i++)
        add_between(p, write, &passes[i]);
    for (int i = p->plan->cast_count; i < p->plan->pass_count; i++)
        for (int j = 0; j < write->panel_count && shows(&passes[i], character); j++)
            add_pair(p, CONSISTENCY_STORY_PANELS, write->panels[j], passes[i].panels[0], passes[i].character_count);
}

struct consistency consistency_of(const struct story_plan *plan, const struct palette *palettes)
{
    struct pairs p = {.plan = plan, .palettes = palettes};
    struct consistency_mean *rows = p.sums.rows;
    for (int i = 0; i < plan->cast_count; i++)
        add_pairs_of(&p, i);
    rows[CONSISTENCY_ALL].pairs = rows[CONSISTENCY_ID_PANELS].pairs + rows[CONSISTENCY_STORY_PANELS].pairs;
    rows[CONSISTENCY_ALL].mean = rows[CONSISTENCY_ID_PANELS].mean + rows[CONSISTENCY_STORY_PANELS].mean;
    for (int i = 0; i < CONSISTENCY_ROWS; i++)
        if (rows[i].pairs > 0)
            rows[i].mean /= rows[i].pairs;
    return p.sums;
}

/* ------------------------------------------------------------------------------------------------------ pictures */

static bool shows_nobody(const struct comic *c, int panel)
{
    return c->plan.passes[c->plan.places[panel].pass].character_count == 0;
}

status consistency_of_results(const struct comic *c, struct palette *palettes, struct error *e)
{
    for (int i = 0; i < c->story.panel_count; i++) {
        struct output_path path;
        struct image image = {0};
        if (shows_nobody(c, i))
            continue;
        TRY(output_path(c, OUTPUT_PANEL, i + 1, &path, e));
        TRY(image_read(path.text, &image, e));
        palettes[i] = palette_of(&image);
        image_free(&image);
    }
    return OK;
}

/* The sink of the second drawing: of a picture it keeps the palette alone. */
struct second {
    const struct comic *c;
    struct palette *palettes;
};

static bool wants(void *self, int panel)
{
    const struct second *d = self;
    return !shows_nobody(d->c, panel);
}

static status picture(void *self, int panel, struct image *image, struct error *e)
{
    const struct second *d = self;
    (void)e;
    d->palettes[panel] = palette_of(image);
    return OK;
}

status consistency_without_csa(const struct comic *c, const struct comic_request *drawn, const struct context *ctx,
                               const struct draw_watch *watch, struct palette *palettes, struct error *e)
{
    struct second d = {c, palettes};
    const struct draw_sink sink = {.wants = wants, .picture = picture, .self = &d};
    struct lockstep_request request = drawn->lockstep;
    struct lockstep lockstep = {0};
    request.csa.mode = CSA_OFF;
    status s = lockstep_open(&lockstep, &request, ctx->threads, ctx->observer, e);
    if (s == OK)
        s = drawing_run(&lockstep, ctx, watch, &sink, e);
    lockstep_close(&lockstep);
    return s == ERR_STOPPED ? fail_context(e, "the story is drawn; its drawing without csa") : s;
}

/* --------------------------------------------------------------------------------------------------------- table */

void consistency_append(struct text *out, const char *csa, const struct consistency *drawn,
                        const struct consistency *without)
{
    static const char *const names[CONSISTENCY_ROWS] = {"id panels among themselves", "story panels with id panels",
                                                        "all of these", "different characters"};
    char title[32];
    snprintf(title, sizeof title, "csa %s", csa);
    text_append(out, "%-28s %7s %12s", "consistency, from 0 to 1", "pairs", title);
    text_append(out, without != NULL ? " %12s\n" : "\n", "csa off");
    for (int i = 0; i < CONSISTENCY_ROWS; i++) {
        if (drawn->rows[i].pairs == 0)
            continue;
        text_append(out, "%-28s %7d %12.3f", names[i], drawn->rows[i].pairs, drawn->rows[i].mean);
        if (without != NULL)
            text_append(out, " %12.3f", without->rows[i].mean);
        text_append(out, "\n");
    }
}
