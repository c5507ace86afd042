/* The loops of normalisation for whatever the compiler builds for. */
#define TARGET
#include "nn/norm_loops.h"

const struct norm_form norm_portable = {"portable", column_sums, affine, layer_row};
