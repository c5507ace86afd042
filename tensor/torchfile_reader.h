/* What reading PyTorch's files consists of. Private to tensor/torchfile*.c. */
#ifndef TENSOR_TORCHFILE_READER_H
#define TENSOR_TORCHFILE_READER_H

#include "tensor/pickle.h"
#include "tensor/torchfile.h"
#include "tensor/zip.h"

enum { TORCHFILE_NAME = 512 };

/* A storage: so many elements somewhere in the map, or inflated. */
struct torch_storage {
    const char *key; /* not terminated: in the pickle */
    size_t key_length;
    enum dtype dtype;
    const unsigned char *data;
    size_t elements;
};

struct torch_reader {
    struct torchfile *file;
    struct zip zip; /* of the newer form */
    char prefix[TORCHFILE_NAME]; /* "NAME/data/" */
    struct pickle pickle;
    struct torch_storage *storages; /* sorted by key: of the older form all, of the newer those that were asked for */
    size_t storage_count, storage_room;
    size_t item_room, block_room, names_length, names_room;
    size_t unpacked, copied; /* bytes; together file->copied */
    size_t visited;
    const char *tensor; /* the name, of tensor_length bytes, of the one that is being read, or NULL */
    size_t tensor_length;
    struct error *e;
};

/* Records that the file, or the tensor that is being read, is damaged. */
status torch_broken(const struct torch_reader *r, const char *what);

/* An entry's bytes, inflated into memory that lasts as long as the file, within TORCHFILE_INFLATE_MOST. */
status torch_unpack(struct torch_reader *r, const struct zip_entry *entry, const unsigned char **data);

/* What the persistent id of a storage says of it, without its data; where it is, or would be, among those known; and to
 * put it there. */
status torch_storage_id(const struct torch_reader *r, pickle_ref id, struct torch_storage *s);
size_t torch_storage_place(const struct torch_reader *r, const struct torch_storage *wanted);
bool torch_storage_known(const struct torch_reader *r, size_t place, const struct torch_storage *wanted);
status torch_storage_insert(struct torch_reader *r, size_t place, const struct torch_storage *s);

/* The view that the arguments of _rebuild_tensor_v2 describe. */
status torch_tensor(struct torch_reader *r, pickle_ref arguments, struct tensor *t);

#endif
