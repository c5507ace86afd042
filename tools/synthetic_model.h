/* A model of the right shape and nobody's training: what timing needs and no download gives.
 *
 * A blueprint is a model folder in the diffusers layout without weights: model_index.json and the config.json of
 * every part. Its configs and tokenizers are copied, and beside each config goes a weights file with exactly the
 * tensors that the program would look for (the binding tables are walked without a file: sdxl/checkpoint/bind.h).
 * Nothing is held in memory but the list of names and a megabyte of numbers on their way to the disk.
 *
 * The numbers are normal, of a scale at which activations neither die nor explode however deep the network:
 *   matrices, filters      std 1 / sqrt(fan in): unit variance in, unit variance out
 *   ends of residual arms  a fifth of that: sixty added arms must not drown what they are added to
 *   embeddings             std 0.02, as CLIP begins its training
 *   norms                  weight 1; biases 0 */
#ifndef TOOLS_SYNTHETIC_MODEL_H
#define TOOLS_SYNTHETIC_MODEL_H

#include "tensor/status.h"
#include "tensor/tensor.h"

enum synthetic_form {
    SYNTHETIC_FOLDER, /* safetensors */
    SYNTHETIC_BIN,    /* the same with .bin files, as torch.save writes them */
    SYNTHETIC_SINGLE, /* one file in the original layout, without a word about its configs */
};

struct synthetic_model {
    enum synthetic_form form;
    const char *blueprint; /* a folder; weights in it are not looked at */
    const char *tokenizer; /* a folder with a tokenizer, for a blueprint that has none of its own */
    const char *out;       /* the new folder, made if need be; files of the same names are replaced; or the file */
    enum dtype dtype;      /* of the weights: F16, BF16 or F32 */
    uint64_t seed;         /* each tensor follows from seed, name and shape alone */
    /* Told before a part ("unet") is written; NULL: nobody asks. */
    void (*begins)(void *self, const char *part, size_t tensors, int64_t parameters);
    void *self;
};

/* Writes the text encoders, UNet and VAE that the blueprint has a config for; model_open takes the result if the
 * blueprint is an SDXL. Fails as reading the configs and writing files fail; what was written before stays. */
status synthetic_model_write(const struct synthetic_model *m, struct error *e);

#endif
