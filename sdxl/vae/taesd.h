/* The tiny autoencoder (Ollin Boer Bohan 2023, github.com/madebyollin/taesd): what the large one does, for a twentieth
 * of the arithmetic and a little of the detail. For previews and drafts.
 *
 *   decode:  latents -- 3 tanh(x/3) -- conv, ReLU -- 3 blocks -- [enlarged twice, conv, blocks] x 3 -- conv -- 2y - 1
 *   encode:  (image + 1)/2 -- conv -- block -- [conv of stride 2, 3 blocks] x 3 -- conv -- latents
 *   block:   relu(conv(relu(conv(relu(conv x)))) + x)
 *
 * No norm, no attention, no mean and variance. The surprise: latents are the UNet's own, not divided by a scaling
 * factor: TAESD was made for SD 1.5's, TAESDXL for SDXL's.
 *
 * Layers have numbers for names, in two layouts: diffusers' AutoencoderTiny, "decoder.layers.N" and "encoder.layers.N"
 * in one file; and the original's, "N" in a file of each half, where the decoder's count is one higher (its layer 0 is
 * the tanh). Which one a file is, its names say. */
#ifndef SDXL_TAESD_H
#define SDXL_TAESD_H

#include "nn/conv.h"
#include "sdxl/checkpoint/bind.h"

enum { TAESD_LEVELS = 4, TAESD_BLOCKS = 3, TAESD_FACTOR = 8 };

struct taesd_block {
    struct conv conv[3]; /* conv.0, conv.2, conv.4 */
};

/* Half of it: conv[i] comes before blocks[i], the last one ends it. */
struct taesd_coder {
    struct conv conv[TAESD_LEVELS + 1]; /* the middle three have no bias */
    struct taesd_block blocks[TAESD_LEVELS][TAESD_BLOCKS];
    int block_count[TAESD_LEVELS];
};

struct taesd {
    struct taesd_coder decoder, encoder;
    bool has_decoder, has_encoder; /* the original's files have one half each */
    int64_t latent_channels, width;
    /* private */
    struct weights weights;
};

/* Opens a file of either layout. Fails if it is neither, or if a tensor is missing or misshapen. The caller closes it.
 */
status taesd_open(struct taesd *t, const char *path, struct error *e);
void taesd_close(struct taesd *t); /* fine on a zeroed struct */

/* latents: [n, h, w, latent_channels], as the UNet has them. image: [n, 8h, 8w, 3], about -1 .. 1, not clamped. */
void taesd_decode(const struct context *ctx, const struct taesd *t, float *image, struct features latents);

/* image: [n, H, W, 3] in -1 .. 1. latents: [n, h, w, latent_channels], h = H / 2 three times, rounding up. */
void taesd_encode(const struct context *ctx, const struct taesd *t, float *latents, struct features image);

#endif
