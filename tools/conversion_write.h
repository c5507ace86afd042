/* Writing one file of a conversion: private to tools/conversion*.c. */
#ifndef TOOLS_CONVERSION_WRITE_H
#define TOOLS_CONVERSION_WRITE_H

#include "tools/conversion.h"
#include "tools/layout.h"

/* How far a conversion is. */
struct conversion_run {
    struct conversion *c;
    uint64_t done, all; /* bytes, each counted when it is written and when it is read again */
    uint64_t odd;       /* values that are no numbers, likewise */
    struct error *e;
};

/* Sorts a layout for the formats that will be written, and counts its bytes. */
status conversion_finish_layout(struct conversion_run *w, struct layout *l);

/* Writes its tensors from where they are, syncs, renames, reads the file back and compares. */
status conversion_write(struct conversion_run *w, const char *path, const struct layout *l,
                        const char *const *metadata);

#endif
