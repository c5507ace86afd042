/* PDF 1.4 (ISO 32000-1): the pages of a comic, a pixel to a point, with captions that can be selected and searched.
 *
 * The picture of a page is the compressed data of its PNG, which PDF's FlateDecode with PNG predictors takes as it is.
 * Over its letters lies the same text in glyphs without ink, as wide as those on the page: fonts of type 3 with empty
 * drawings, and a table that says which character each of them is (ToUnicode). So no font file is embedded, and any
 * script can be copied out.
 *
 * Pages are written as they come; the same pages give the same bytes. Written aside, synced and renamed. */
#ifndef STORYDIFF_PDF_H
#define STORYDIFF_PDF_H

#include "storydiff/page/page_text.h"
#include "tensor/file.h"
#include "tensor/text.h"

struct pdf_letter {
    uint32_t code; /* Unicode */
    int width;     /* 1/1000 em */
};

struct pdf {
    struct file_writer file;
    size_t offset;
    size_t *objects; /* [object_count] where object number i + 1 begins */
    int object_count, object_room;
    struct text pages; /* "9 0 R 12 0 R .." */
    int page_count;
    struct pdf_letter *letters; /* [letter_count] all that have occurred, 256 to a font */
    int letter_count, letter_room;
    const struct font *font;
};

/* font: of the captions; may be NULL if there are none. After a failure of any of these there is nothing left to
 * free. */
status pdf_begin(struct pdf *pdf, const char *path, const struct font *font, struct error *e);

/* A page from a PNG in memory: 8-bit RGB, not interlaced. */
status pdf_page(struct pdf *pdf, const unsigned char *png, size_t size, const struct page_line *lines, int count,
                struct error *e);

/* title: UTF-8, or NULL. The file is there. */
status pdf_end(struct pdf *pdf, const char *title, struct error *e);
void pdf_discard(struct pdf *pdf); /* instead of pdf_end; fine after it, and on a zeroed struct */

#endif
