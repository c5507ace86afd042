/* What a file of tensors is: told by its keys and shapes, never by its name. */
#ifndef SDXL_RECOGNISE_H
#define SDXL_RECOGNISE_H

#include "tensor/tensor_file.h"

enum checkpoint_kind {
    CHECKPOINT_UNKNOWN,
    CHECKPOINT_SDXL, /* a whole model, or its UNet alone, in the original layout: these two can be drawn with */
    CHECKPOINT_SD15,
    CHECKPOINT_SDXL_REFINER,
    CHECKPOINT_SDXL_INPAINTING,
    CHECKPOINT_SD15_INPAINTING,
    CHECKPOINT_PIX2PIX,
    CHECKPOINT_SD2,
    CHECKPOINT_VIDEO,
    CHECKPOINT_SD3,
    CHECKPOINT_FLUX,
    CHECKPOINT_TRANSFORMER, /* another diffusion transformer */
    CHECKPOINT_LORA,
    CHECKPOINT_LYCORIS,
    CHECKPOINT_VAE,           /* in the original layout, with or without "first_stage_model." */
    CHECKPOINT_VAE_DIFFUSERS, /* the weights of a diffusers folder's vae/ */
    CHECKPOINT_TAESD,
    CHECKPOINT_UNET_DIFFUSERS, /* ... of its unet/ */
    CHECKPOINT_TEXT_ENCODER,   /* ... of its text_encoder/ or text_encoder_2/ */
    CHECKPOINT_T5,
    CHECKPOINT_CONTROLNET,
    CHECKPOINT_EMBEDDING,
    CHECKPOINT_PHOTOMAKER,
    CHECKPOINT_IP_ADAPTER,
    CHECKPOINT_UPSCALER,
    CHECKPOINT_KINDS
};

/* CHECKPOINT_UNKNOWN if nothing is recognised. Looks at names and shapes only. */
enum checkpoint_kind checkpoint_recognise(const struct tensor_file *file);

/* What to call it in a sentence: "an SDXL refiner". */
const char *checkpoint_name(enum checkpoint_kind kind);

/* What to do with one that cannot be drawn with, or NULL: nothing can be done. */
const char *checkpoint_advice(enum checkpoint_kind kind);

/* True if there is a tensor whose name begins so. */
bool checkpoint_has(const struct tensor_file *file, const char *prefix);

#endif
