/* The state of a lockstep as a safetensors file: latents [panels, h, w, c] and history
 * [panels * lockstep_history, h, w, c], and as text the step, two
 * checksums (of these, and of the text states) and the recipe. Its declarations are in lockstep.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "storydiff/csa/lockstep.h"
#include "tensor/safetensors.h"

/* `times`: latents per panel */
static struct named_tensor state_tensor(const struct lockstep *l, const char *name, const float *data, int times)
{
    return (struct named_tensor){
        name, {.data = data, .dtype = DTYPE_F32, .rank = 4, .shape = {l->request->panels * times, l->h, l->w, l->c}}};
}

/* Of what the prompts became: a vocabulary or a text encoder that was changed shows here, wherever it was changed. */
static void text_checksum(const struct conditioning *t, char sum[16])
{
    uLong crc = crc32_z(crc32(0, NULL, 0), (const Bytef *)t->states,
                        (size_t)(t->count * t->tokens * t->width) * sizeof(float));
    snprintf(sum, 16, "%08lx",
             crc32_z(crc, (const Bytef *)t->pooled, (size_t)(t->count * t->pooled_width) * sizeof(float)));
}

/* Of all that counts: a file that was damaged must not go on as another picture. */
static void checksum(const struct lockstep *l, const char *step, const void *latents, const void *history,
                     char sum[16])
{
    size_t bytes = (size_t)lockstep_latents_size(l) * sizeof(float);
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)step, (uInt)strlen(step));
    snprintf(sum, 16, "%08lx",
             crc32_z(crc32_z(crc, latents, bytes), history, (size_t)lockstep_history(l->request) * bytes));
}

status lockstep_save(const struct lockstep *l, const char *path, const char *recipe, struct error *e)
{
    struct named_tensor tensors[] = {state_tensor(l, "latents", l->latents, 1),
                                    state_tensor(l, "history", l->history, lockstep_history(l->request))};
    char step[16], sum[16], text[16];
    snprintf(step, sizeof step, "%d", l->step);
    checksum(l, step, l->latents, l->history, sum);
    text_checksum(l->request->text, text);
    const char *const metadata[] = {"step", step, "checksum", sum, "text_states", text, "recipe", recipe, NULL};
    return safetensors_write(path, tensors, 2, metadata, e);
}

static status read_state(const struct lockstep *l, const struct safetensors *file, int *step, struct error *e)
{
    const struct named_tensor wanted[] = {state_tensor(l, "latents", NULL, 1),
                                          state_tensor(l, "history", NULL, lockstep_history(l->request))};
    const char *text = safetensors_meta(file, "step");
    char *end = NULL;
    long value = text != NULL ? strtol(text, &end, 10) : -1;
    if (text == NULL || end == text || *end != '\0' || value < 0 || value > l->request->sampler->steps)
        return fail(e, ERR_FORMAT, "%s: not the state of such a run (its step is \"%s\")", file->path,
                    text ? text : "");
    for (int i = 0; i < 2; i++) {
        const struct tensor *t = safetensors_find(file, wanted[i].name);
        if (t == NULL || t->dtype != DTYPE_F32 || !tensor_is(t, wanted[i].tensor.rank, wanted[i].tensor.shape))
            return fail(e, ERR_FORMAT, "%s: not the state of this story: its \"%s\" are missing or of another size",
                        file->path, wanted[i].name);
    }
    char sum[16];
    checksum(l, text, safetensors_find(file, "latents")->data, safetensors_find(file, "history")->data, sum);
    const char *saved = safetensors_meta(file, "checksum");
    if (saved == NULL || strcmp(saved, sum) != 0)
        return fail(e, ERR_FORMAT, "%s: the file is damaged, its checksum does not match; `overwrite` starts anew",
                    file->path);
    text_checksum(l->request->text, sum);
    saved = safetensors_meta(file, "text_states");
    if (saved == NULL || strcmp(saved, sum) != 0)
        return fail(e, ERR_FORMAT,
                    "%s: the prompts became other text states then (checksum %.8s, now %s): the vocabulary or a "
                    "text encoder was changed; put it back, or start anew with `overwrite`",
                    file->path, saved != NULL ? saved : "none", sum);
    *step = (int)value;
    return OK;
}

status lockstep_load(struct lockstep *l, const char *path, struct error *e)
{
    struct safetensors file;
    int step = 0;
    TRY(safetensors_open(path, &file, e));
    status s = read_state(l, &file, &step, e);
    if (s == OK)
        lockstep_go_on(l, step, safetensors_find(&file, "latents")->data, safetensors_find(&file, "history")->data);
    safetensors_close(&file);
    return s;
}
