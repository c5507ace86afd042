/* The texts of a PNG file. iTXt: key 0 | compressed? | method 0 | language 0 | translated key 0 | text, in UTF-8. */
#include "storydiff/picture/png.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "storydiff/picture/png_chunks.h"
#include "tensor/file.h"

enum {
    DEFLATE_MOST = 1032, /* of one input byte: 258 bytes from 2 bits */
    TEXT_MAX = 16 << 20,
};

/* *text <- the decompressed bytes. How many they are is nowhere written: the buffer is for the most there can be, and
 * what is not touched costs nothing. */
static status inflate_text(const char *name, const unsigned char *data, size_t length, char **text, struct error *e)
{
    size_t most = length > TEXT_MAX / DEFLATE_MOST ? TEXT_MAX : length * DEFLATE_MOST;
    unsigned char *buffer = malloc(most + 1);
    if (buffer == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory to decompress a text", name);
    uLongf size = most;
    int result = uncompress(buffer, &size, data, length);
    if (result != Z_OK) {
        free(buffer);
        return fail(e, ERR_FORMAT, "%s: a text of the PNG is damaged or longer than %d MiB", name, TEXT_MAX >> 20);
    }
    buffer[size] = '\0';
    *text = (char *)buffer;
    return OK;
}

/* The body of an iTXt chunk after its key. */
static status read_text(const char *name, const unsigned char *data, size_t length, char **text, struct error *e)
{
    const unsigned char *end = data + length;
    const unsigned char *language = data + 2, *translated = NULL, *body = NULL;
    if (length >= 2 && data[0] <= 1 && data[1] == 0)
        translated = memchr(language, 0, (size_t)(end - language));
    if (translated != NULL)
        body = memchr(translated + 1, 0, (size_t)(end - translated - 1));
    if (body == NULL)
        return fail(e, ERR_FORMAT, "%s: a text chunk of the PNG is malformed", name);
    body++;
    const size_t size = (size_t)(end - body);
    if (data[0] == 1)
        return inflate_text(name, body, size, text, e);
    if (size > TEXT_MAX)
        return fail(e, ERR_FORMAT, "%s: a text of the PNG is longer than %d MiB", name, TEXT_MAX >> 20);
    *text = malloc(size + 1);
    if (*text == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for a text", name);
    memcpy(*text, body, size);
    (*text)[size] = '\0';
    return OK;
}

status png_decode_text(const char *name, const unsigned char *bytes, size_t size, const char *key, char **text,
                       struct error *e)
{
    *text = NULL;
    const size_t key_size = strlen(key) + 1;
    struct png_chunks in = {.name = name, .bytes = bytes, .size = size};
    struct png_header header;
    TRY(png_chunks_open(&in, &header, e));
    for (struct png_chunk chunk = {0}; !png_chunk_is(&chunk, "IEND");) {
        TRY(png_chunks_next(&in, &chunk, e));
        if (png_chunk_is(&chunk, "iTXt") && chunk.length >= key_size && memcmp(chunk.data, key, key_size) == 0)
            return read_text(name, chunk.data + key_size, chunk.length - key_size, text, e);
    }
    return OK;
}

status png_read_text(const char *path, const char *key, char **text, struct error *e)
{
    *text = NULL;
    struct file_map map;
    TRY(file_map(path, &map, e));
    status s = png_decode_text(path, map.data, map.size, key, text, e);
    file_unmap(&map);
    return s;
}
