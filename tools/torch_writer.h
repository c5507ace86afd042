/* Writing PyTorch's files, as torch.save does since 1.6: a zip archive of a pickle and of stored storages, each
 * tensor with a storage of its own, data at multiples of 64 (tensor/torchfile.h draws the format). For models that
 * are made up: what is to be kept is better kept as safetensors. */
#ifndef TOOLS_TORCH_WRITER_H
#define TOOLS_TORCH_WRITER_H

#include <stdint.h>

#include "tensor/file.h"
#include "tensor/safetensors.h"

struct torch_writer {
    struct file_writer file;
    struct torch_entry *entries;
    const struct named_tensor *items;
    size_t item_count, entry_count, item; /* item: the one that bytes are for */
    size_t item_left;
    uint64_t at; /* bytes written */
};

/* Writes what comes before the data: then the data of all items is appended in their order, in pieces of any size. The
 * items must outlive the writer. F32, F16, BF16, F64, I64, I32 and U8 can be written. After a failure there is nothing
 * to give back. */
status torch_create(const char *path, const struct named_tensor *items, size_t count, struct torch_writer *w,
                    struct error *e);
status torch_append(struct torch_writer *w, const void *data, size_t size, struct error *e);
status torch_commit(struct torch_writer *w, struct error *e);
void torch_discard(struct torch_writer *w); /* fine after a failure, too */

#endif
