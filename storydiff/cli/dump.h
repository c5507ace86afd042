/* --dump: intermediate tensors as safetensors files, one each, to hold against another implementation.
 *
 *   DIR/text/hidden_states.1.safetensors
 *   DIR/step-001-pass-1/down_blocks.0.safetensors     its second half (conditional): down_blocks.0.2.safetensors
 *   DIR/step-001-pass-1/noise_pred.safetensors        both halves
 *   DIR/decode/decoder.conv_in.safetensors
 *
 * Images are channels last, [n, h, w, c]. */
#ifndef STORYDIFF_DUMP_H
#define STORYDIFF_DUMP_H

#include "tensor/context.h"
#include "tensor/status.h"

struct dump {
    const char *folder;
    char part[64];      /* "text", "step-001-pass-1", "decode" */
    struct error error; /* the first failure to write; later tensors are dropped */
};

/* A new dump wants a folder that is empty or not there; one that goes on, or replaces another, does not. */
enum dump_start { DUMP_ANEW, DUMP_AGAIN };

/* Asks whether a dump may have the folder, before anything is done; then creates it. */
status dump_check(const char *folder, enum dump_start start, struct error *e);
status dump_start(struct dump *d, const char *folder, struct error *e);

/* What follows belongs to this part, which loses what an earlier run has dumped there. */
void dump_part(struct dump *d, const char *part);
void dump_pass(struct dump *d, int step, int pass, int half); /* the second half joins the first */

struct observer dump_observer(struct dump *d);

#endif
