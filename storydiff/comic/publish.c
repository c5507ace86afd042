#include "storydiff/comic/publish.h"

#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/output.h"
#include "storydiff/comic/parameters.h"
#include "storydiff/comic/recipe.h"
#include "storydiff/page/cbz.h"
#include "storydiff/page/pdf.h"
#include "storydiff/picture/png.h"
#include "tensor/file.h"

static void written(const struct draw_watch *watch, const char *path)
{
    if (watch->written != NULL)
        watch->written(watch->self, path);
}

/* *png: a PNG with both texts, malloced. panels: [count] that it shows. */
static status encode(const struct comic *c, enum recipe_use use, const int *panels, int count,
                     const struct image *image, unsigned char **png, size_t *size, struct error *e)
{
    struct text recipe = {0}, parameters = {0};
    recipe_append(&recipe, c, use, panels[0]);
    parameters_append(&parameters, c, panels, count);
    const struct png_text texts[] = {{RECIPE_KEY, recipe.data}, {PARAMETERS_KEY, parameters.data}};
    status s = recipe.failed || parameters.failed ? fail(e, ERR_MEMORY, "not enough memory for a picture's recipe")
                                                  : png_encode(image, texts, 2, png, size, e);
    text_free(&recipe);
    text_free(&parameters);
    return s;
}

status publish_panel(const struct comic *c, int panel, const struct image *image,
                     const struct draw_watch *watch, struct error *e)
{
    struct output_path path;
    unsigned char *png = NULL;
    size_t size;
    TRY(output_path(c, OUTPUT_PANEL, panel + 1, &path, e));
    TRY(encode(c, RECIPE_OF_PANEL, &panel, 1, image, &png, &size, e));
    status s = file_write(path.text, png, size, e);
    free(png);
    if (s == OK)
        written(watch, path.text);
    return s;
}

/* The books being filled, page by page. */
struct books {
    const struct comic *c;
    const struct draw_watch *watch;
    struct draw_result *result;
    struct page_story story;
    struct page_plan plan; /* as the pictures ask for */
    struct pdf pdf;
    struct cbz cbz;
    struct output_path pdf_path, cbz_path;
    int *panels; /* [panel_count] room for those of one page */
};

static void done(const struct books *b, const char *path)
{
    written(b->watch, path);
}

static status open_books(struct books *b, struct error *e)
{
    const struct comic *c = b->c;
    if (c->formats & FORMAT_PDF) {
        TRY(output_path(c, OUTPUT_PDF, 0, &b->pdf_path, e));
        TRY(pdf_begin(&b->pdf, b->pdf_path.text, c->font, e));
    }
    if (c->formats & FORMAT_CBZ) {
        TRY(output_path(c, OUTPUT_CBZ, 0, &b->cbz_path, e));
        TRY(cbz_begin(&b->cbz, b->cbz_path.text, e));
    }
    return OK;
}

static status close_books(struct books *b, struct error *e)
{
    const char *name = b->c->settings.title;
    struct text summary = {0};
    if (b->c->formats & FORMAT_PDF) {
        TRY(pdf_end(&b->pdf, name, e));
        done(b, b->pdf_path.text);
    }
    if (!(b->c->formats & FORMAT_CBZ))
        return OK;
    for (int i = 0; i < b->c->story.panel_count; i++)
        text_append(&summary, "%s%s", i > 0 ? "\n" : "", b->c->story.panels[i].caption);
    status s = summary.failed ? fail(e, ERR_MEMORY, "not enough memory for a CBZ")
                              : cbz_end(&b->cbz, name, summary.data, e);
    text_free(&summary);
    if (s == OK)
        done(b, b->cbz_path.text);
    return s;
}

static status add_to_pdf(struct books *b, int page, const unsigned char *png, size_t size, struct error *e)
{
    struct page_line *lines;
    int count;
    TRY(page_lines(&b->story, &b->plan, page, &lines, &count, e));
    status s = pdf_page(&b->pdf, png, size, lines, count, e);
    free(lines);
    return s;
}

static status add(struct books *b, int page, const struct image *image, struct error *e)
{
    const struct comic *c = b->c;
    struct output_path path;
    unsigned char *png = NULL;
    size_t size;
    int count = 0;
    for (int i = 0; i < c->story.panel_count; i++)
        if (b->plan.panels[i].page == page)
            b->panels[count++] = i;
    TRY(output_path(c, OUTPUT_PAGE, page + 1, &path, e));
    TRY(encode(c, RECIPE_OF_PAGE, b->panels, count, image, &png, &size, e));
    status s = OK;
    if (c->formats & FORMAT_PNG) {
        s = file_write(path.text, png, size, e);
        if (s == OK)
            done(b, path.text);
    }
    if (s == OK && (c->formats & FORMAT_PDF))
        s = add_to_pdf(b, page, png, size, e);
    if (s == OK && (c->formats & FORMAT_CBZ))
        s = cbz_page(&b->cbz, png, size, image->width, image->height, e);
    free(png);
    b->result->pages += s == OK;
    return s;
}

static status fill(struct books *b, const struct image *pages, struct error *e)
{
    TRY(open_books(b, e));
    for (int i = 0; i < b->plan.page_count; i++)
        TRY(add(b, i, &pages[i], e));
    return close_books(b, e);
}

status publish_pages(const struct comic *c, const struct image *panels,
                     const struct draw_watch *watch, struct draw_result *result, struct error *e)
{
    struct books *b = calloc(1, sizeof *b);
    int *room = calloc((size_t)c->story.panel_count, sizeof *room);
    struct image *pages = NULL;
    status s = b != NULL && room != NULL ? OK : fail(e, ERR_MEMORY, "not enough memory for the pages");
    if (s == OK) {
        *b = (struct books){c, watch, result, .story = comic_page_story(c), .panels = room};
        s = page_layout_for(&b->story, panels, &b->plan, e);
    }
    if (s == OK) {
        s = page_draw(&b->story, &b->plan, panels, &pages, e);
        memory_look(watch->memory);
    }
    if (s == OK)
        s = fill(b, pages, e);
    if (b != NULL) {
        page_images_free(pages, b->plan.page_count);
        page_plan_free(&b->plan);
        pdf_discard(&b->pdf);
        cbz_discard(&b->cbz);
    }
    free(room);
    free(b);
    return s;
}
