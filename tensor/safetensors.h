/* safetensors: a file of named tensors.
 *
 *   8 bytes   header length n, little endian
 *   n bytes   JSON: {"name": {"dtype": "F16", "shape": [..], "data_offsets": [begin, end]}, .., "__metadata__": {..}}
 *   rest      the data; offsets count from its first byte
 *
 * The file is mapped; tensors are views into it. Everything in the header comes from a stranger: every length,
 * offset, shape, dtype and overlap is checked before a view is made. Source: huggingface/safetensors, "Format". */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "tensor/file.h"
#include "tensor/json.h"
#include "tensor/status.h"
#include "tensor/tensor.h"

struct named_tensor {
    const char *name;
    struct tensor tensor;
};

struct safetensors {
    char *path;                  /* the file, or the index of a sharded one: for messages */
    struct named_tensor *items;  /* sorted by name (strcmp) */
    size_t count;
    size_t copied;               /* bytes of tensors that lie misaligned in the file, and so take memory of their own */
    const struct json *metadata; /* "__metadata__" object of the (first) file, or NULL */
    /* private: what has to be given back, one of each per file */
    struct file_map *maps;
    const struct json **headers;
    void **copies; /* of the tensors that lie misaligned in the file; NULL if none does */
    size_t shards;
};

/* Opens `path`: a .safetensors file, or (any name that ends in .json) the index of a sharded one, usually
 * "*.safetensors.index.json". Its "weight_map" names the shards, which must be plain file names in the same folder,
 * each holding exactly the tensors the map says; the rest of the index is not believed. Symbolic links are followed.
 * The caller closes it; after a failure there is nothing to close.
 *
 * Every tensor has data (an empty one too: not NULL, but not to be read) at a multiple of its element size. If the
 * file's own alignment is worse, as the unpadded headers of old writers make it, copies of those tensors are made.
 *
 * What nothing uses is no reason to refuse a file: a tensor of a dtype that is not in enum dtype, or of a higher rank
 * than TENSOR_MAX_RANK, is there as DTYPE_OTHER, one dimension of bytes; "__metadata__": null is none.
 *
 * Refused, with a message that names file and tensor: a header longer than the file or 100 MB; not JSON; a negative
 * or overflowing shape; offsets that are not ordered, not inside the file, not shape * dtype bytes long; tensors that
 * overlap; bytes that belong to none, at the end or between; control characters in a name. Not checked: that a BOOL
 * is 0 or 1, and that nobody shortens the file while it is mapped (reading the lost part then ends the process with
 * SIGBUS). */
status safetensors_open(const char *path, struct safetensors *file, struct error *e);
void safetensors_close(struct safetensors *file); /* fine on a zeroed struct, and twice */

/* NULL if there is none of that name. Valid until the file is closed. */
const struct tensor *safetensors_find(const struct safetensors *file, const char *name);

/* A metadata value, or NULL. */
const char *safetensors_meta(const struct safetensors *file, const char *key);

/* Writes the tensors in the given order, through a file written aside, synced and renamed. The same input gives the
 * same bytes. The data begins at a multiple of 64 (the header is padded with spaces) and has no gaps: put wide
 * elements first if dtypes are mixed, or readers find the later ones misaligned. `metadata` is alternating keys and
 * values ended by a NULL key, or NULL itself; bytes that are not UTF-8 become U+FFFD in it. Refuses names that are
 * empty, "__metadata__", given twice, not UTF-8 or with control characters; impossible shapes; missing data. */
status safetensors_write(const char *path, const struct named_tensor *items, size_t count,
                         const char *const *metadata, struct error *e);

/* The same in pieces, for more than memory holds: writes the header and leaves the writer open for the data of all
 * items, in their order and without gaps, in appends of any size (tensor/file.h), and for the file_commit. The items'
 * own data is not looked at. After a failure there is nothing to give back. */
status safetensors_create(const char *path, const struct named_tensor *items, size_t count,
                          const char *const *metadata, struct file_writer *w, struct error *e);

#endif
