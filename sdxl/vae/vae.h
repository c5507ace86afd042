/* The autoencoder between pictures and latents (Kingma & Welling 2013; Rombach et al. 2022, section 3.1).
 *
 *   encode:  image [n,H,W,3] -- encoder -- quant_conv -- mean, logvar [n,h,w,4]      h = H / 8
 *   decode:  latents / scaling_factor -- post_quant_conv -- decoder -- image
 *
 * Reference: diffusers AutoencoderKL. Activations stay float32: in half precision the decoder of SDXL overflows, the
 * famous black pictures. */
#ifndef SDXL_VAE_H
#define SDXL_VAE_H

#include "sdxl/blocks/resnet.h"
#include "sdxl/checkpoint/config.h"
#include "sdxl/vae/vae_bands.h"

struct vae_level {
    char name[MODULE_NAME];
    struct resnet resnets[MAX_LAYERS_PER_BLOCK + 1];
    int layers;
    struct conv sampler; /* downsamplers.0.conv, upsamplers.0.conv; no weight data: none */
};

/* Self-attention over all pixels with a single head as wide as the features. */
struct vae_attention {
    char name[MODULE_NAME];
    struct norm group_norm;
    struct linear to_q, to_k, to_v, to_out;
};

/* Half of the autoencoder: conv_in, the levels, the middle, conv_norm_out, conv_out. */
struct vae_coder {
    const char *name; /* "encoder", "decoder" */
    struct conv conv_in, conv_out;
    struct vae_level levels[MAX_LEVELS]; /* down_blocks or up_blocks, in their order */
    struct resnet mid_resnets[2];
    struct vae_attention mid_attention;
    struct norm conv_norm_out;
};

struct vae {
    struct vae_config config;
    struct vae_coder encoder, decoder;
    struct linear quant_conv, post_quant_conv;
    struct vae_memory memory; /* the default, until it is set */
    struct weights weights;
};

/* Opens the weights and binds them. The file stays mapped until vae_close. Messages name the tensor at fault. */
status vae_open(struct vae *v, const char *weights_path, const struct vae_config *config, struct error *e);

/* The same from weights that are open: they are the VAE's from now on, whether this succeeds or not. */
status vae_bind(struct vae *v, struct weights *weights, const struct vae_config *config, struct error *e);
void vae_close(struct vae *v); /* fine on a zeroed struct */

/* Names every tensor that such an autoencoder has. Only a lack of memory fails. */
status vae_list(const struct vae_config *config, const struct tensor_visitor *visitor, struct error *e);

/* Both take the pictures of a batch one after the other: an observer sees n = 1.
 *
 * latents: [n, h, w, latent_channels], as the UNet has them (scaled). image: [n, f h, f w, 3], f = vae_factor, values
 * about -1 .. 1, not clamped. */
void vae_decode(const struct context *ctx, const struct vae *v, float *image, struct features latents);

/* For image to image, which storydiff does not do yet; recordings prove it.
 *
 * image: [n, H, W, 3] in -1 .. 1, H and W multiples of vae_factor. mean, logvar: [n, H/f, W/f, latent_channels],
 * logvar clamped to [-30, 20]. A sample is mean + exp(logvar / 2) * noise; the UNet's latents are scaling_factor
 * times that. */
void vae_encode(const struct context *ctx, const struct vae *v, float *mean, float *logvar, struct features image);

#endif
