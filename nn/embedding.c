#include "nn/embedding.h"

#include <math.h>

void sinusoidal_embedding(float *out, double t, int64_t dim, double shift, enum embedding_order order)
{
    int64_t half = dim / 2;
    float *cosine = order == COSINE_FIRST ? out : out + half, *sine = order == COSINE_FIRST ? out + half : out;
    for (int64_t i = 0; i < half; i++) {
        /* Rounded at each operation as the reference rounds: at t = 999 the last bit of a frequency moves the angle
         * by 1e-4. */
        float exponent = (float)-log(10000.0) * (float)i / (float)((double)half - shift);
        float frequency = expf(exponent);
        float angle = (float)t * frequency;
        cosine[i] = cosf(angle);
        sine[i] = sinf(angle);
    }
}
