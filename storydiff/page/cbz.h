/* CBZ: what comic readers open. A plain zip (APPNOTE 6.3, method 0: PNGs are compressed already) of page-001.png ..
 * and ComicInfo.xml. Dates are the first that zip knows: the same pages give the same bytes. Written aside, synced and
 * renamed. */
#ifndef STORYDIFF_CBZ_H
#define STORYDIFF_CBZ_H

#include "tensor/file.h"
#include "tensor/text.h"

struct cbz {
    struct file_writer file;
    size_t offset;
    struct text directory; /* the central directory so far */
    struct text info;      /* <Page .../> elements */
    int entries, pages;
};

/* After a failure of any of these there is nothing left to free. */
status cbz_begin(struct cbz *cbz, const char *path, struct error *e);
status cbz_page(struct cbz *cbz, const unsigned char *png, size_t size, int width, int height, struct error *e);

/* title, summary: UTF-8, or NULL. The file is there. */
status cbz_end(struct cbz *cbz, const char *title, const char *summary, struct error *e);
void cbz_discard(struct cbz *cbz); /* instead of cbz_end; fine after it, and on a zeroed struct */

#endif
