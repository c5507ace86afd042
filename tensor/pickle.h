/* Python's pickles, as far as checkpoints need them: parsed, never run.
 *
 * A pickle is a program for a stack machine that builds objects; Python's own reader lets it call anything. This one
 * knows the opcodes that build plain data (numbers, texts, tuples, lists, dictionaries), and takes a call for what it
 * is, a name and its arguments: nothing happens. Names must be on the list below; any other, and any other opcode, is
 * refused with its name. Sources: CPython's Lib/pickletools.py (the opcodes), torch/serialization.py and _utils.py.
 *
 *   collections.OrderedDict, torch.nn.modules.container.ParameterDict   a dictionary
 *   torch._utils._rebuild_tensor_v2, _rebuild_tensor, _rebuild_parameter, torch.XStorage, torch.<dtype>: tensors
 *   what training leaves behind (numpy scalars, Lightning's callbacks, sets, argparse.Namespace): PICKLE_OTHER
 *
 * Values are nodes of one block; a container's members hang in a list. A dictionary's members alternate key, value. */
#ifndef TENSOR_PICKLE_H
#define TENSOR_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/status.h"

enum pickle_kind {
    PICKLE_NONE, PICKLE_BOOL, PICKLE_INT, PICKLE_FLOAT, PICKLE_STRING,
    PICKLE_TUPLE, PICKLE_LIST, PICKLE_DICT,
    PICKLE_GLOBAL,     /* string: "module.name", one of the list */
    PICKLE_PERSISTENT, /* first: what the persistent id consists of (a storage) */
    PICKLE_CALL,       /* first: the global; its next: the tuple of arguments */
    PICKLE_OTHER,      /* something that no tensor is in */
};

/* An index into pickle.nodes; 0 is none. */
typedef uint32_t pickle_ref;

struct pickle_node {
    enum pickle_kind kind;
    pickle_ref first, last; /* the first and last cell of the members: containers, PERSISTENT and CALL */
    uint32_t count;         /* members */
    int64_t integer;        /* INT (one that does not fit is OTHER), BOOL; STRING, GLOBAL: its length */
    const char *string;     /* STRING, GLOBAL: not terminated, bytes of the pickle or of the list */
};

/* A member of a container: a value can be a member of several. */
struct pickle_cell {
    pickle_ref value, next;
};

struct pickle {
    struct pickle_node *nodes;
    struct pickle_cell *cells;
    size_t node_count, node_room, cell_count, cell_room;
};

enum { PICKLE_MAX_NODES = 1 << 22 };

/* Parses one pickle at the beginning of bytes[0..size). *root is what it leaves, *used how many bytes it had. The bytes
 * must outlive the pickle. At most PICKLE_MAX_NODES values and members. `name` is for messages. The caller frees with
 * pickle_free, also after a failure. */
status pickle_parse(const char *name, const unsigned char *bytes, size_t size, struct pickle *p, pickle_ref *root,
                    size_t *used, struct error *e);
void pickle_free(struct pickle *p); /* fine on a zeroed struct */

/* Member number `index`; 0 if there is none. Walks from the first. */
pickle_ref pickle_member(const struct pickle *p, pickle_ref container, size_t index);

/* True if it is a text, or a global, of these words. */
bool pickle_is(const struct pickle *p, pickle_ref value, enum pickle_kind kind, const char *text);

#endif
