#include "nn/embedding.h"

#include <math.h>

void sinusoidal_embedding(float *out, double t, int64_t dim, double shift, enum embedding_order order)
{
    int64_t half = dim / 2;
    float *cosine = order == COSINE_FIRST ? out : out + half, *sine = order == COSINE_FIRST ? out + half : out;
    for (int64_t i = 0; i < half; i++) {
        /* The reference computes frequency and angle in float32; at t = 999 the rounding of the angle shows. */
        float frequency = expf((float)(-log(10000.0) * (double)i / ((double)half - shift)));
        float angle = (float)t * frequency;
        cosine[i] = cosf(angle);
        sine[i] = sinf(angle);
    }
}
