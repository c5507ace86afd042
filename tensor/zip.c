#include "tensor/zip.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOCAL_BYTES = 30, DIRECTORY_BYTES = 46, END_BYTES = 22, LOCATOR_BYTES = 20, END64_BYTES = 56 };
enum { COMMENT_MAX = 65535, METHOD_STORED = 0, METHOD_DEFLATED = 8 };
enum { FLAG_ENCRYPTED = 1, FLAG_PATCHED = 1 << 5, EXTRA_ZIP64 = 1 };

static const char local_mark[] = "PK\3\4", directory_mark[] = "PK\1\2", end_mark[] = "PK\5\6",
                  locator_mark[] = "PK\6\7", end64_mark[] = "PK\6\6";

/* Little endian numbers. */
static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static bool marked(const unsigned char *p, const char *mark)
{
    return memcmp(p, mark, 4) == 0;
}

bool zip_is(const unsigned char *bytes, size_t size)
{
    return size >= 4 && (marked(bytes, local_mark) || marked(bytes, end_mark));
}

struct reader {
    const char *path;
    const unsigned char *bytes;
    size_t size;
    struct error *e;
};

static status broken(const struct reader *r, const char *what)
{
    return fail(r->e, ERR_FORMAT, "%s: %s: the archive is damaged or incomplete, fetch it again", r->path, what);
}

/* Where the directory is. */
struct directory {
    uint64_t offset, size, count;
};

/* The end record is the last thing in the file but for a comment of unknown length: searched from the back. */
static status find_end(const struct reader *r, size_t *at)
{
    size_t most = r->size > END_BYTES + COMMENT_MAX ? r->size - END_BYTES - COMMENT_MAX : 0;
    if (r->size < END_BYTES)
        return broken(r, "too short for an archive");
    for (size_t p = r->size - END_BYTES + 1; p-- > most;)
        if (marked(r->bytes + p, end_mark) && number(r->bytes + p + 20, 2) <= r->size - END_BYTES - p) {
            *at = p;
            return OK;
        }
    return broken(r, "its directory is missing");
}

static status find_directory(const struct reader *r, struct directory *d)
{
    size_t end = 0;
    TRY(find_end(r, &end));
    const unsigned char *p = r->bytes + end;
    *d = (struct directory){number(p + 16, 4), number(p + 12, 4), number(p + 10, 2)};
    bool split = number(p + 4, 2) != number(p + 6, 2) || number(p + 8, 2) != d->count;
    if (end >= LOCATOR_BYTES && marked(p - LOCATOR_BYTES, locator_mark)) {
        uint64_t at = number(p - LOCATOR_BYTES + 8, 8);
        if (at > end || end - at < END64_BYTES || !marked(r->bytes + at, end64_mark))
            return broken(r, "its 64-bit end record is not where it should be");
        p = r->bytes + at;
        *d = (struct directory){number(p + 48, 8), number(p + 40, 8), number(p + 32, 8)};
        split = number(p + 16, 4) != number(p + 20, 4) || number(p + 24, 8) != d->count;
    }
    if (split)
        return fail(r->e, ERR_FORMAT, "%s: is one part of a split archive: join the parts first", r->path);
    if (d->offset > r->size || d->size > r->size - d->offset || d->count > d->size / DIRECTORY_BYTES)
        return broken(r, "its directory lies outside of the file");
    return OK;
}

/* The 64-bit sizes of an entry replace, in this order, those of its 32-bit ones that are all ones. */
static bool read_zip64(const unsigned char *extra, size_t length, uint64_t *const fields[3])
{
    bool wanted = false;
    for (int i = 0; i < 3; i++)
        wanted = wanted || *fields[i] == UINT32_MAX;
    while (wanted && length >= 4) {
        size_t kind = (size_t)number(extra, 2), size = (size_t)number(extra + 2, 2);
        extra += 4, length -= 4;
        if (size > length)
            return false;
        if (kind == EXTRA_ZIP64) {
            for (int i = 0; i < 3; i++)
                if (*fields[i] == UINT32_MAX) {
                    if (size < 8)
                        return false;
                    *fields[i] = number(extra, 8);
                    extra += 8, size -= 8;
                }
            return true;
        }
        extra += size, length -= size;
    }
    return !wanted;
}

/* An entry's data begins behind its local header, whose name and extra field need not be as long as the directory's. */
static status place_entry(const struct reader *r, uint64_t offset, struct zip_entry *entry)
{
    if (offset > r->size || r->size - offset < LOCAL_BYTES || !marked(r->bytes + offset, local_mark))
        return broken(r, "an entry is not where its directory says");
    const unsigned char *p = r->bytes + offset;
    size_t header = LOCAL_BYTES + (size_t)number(p + 26, 2) + (size_t)number(p + 28, 2);
    if (r->size - offset < header || entry->packed > r->size - offset - header)
        return broken(r, "an entry reaches beyond the end of the file");
    entry->data = p + header;
    return OK;
}

static status read_entry(const struct reader *r, const unsigned char *p, size_t room, struct zip_entry *entry,
                         size_t *used)
{
    if (room < DIRECTORY_BYTES || !marked(p, directory_mark))
        return broken(r, "its directory is cut short");
    size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2), comment = (size_t)number(p + 32, 2);
    *used = DIRECTORY_BYTES + name + extra + comment;
    if (*used > room)
        return broken(r, "its directory is cut short");
    unsigned flags = (unsigned)number(p + 8, 2), method = (unsigned)number(p + 10, 2);
    uint64_t packed = number(p + 20, 4), size = number(p + 24, 4), offset = number(p + 42, 4);
    if (!read_zip64(p + DIRECTORY_BYTES + name, extra, (uint64_t *const[]){&size, &packed, &offset}))
        return broken(r, "an entry lacks its 64-bit sizes");
    if ((flags & (FLAG_ENCRYPTED | FLAG_PATCHED)) != 0)
        return fail(r->e, ERR_FORMAT, "%s: the archive is encrypted or patched, and cannot be read", r->path);
    if (method != METHOD_STORED && method != METHOD_DEFLATED)
        return fail(r->e, ERR_FORMAT, "%s: an entry is packed by method %u: only stored and deflated ones can be read",
                    r->path, method);
    if (packed > PTRDIFF_MAX || size > PTRDIFF_MAX || (method == METHOD_STORED && packed != size))
        return broken(r, "an entry has impossible sizes");
    *entry = (struct zip_entry){.name = (const char *)p + DIRECTORY_BYTES, .name_length = name,
                                .packed = (size_t)packed, .size = (size_t)size,
                                .crc = (uint32_t)number(p + 16, 4), .deflated = method == METHOD_DEFLATED};
    return place_entry(r, offset, entry);
}

static int compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_entries(const void *left, const void *right)
{
    const struct zip_entry *a = left, *b = right;
    return compare_bytes(a->name, a->name_length, b->name, b->name_length);
}

static status read_entries(const struct reader *r, const struct directory *d, struct zip *zip)
{
    const unsigned char *p = r->bytes + d->offset;
    size_t room = (size_t)d->size, used = 0;
    for (; zip->count < d->count; zip->count++, p += used, room -= used)
        TRY(read_entry(r, p, room, &zip->entries[zip->count], &used));
    if (zip->count > 0)
        qsort(zip->entries, zip->count, sizeof *zip->entries, compare_entries);
    for (size_t i = 1; i < zip->count; i++)
        if (compare_entries(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return broken(r, "two entries have one name");
    return OK;
}

status zip_open(const char *path, const unsigned char *bytes, size_t size, struct zip *zip, struct error *e)
{
    *zip = (struct zip){.path = path};
    const struct reader r = {path, bytes, size, e};
    struct directory d;
    TRY(find_directory(&r, &d));
    zip->entries = calloc((size_t)d.count + 1, sizeof *zip->entries);
    if (zip->entries == NULL)
        return fail(e, ERR_MEMORY, "%s: no memory for %llu entries", path, (unsigned long long)d.count);
    status s = read_entries(&r, &d, zip);
    if (s != OK)
        zip_close(zip);
    return s;
}

void zip_close(struct zip *zip)
{
    free(zip->entries);
    *zip = (struct zip){0};
}

const struct zip_entry *zip_find(const struct zip *zip, const char *name)
{
    const struct zip_entry key = {.name = name, .name_length = strlen(name)};
    return zip->count == 0 ? NULL : bsearch(&key, zip->entries, zip->count, sizeof key, compare_entries);
}

/* zlib counts in unsigned ints: large entries go through it in pieces. */
static bool inflate_all(const struct zip_entry *entry, unsigned char *out)
{
    z_stream z = {0};
    size_t in_left = entry->packed, out_left = entry->size;
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return false;
    z.next_in = (Bytef *)entry->data;
    z.next_out = out;
    int result = Z_OK;
    while (result == Z_OK) {
        if (z.avail_in == 0) {
            z.avail_in = (uInt)(in_left < UINT_MAX ? in_left : UINT_MAX);
            in_left -= z.avail_in;
        }
        if (z.avail_out == 0) {
            z.avail_out = (uInt)(out_left < UINT_MAX ? out_left : UINT_MAX);
            out_left -= z.avail_out;
        }
        result = inflate(&z, Z_NO_FLUSH); /* without progress: Z_BUF_ERROR, which ends the loop */
    }
    bool complete = result == Z_STREAM_END && z.avail_out == 0 && out_left == 0;
    inflateEnd(&z);
    return complete;
}

static uint32_t checksum(const unsigned char *bytes, size_t size)
{
    uLong crc = crc32(0, NULL, 0);
    for (size_t done = 0; done < size;) {
        size_t piece = size - done < 1u << 30 ? size - done : 1u << 30;
        crc = crc32(crc, bytes + done, (uInt)piece);
        done += piece;
    }
    return (uint32_t)crc;
}

status zip_read(const struct zip *zip, const struct zip_entry *entry, unsigned char *out, struct error *e)
{
    bool complete = true;
    if (entry->deflated)
        complete = inflate_all(entry, out);
    else if (entry->size > 0)
        memcpy(out, entry->data, entry->size);
    if (!complete || checksum(out, entry->size) != entry->crc)
        return fail(e, ERR_FORMAT, "%s: the entry '%.*s' does not unpack to what its checksum says: fetch the file "
                    "again", zip->path, (int)(entry->name_length < 200 ? entry->name_length : 200), entry->name);
    return OK;
}
