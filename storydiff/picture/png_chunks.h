/* The chunks of a PNG file (ISO/IEC 15948, 5.3), one after the other, from a file that nobody vouches for:
 *
 *   signature 8, then chunks:  length 4 | type 4 | data | CRC-32 of type and data 4        numbers are big endian */
#ifndef STORYDIFF_PNG_CHUNKS_H
#define STORYDIFF_PNG_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

/* A cursor; the bytes stay the caller's. */
struct png_chunks {
    const char *name; /* of the file, for messages */
    const unsigned char *bytes;
    size_t size, position;
};

struct png_chunk {
    char type[5];
    const unsigned char *data; /* [length], in the file */
    size_t length;
};

struct png_header {
    uint32_t width, height;
    int depth, color_type;
    bool interlaced;
};

bool is_png(const unsigned char *bytes, size_t size);

/* Checks signature and IHDR: whether the format knows such a picture and whether it is one of a size that image.h
 * takes. Fails with ERR_FORMAT. */
status png_chunks_open(struct png_chunks *in, struct png_header *header, struct error *e);

/* The next chunk, which lies in the file and has the checksum that stands behind it. Fails with ERR_FORMAT. */
status png_chunks_next(struct png_chunks *in, struct png_chunk *chunk, struct error *e);

bool png_chunk_is(const struct png_chunk *chunk, const char *type);

#endif
