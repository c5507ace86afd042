#include "storydiff/page/pdf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/utf8.h"

/* Objects that others name before they are written. */
enum { CATALOG = 1, PAGES, INFO, FONTS, FIRST_FREE };

enum { LETTERS_PER_FONT = 256, EM = 1000 };

void pdf_discard(struct pdf *pdf)
{
    if (pdf->file.aside[0] != '\0')
        file_discard(&pdf->file);
    text_free(&pdf->pages);
    free(pdf->objects);
    free(pdf->letters);
    *pdf = (struct pdf){0};
}

/* Hands a status on; a failed document is gone. */
static status settled(struct pdf *pdf, status s)
{
    if (s != OK)
        pdf_discard(pdf);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- objects */

static status write_out(struct pdf *pdf, const void *data, size_t size, struct error *e)
{
    TRY(file_append(&pdf->file, data, size, e));
    pdf->offset += size;
    return OK;
}

/* Writes a text and frees it. */
static status write_text(struct pdf *pdf, struct text *text, struct error *e)
{
    status s = text->failed ? fail(e, ERR_MEMORY, "no memory for a PDF")
                            : write_out(pdf, text->data, text->length, e);
    text_free(text);
    return s;
}

static int new_object(struct pdf *pdf)
{
    if (pdf->object_count == pdf->object_room) {
        int room = pdf->object_room ? 2 * pdf->object_room : 64;
        size_t *more = realloc(pdf->objects, (size_t)room * sizeof *more);
        if (more == NULL)
            return 0;
        pdf->objects = more;
        pdf->object_room = room;
    }
    pdf->objects[pdf->object_count++] = 0;
    return pdf->object_count;
}

static status reserve(struct pdf *pdf, int *object, struct error *e)
{
    *object = new_object(pdf);
    return *object > 0 ? OK : fail(e, ERR_MEMORY, "no memory for a PDF");
}

/* "7 0 obj" and the format; the caller writes what is missing up to "endobj". */
static status open_object(struct pdf *pdf, int object, struct text *body, struct error *e)
{
    struct text head = {0};
    text_append(&head, "%d 0 obj\n", object);
    pdf->objects[object - 1] = pdf->offset;
    status s = write_text(pdf, &head, e);
    if (s != OK)
        text_free(body);
    return s == OK ? write_text(pdf, body, e) : s;
}

static status write_object(struct pdf *pdf, int object, struct text *body, struct error *e)
{
    text_append(body, "\nendobj\n");
    return open_object(pdf, object, body, e);
}

static status write_stream(struct pdf *pdf, int object, struct text *content, struct error *e)
{
    struct text body = {0};
    text_append(&body, "<< /Length %zu >>\nstream\n", content->length);
    text_append_bytes(&body, content->data != NULL ? content->data : "", content->length);
    text_append(&body, "\nendstream");
    body.failed = body.failed || content->failed;
    text_free(content);
    return write_object(pdf, object, &body, e);
}

/* UTF-16, as PDF has text outside of pages. */
static void append_utf16(struct text *out, uint32_t code)
{
    if (code >= 0x10000)
        text_append(out, "%04X%04X", (unsigned)(0xD800 + ((code - 0x10000) >> 10)),
                    (unsigned)(0xDC00 + ((code - 0x10000) & 0x3FF)));
    else
        text_append(out, "%04X", (unsigned)code);
}

/* ---------------------------------------------------------------------------------------------------------- text */

static int width_of(const struct font *font, uint32_t code)
{
    return font == NULL || font_is_invisible(code)
               ? 0
               : (int)(font_advance(font, font_glyph(font, code), 0, EM) / FONT_UNITS);
}

/* The number of a letter in the document: fonts of 256, one after the other. -1: no memory. */
static int letter_index(struct pdf *pdf, uint32_t code)
{
    for (int i = 0; i < pdf->letter_count; i++)
        if (pdf->letters[i].code == code)
            return i;
    if (pdf->letter_count == pdf->letter_room) {
        int room = pdf->letter_room ? 2 * pdf->letter_room : LETTERS_PER_FONT;
        struct pdf_letter *more = realloc(pdf->letters, (size_t)room * sizeof *more);
        if (more == NULL)
            return -1;
        pdf->letters = more;
        pdf->letter_room = room;
    }
    pdf->letters[pdf->letter_count] = (struct pdf_letter){code, width_of(pdf->font, code)};
    return pdf->letter_count++;
}

/* The letters of a line, in runs of one font each; adds up their widths. */
static status append_letters(struct pdf *pdf, const char *text, const char *end, int size, int *font, int64_t *width,
                             struct text *out, struct error *e)
{
    while (text < end) {
        int index = letter_index(pdf, utf8_next(&text));
        if (index < 0)
            return fail(e, ERR_MEMORY, "no memory for a PDF");
        if (index / LETTERS_PER_FONT != *font) {
            *font = index / LETTERS_PER_FONT;
            text_append(out, "%s/F%d %d Tf\n<", out->length > 0 ? "> Tj\n" : "", *font, size);
        }
        text_append(out, "%02X", (unsigned)(index % LETTERS_PER_FONT));
        *width += pdf->letters[index].width;
    }
    return OK;
}

/* A line as wide as on the page, kerning and rounding included: by horizontal scaling. */
static status append_line(struct pdf *pdf, const struct page_line *line, int height, struct text *content,
                          struct error *e)
{
    static const char dots[] = "...";
    struct text letters = {0};
    int font = -1;
    int64_t width = 0;
    status s = append_letters(pdf, line->text, line->text + line->length, line->size, &font, &width, &letters, e);
    if (s == OK && line->cut)
        s = append_letters(pdf, dots, dots + 3, line->size, &font, &width, &letters, e);
    int64_t natural = width * line->size / EM,
            percent = natural > 0 ? (100 * line->width + natural / 2) / natural : 100;
    if (s == OK && letters.length > 0)
        text_append(content, "BT\n3 Tr %d Tz\n1 0 0 1 %d %d Tm\n%s> Tj\nET\n", (int)(percent > 0 ? percent : 100),
                    line->x, height - line->baseline, letters.data);
    content->failed = content->failed || letters.failed;
    text_free(&letters);
    return s;
}

/* Empty drawings, widths, and what each code means. */
static status write_font(struct pdf *pdf, int object, const struct pdf_letter *letters, int count, struct error *e)
{
    struct text glyph, body = {0}, map = {0};
    int to_unicode, first = pdf->object_count + 2;
    TRY(reserve(pdf, &to_unicode, e));
    text_append(&body, "<< /Type /Font /Subtype /Type3 /FontBBox [0 -250 %d %d] /FontMatrix [0.001 0 0 0.001 0 0]\n"
                       "/Resources << >> /FirstChar 0 /LastChar %d /ToUnicode %d 0 R\n"
                       "/Encoding << /Type /Encoding /Differences [0", EM, EM, count - 1, to_unicode);
    for (int i = 0; i < count; i++)
        text_append(&body, " /g%d", i);
    text_append(&body, "] >>\n/CharProcs <<");
    for (int i = 0; i < count; i++)
        text_append(&body, " /g%d %d 0 R", i, first + i);
    text_append(&body, " >>\n/Widths [");
    for (int i = 0; i < count; i++)
        text_append(&body, "%d ", letters[i].width);
    text_append(&body, "] >>");
    status s = write_object(pdf, object, &body, e);
    for (int i = 0; s == OK && i < count; i++) {
        int number;
        glyph = (struct text){0};
        text_append(&glyph, "%d 0 d0", letters[i].width);
        s = reserve(pdf, &number, e);
        s = s == OK ? write_stream(pdf, number, &glyph, e) : s;
    }
    TRY(s);
    text_append(&map, "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CMapName /storydiff def\n"
                      "/CMapType 2 def\n1 begincodespacerange\n<00> <FF>\nendcodespacerange\n");
    for (int i = 0; i < count; i++) {
        if (i % 100 == 0)
            text_append(&map, "%s%d beginbfchar\n", i > 0 ? "endbfchar\n" : "", count - i < 100 ? count - i : 100);
        text_append(&map, "<%02X> <", (unsigned)i);
        append_utf16(&map, letters[i].code);
        text_append(&map, ">\n");
    }
    text_append(&map, "%sendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend",
                count > 0 ? "endbfchar\n" : "");
    return write_stream(pdf, to_unicode, &map, e);
}

static status write_fonts(struct pdf *pdf, struct error *e)
{
    struct text body = {0};
    int fonts = (pdf->letter_count + LETTERS_PER_FONT - 1) / LETTERS_PER_FONT;
    status s = OK;
    text_append(&body, "<<");
    for (int i = 0; s == OK && i < fonts; i++) {
        int object, first = i * LETTERS_PER_FONT, left = pdf->letter_count - first;
        s = reserve(pdf, &object, e);
        if (s == OK)
            s = write_font(pdf, object, pdf->letters + first, left < LETTERS_PER_FONT ? left : LETTERS_PER_FONT, e);
        text_append(&body, " /F%d %d 0 R", i, object);
    }
    text_append(&body, " >>");
    if (s != OK)
        text_free(&body);
    return s == OK ? write_object(pdf, FONTS, &body, e) : s;
}

/* --------------------------------------------------------------------------------------------------------- pages */

struct png_parts {
    uint32_t width, height;
    size_t data; /* bytes of all IDAT chunks */
};

static uint32_t read_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Visits the IDAT chunks: adds up their sizes, or writes them. */
static status each_data(struct pdf *pdf, const unsigned char *png, size_t size, size_t *total, struct error *e)
{
    for (size_t at = 8; at + 12 <= size;) {
        size_t length = read_u32(png + at);
        if (length > size - at - 12)
            return fail(e, ERR_FORMAT, "a page's PNG is damaged");
        if (memcmp(png + at + 4, "IDAT", 4) == 0 && total != NULL)
            *total += length;
        else if (memcmp(png + at + 4, "IDAT", 4) == 0)
            TRY(write_out(pdf, png + at + 8, length, e));
        at += 12 + length;
    }
    return OK;
}

static status read_header(const unsigned char *png, size_t size, struct png_parts *parts, struct error *e)
{
    static const unsigned char kind[5] = {8, 2, 0, 0, 0}; /* depth, RGB, deflate, filters, not interlaced */
    *parts = (struct png_parts){0};
    if (size < 33 || memcmp(png + 12, "IHDR", 4) != 0 || memcmp(png + 24, kind, 5) != 0)
        return fail(e, ERR_ARGUMENT, "a page of a PDF must be an 8-bit RGB PNG");
    parts->width = read_u32(png + 16);
    parts->height = read_u32(png + 20);
    return each_data(NULL, png, size, &parts->data, e);
}

static status write_picture(struct pdf *pdf, int object, const unsigned char *png, size_t size,
                            const struct png_parts *parts, struct error *e)
{
    struct text body = {0};
    text_append(&body, "<< /Type /XObject /Subtype /Image /Width %u /Height %u /ColorSpace /DeviceRGB "
                       "/BitsPerComponent 8\n/Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors 3 "
                       "/BitsPerComponent 8 /Columns %u >> /Length %zu >>\nstream\n",
                parts->width, parts->height, parts->width, parts->data);
    TRY(open_object(pdf, object, &body, e));
    TRY(each_data(pdf, png, size, NULL, e));
    static const char end[] = "\nendstream\nendobj\n";
    return write_out(pdf, end, sizeof end - 1, e);
}

static status write_page(struct pdf *pdf, const unsigned char *png, size_t size, const struct page_line *lines,
                         int count, struct error *e)
{
    struct png_parts parts;
    struct text content = {0}, body = {0};
    int picture, contents, page;
    TRY(read_header(png, size, &parts, e));
    TRY(reserve(pdf, &picture, e));
    TRY(reserve(pdf, &contents, e));
    TRY(reserve(pdf, &page, e));
    TRY(write_picture(pdf, picture, png, size, &parts, e));
    text_append(&content, "q %u 0 0 %u 0 0 cm /Page Do Q\n", parts.width, parts.height);
    for (int i = 0; i < count; i++) {
        if (append_line(pdf, &lines[i], (int)parts.height, &content, e) == OK)
            continue;
        text_free(&content);
        return e != NULL ? e->code : ERR_MEMORY;
    }
    TRY(write_stream(pdf, contents, &content, e));
    text_append(&body, "<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %u %u] /Contents %d 0 R\n"
                       "/Resources << /XObject << /Page %d 0 R >> /Font %d 0 R >> >>", PAGES, parts.width,
                parts.height, contents, picture, FONTS);
    text_append(&pdf->pages, "%d 0 R ", page);
    pdf->page_count++;
    return write_object(pdf, page, &body, e);
}

/* ------------------------------------------------------------------------------------------------------ document */

static status start(struct pdf *pdf, const char *path, struct error *e)
{
    static const char head[] = "%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"; /* bytes above 127: this is no text file */
    int object;
    TRY(file_create(path, &pdf->file, e));
    for (int i = CATALOG; i < FIRST_FREE; i++)
        TRY(reserve(pdf, &object, e));
    return write_out(pdf, head, sizeof head - 1, e);
}

status pdf_begin(struct pdf *pdf, const char *path, const struct font *font, struct error *e)
{
    *pdf = (struct pdf){.font = font};
    return settled(pdf, start(pdf, path, e));
}

status pdf_page(struct pdf *pdf, const unsigned char *png, size_t size, const struct page_line *lines, int count,
                struct error *e)
{
    return settled(pdf, write_page(pdf, png, size, lines, count, e));
}

static status write_info(struct pdf *pdf, const char *title, struct error *e)
{
    struct text info = {0};
    text_append(&info, "<< /Producer (storydiff " STORYDIFF_VERSION ")");
    if (title != NULL && title[0] != '\0') {
        text_append(&info, " /Title <FEFF");
        while (*title != '\0')
            append_utf16(&info, utf8_next(&title));
        text_append(&info, ">");
    }
    text_append(&info, " >>");
    return write_object(pdf, INFO, &info, e);
}

static status finish(struct pdf *pdf, const char *title, struct error *e)
{
    struct text catalog = {0}, pages = {0}, xref = {0};
    TRY(write_fonts(pdf, e));
    TRY(write_info(pdf, title, e));
    text_append(&catalog, "<< /Type /Catalog /Pages %d 0 R >>", PAGES);
    TRY(write_object(pdf, CATALOG, &catalog, e));
    text_append(&pages, "<< /Type /Pages /Count %d /Kids [%s] >>", pdf->page_count,
                pdf->pages.data != NULL ? pdf->pages.data : "");
    pages.failed = pages.failed || pdf->pages.failed;
    TRY(write_object(pdf, PAGES, &pages, e));
    size_t at = pdf->offset;
    if (at > 9999999999)
        return fail(e, ERR_ARGUMENT, "the comic is too large for a PDF (10 GB): leave pdf out of `format`");
    text_append(&xref, "xref\n0 %d\n0000000000 65535 f \n", pdf->object_count + 1);
    for (int i = 0; i < pdf->object_count; i++)
        text_append(&xref, "%010zu 00000 n \n", pdf->objects[i]);
    text_append(&xref, "trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R >>\nstartxref\n%zu\n%%%%EOF\n",
                pdf->object_count + 1, CATALOG, INFO, at);
    TRY(write_text(pdf, &xref, e));
    return file_commit(&pdf->file, e);
}

status pdf_end(struct pdf *pdf, const char *title, struct error *e)
{
    status s = finish(pdf, title, e);
    pdf_discard(pdf);
    return s;
}
