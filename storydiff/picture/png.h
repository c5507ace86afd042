/* PNG (ISO/IEC 15948): pictures on disk, with the story that made them inside. Pictures are read by image.h.
 *
 * Written: 8-bit RGB, not interlaced, the filter of each row chosen by the least sum of absolute differences, sRGB, and
 * texts as iTXt, which is UTF-8 (tEXt, which other programs write, is Latin-1). The same image gives the same bytes. */
#ifndef STORYDIFF_PNG_H
#define STORYDIFF_PNG_H

#include <stddef.h>

#include "storydiff/picture/image.h"
#include "tensor/status.h"

struct png_text {
    const char *key;  /* 1 to 79 bytes of printable ASCII: "parameters" */
    const char *text; /* UTF-8; compressed in the file when that pays */
};

/* *bytes: the whole file, *size bytes, freed by the caller with free(). */
status png_encode(const struct image *image, const struct png_text *texts, size_t count, unsigned char **bytes,
                  size_t *size, struct error *e);

/* The same into a file, written aside, synced and renamed. */
status png_write(const char *path, const struct image *image, const struct png_text *texts, size_t count,
                 struct error *e);

/* *text: the first iTXt text of that key, terminated, freed by the caller with free(); NULL if there is none.
 * Checks the chunks on the way to it but decodes no picture. A text above 16 MiB is refused. */
status png_decode_text(const char *name, const unsigned char *bytes, size_t size, const char *key, char **text,
                       struct error *e);
status png_read_text(const char *path, const char *key, char **text, struct error *e);

#endif
