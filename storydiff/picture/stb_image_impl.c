/* The one place where stb_image and stb_image_write are compiled. Their assertions are off: they would end the program
 * over a file's defect. No stdio: files are mapped and written by tensor/file.h. */
#include <stdlib.h>
#include <zlib.h>

#include "storydiff/picture/image.h"

#define STBI_ASSERT(x) ((void)0)
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS IMAGE_MAX_SIDE
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

/* stb_image_write's hook; its own compressor is a short one. NULL where there is no memory. */
static unsigned char *compress_rows(unsigned char *data, int size, int *packed_size, int quality)
{
    (void)quality;
    uLongf packed = compressBound((uLong)size);
    unsigned char *out = malloc(packed);
    if (out != NULL && compress(out, &packed, data, (uLong)size) != Z_OK) {
        free(out);
        return NULL;
    }
    *packed_size = (int)packed;
    return out;
}

#define STBIW_ASSERT(x) ((void)0)
#define STBIW_ZLIB_COMPRESS compress_rows
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
