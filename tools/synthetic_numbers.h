/* The numbers of a made-up model (synthetic_model.h): each tensor follows from seed, name and shape alone, whatever
 * file it is written to. */
#ifndef TOOLS_SYNTHETIC_NUMBERS_H
#define TOOLS_SYNTHETIC_NUMBERS_H

#include <stdint.h>

#include "tensor/safetensors.h"

struct synthetic_numbers;

status synthetic_numbers_new(uint64_t seed, struct synthetic_numbers **out, struct error *e);
void synthetic_numbers_free(struct synthetic_numbers *g); /* NULL is fine */

/* Hands the bytes of a tensor of F32, F16 or BF16 to `take`, in pieces; its failure ends it. */
status synthetic_numbers_emit(struct synthetic_numbers *g, const struct named_tensor *item,
                              status (*take)(void *self, const void *bytes, size_t size, struct error *e), void *self,
                              struct error *e);

#endif
