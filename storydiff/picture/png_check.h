/* Whether a PNG file may be shown to stb_image, which checks no checksums and inflates whatever it finds. */
#ifndef STORYDIFF_PNG_CHECK_H
#define STORYDIFF_PNG_CHECK_H

#include <stddef.h>

#include "tensor/status.h"

/* OK if the file is whole from its signature to its last byte and its picture data inflate to as many bytes as the
 * header promises, no more and no fewer. Allocates nothing by what the file says. Fails with ERR_FORMAT, ERR_MEMORY. */
status png_check(const char *name, const unsigned char *bytes, size_t size, struct error *e);

#endif
