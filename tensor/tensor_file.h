/* A file of named tensors, whatever its format: safetensors, the index of sharded safetensors, or one of PyTorch's
 * (torchfile.h) and the index of those.
 *
 * What a file is, its first bytes say, never its name. Only an index is told by its name: it ends in ".json". */
#ifndef TENSOR_TENSOR_FILE_H
#define TENSOR_TENSOR_FILE_H

#include "tensor/safetensors.h"

struct tensor_file {
    char *path;                 /* the file, or the index of a sharded one: for messages */
    const char *format;         /* "safetensors", "PyTorch" or "PyTorch before 1.6": for messages */
    struct named_tensor *items; /* sorted by name (strcmp); views that last until the file is closed */
    size_t count;
    size_t copied; /* bytes of tensors that are no views of the map but take memory: packed or misaligned ones */
    /* private: one of the two */
    struct safetensors safetensors;
    struct torchfile **torchfiles; /* [torchfile_count]: the shards */
    size_t torchfile_count;
};

/* Opens a file of any of the formats. What is refused, and how: safetensors.h and torchfile.h; files of other programs
 * (GGUF, HDF5, ONNX, msgpack, archives) are refused by name. The caller closes it; after a failure there is nothing to
 * close. */
status tensor_file_open(const char *path, struct tensor_file *file, struct error *e);
void tensor_file_close(struct tensor_file *file); /* fine on a zeroed struct, and twice */

/* NULL if there is none of that name. */
const struct tensor *tensor_file_find(const struct tensor_file *file, const char *name);

/* A metadata value, or NULL: only safetensors files have metadata. */
const char *tensor_file_meta(const struct tensor_file *file, const char *key);

#endif
