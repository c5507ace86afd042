/* Which LoRAs a comic is drawn with: those that the settings name, FILE or FILE:WEIGHT, and those that prompts name,
 * <lora:NAME:WEIGHT> as in the most used web UI. A LoRA changes the model, and all panels are drawn with one model:
 * so a name in one prompt counts for the whole story. */
#ifndef STORYDIFF_LORAS_H
#define STORYDIFF_LORAS_H

#include "sdxl/checkpoint/lora.h"

enum { LORAS_MAX = 32 };

struct lora_choice {
    char name[128]; /* without folder and ending */
    char path[4096];
    double weight;
};

struct loras {
    struct lora_choice items[LORAS_MAX];
    int count;
};

/* Adds "FILE", "FILE:WEIGHT" or, below `folder` (NULL: none) and without its ending, "NAME[:WEIGHT]". What is there
 * already with the same weight is not added twice; with another it is refused. */
status loras_add(struct loras *l, const char *text, const char *folder, struct error *e);

/* Cuts every <lora:NAME> and <lora:NAME:WEIGHT> out of a prompt, in place, and adds it. count: how many there were. */
status loras_take(struct loras *l, char *prompt, const char *folder, int *count, struct error *e);

/* Cuts them out of a text that is only shown. */
void loras_cut(char *text);

#endif
