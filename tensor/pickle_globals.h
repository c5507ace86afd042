/* The names that a checkpoint's pickle may refer to. Private to tensor/pickle*.c.
 *
 * Nothing of them is ever run: the list is there so that a file which refers to anything else is refused before
 * somebody feeds it to a program that would run it. */
#ifndef TENSOR_PICKLE_GLOBALS_H
#define TENSOR_PICKLE_GLOBALS_H

/* What a call of a name makes. */
enum pickle_role {
    MAKES_DICT,
    MAKES_CALL,  /* a note of the call: a tensor */
    MAKES_OTHER, /* nothing that counts */
};

struct pickle_global {
    const char *name; /* "module.name" */
    enum pickle_role role;
};

/* NULL: the name is not on the list. The result lasts for ever, and is the same for the same name. */
const struct pickle_global *pickle_global_find(const char *name);

#endif
