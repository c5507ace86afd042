/* LoRA files (Hu et al. 2021): for some of a model's weights a pair of thin matrices, whose product is added.
 *
 *   W' = W + weight * alpha / r * up . down        alpha absent: r
 *
 * Nobody agrees on how to call them. All of these are the same thing,
 *
 *   lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight, .lora_up.weight, .alpha          kohya
 *   lora_unet_input_blocks_4_1_proj_in.lora_down.weight                                             kohya, original
 *   unet.down_blocks.1.attentions.0.proj_in.lora_A.weight, .lora_B.weight                           diffusers, PEFT
 *   unet.down_blocks.1...attn1.processor.to_q_lora.down.weight, .up.weight                          diffusers, older
 *
 * so a file is read into entries, each of one module under its diffusers or original name with underscores for dots,
 * and binding (bind.h) asks for the entry of every weight it binds. Nothing is copied: what is bound is a tensor with
 * a delta (tensor/low_rank.h), a view of the LoRA's file like everything else.
 *
 * Text encoders: lora_te_ and lora_te1_, text_encoder. are the first, lora_te2_, text_encoder_2. the second. */
#ifndef SDXL_LORA_H
#define SDXL_LORA_H

#include "sdxl/checkpoint/original_names.h"
#include "tensor/low_rank.h"
#include "tensor/tensor_file.h"
#include "tensor/text.h"

/* What somebody asked for. */
struct lora_source {
    const char *path;
    double weight; /* 1: as trained */
};

/* The part of a file that belongs to one weight. */
struct lora_entry {
    enum checkpoint_part part;
    char *module; /* "down_blocks_1_attentions_0_proj_in" */
    const char *key; /* a tensor of it, for messages */
    const struct tensor *up, *down, *alpha; /* NULL: absent */
    bool used;
    struct low_rank delta;
};

struct lora {
    double weight;
    struct tensor_file file;
    struct lora_entry *entries; /* sorted by part and module */
    size_t count;
};

/* Opens a file and sorts out its names. Refuses, by name, what is no plain LoRA (LoHa, LoKr, DoRA, OFT, Tucker
 * decompositions, differences of whole weights) and files without any. The caller closes it, after the model. */
status lora_open(struct lora *l, const struct lora_source *source, struct error *e);
void lora_close(struct lora *l); /* fine on a zeroed struct */

/* The LoRAs of a part of a model that is being bound. */
struct lora_part {
    struct lora *items;
    int count;
    enum checkpoint_part part;
    struct original_names original; /* of the UNet; .part NONE: there are no other names */
};

/* Adds to `weight` (the tensor called `name`, diffusers' way) what the LoRAs have for it. Fails, naming file, key and
 * shapes, if that does not fit. */
status lora_add(const struct lora_part *loras, const char *name, struct tensor *weight, struct error *e);

/* After binding: fails if nothing of the file had a place in the model; else appends a line that names what had none,
 * if anything. notes: NULL, no lines. */
status lora_finish(const struct lora *l, struct text *notes, struct error *e);

#endif
