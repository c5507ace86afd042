/* PyTorch's files: .bin, .ckpt, .pt, .pth, as torch.save writes them.
 *
 *   since 1.6   a zip archive (zip.h):  NAME/data.pkl   a pickle (pickle.h) of the object that was saved
 *                                       NAME/data/KEY   the bytes of a storage, usually not packed
 *   before      one after the other:    pickles of a magic number, a version, facts of the machine; a pickle of the
 *                                       object; a pickle of the list of storage keys; for each key 8 bytes, the number
 *                                       of elements, and the elements
 *
 * A tensor is a view into a storage: offset, shape, strides. Where the bytes lie in the file as they are needed, the
 * tensor is a view of the map. What is packed is inflated, what is strided or misaligned is copied, once.
 *
 * The object is a dictionary of tensors. Dictionaries in it are opened: their tensors are called "outer.inner"; but if
 * there is one called "state_dict", it is all that counts (beside it lie epochs and optimizers). Source:
 * torch/serialization.py. */
#ifndef TENSOR_TORCHFILE_H
#define TENSOR_TORCHFILE_H

#include "tensor/file.h"
#include "tensor/safetensors.h"

struct torchfile {
    char *path;
    struct named_tensor *items; /* sorted by name (strcmp) */
    size_t count;
    bool legacy;   /* not a zip archive */
    size_t copied; /* bytes that were inflated, put in order or aligned, and so take memory of their own */
    /* private */
    struct file_map map;
    char *names;
    void **blocks; /* inflated storages and copies of tensors */
    size_t block_count;
};

/* True if the first bytes of a file are those of one of the two forms (any zip archive, any pickle). */
bool torchfile_is(const unsigned char *bytes, size_t size);

enum { TORCHFILE_INFLATE_MOST = 20 };

/* Opens one. Nothing in it is executed. Refused, with a message that names the file: names and opcodes that are not
 * plain data (pickle.h), whole modules and TorchScript, storages that are missing or too short, tensors that reach
 * beyond their storage, big-endian files, names that appear twice, files that unpack to more than
 * TORCHFILE_INFLATE_MOST times their size, and objects without tensors. The caller closes it; after a failure there
 * is nothing to close. */
status torchfile_open(const char *path, struct torchfile *file, struct error *e);
void torchfile_close(struct torchfile *file); /* fine on a zeroed struct, and twice */

#endif
