/* A zip archive, mapped: what is in it and where (PKWARE's APPNOTE 6.3, sections 4.3 to 4.5).
 *
 *   entries, each   local header  30 bytes, name, extra  | data
 *   directory       one record per entry: 46 bytes, name, extra, comment
 *   end             [zip64 end, zip64 locator] end record 22 bytes, comment
 *
 * Read from the end: the end record says where the directory is, the directory where the entries are. Zip64's 64-bit
 * fields replace those that are all ones. Entries are stored (their bytes lie in the map) or deflated. Encrypted,
 * split and patched archives are refused, so are names that appear twice and sizes that leave the file. */
#ifndef TENSOR_ZIP_H
#define TENSOR_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

struct zip_entry {
    const char *name;          /* not terminated: name_length bytes of the map */
    size_t name_length;
    const unsigned char *data; /* in the map: packed bytes of it */
    size_t packed, size;       /* size: once it is inflated */
    uint32_t crc;
    bool deflated;
};

struct zip {
    const char *path;          /* the caller's, for messages */
    struct zip_entry *entries; /* sorted by name (bytes) */
    size_t count;
};

/* True if the bytes begin as an archive does. */
bool zip_is(const unsigned char *bytes, size_t size);

/* Reads the directory of an archive that the caller keeps mapped. The caller closes it; after a failure there is
 * nothing to close. */
status zip_open(const char *path, const unsigned char *bytes, size_t size, struct zip *zip, struct error *e);
void zip_close(struct zip *zip); /* fine on a zeroed struct */

const struct zip_entry *zip_find(const struct zip *zip, const char *name); /* or NULL */

/* Inflates a deflated entry into out[entry->size], or copies a stored one, and compares its checksum. Fails where the
 * data is not exactly entry->size bytes. */
status zip_read(const struct zip *zip, const struct zip_entry *entry, unsigned char *out, struct error *e);

#endif
