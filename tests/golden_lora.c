/* LoRA files, each way of naming, on the UNet of another case: "base" names its folder and inputs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/unet/unet.h"
#include "tests/golden.h"

struct lora_case {
    const struct unet *unet;
    struct unet_input in;
    float *out;
};

static void predict(void *arg, const struct context *ctx)
{
    const struct lora_case *c = arg;
    unet_forward(ctx, c->unet, c->out, &c->in, (struct unet_options){0});
}

/* "merged weight of MODULE": what its values are with the addition. */
static void compare_weight(struct golden *g, const char *path, const struct unet *unet, const struct safetensors *io)
{
    const struct tensor *wanted = safetensors_find(io, "merged_weight");
    const char *about = safetensors_meta(io, "merged_weight");
    const char *module = about != NULL ? strrchr(about, ' ') : NULL;
    char name[256];
    if (wanted == NULL || module == NULL)
        return;
    snprintf(name, sizeof name, "%s.weight", module + 1);
    for (size_t i = 0; i < unet->weights.bound_count; i++) {
        const struct tensor *t = &unet->weights.bound[i].tensor;
        if (strcmp(unet->weights.bound[i].name, name) != 0)
            continue;
        int64_t count = tensor_count(t);
        float *ours = malloc((size_t)count * sizeof *ours);
        tensor_read(t, 0, count, ours);
        golden_compare(g, path, "merged_weight", wanted, ours, count, AS_IS, 1e-6);
        free(ours);
        return;
    }
    golden_check(g, path, "merged_weight", false, "there is no such module");
}

static status compare_output(struct golden *g, const char *path, const struct unet *unet, const struct safetensors *io,
                             const struct safetensors *base, struct error *e)
{
    const struct tensor *sample = safetensors_find(base, "sample"), *output = safetensors_find(io, "output");
    const struct tensor *states = safetensors_find(base, "encoder_hidden_states");
    const struct tensor *timestep = safetensors_find(base, "timestep");
    if (sample == NULL || states == NULL || timestep == NULL || output == NULL)
        return fail(e, ERR_FORMAT, "%s: sample, encoder_hidden_states, timestep or output are not there", path);
    float *x = golden_floats(sample, CHANNELS_FIRST), *context = golden_floats(states, AS_IS);
    float *t = golden_floats(timestep, AS_IS), *embeds = golden_floats(safetensors_find(base, "text_embeds"), AS_IS);
    float *sizes = golden_floats(safetensors_find(base, "time_ids"), AS_IS);
    const int64_t *shape = sample->shape;
    struct lora_case c = {
        .unet = unet,
        .in = {.sample = {x, shape[0], shape[2], shape[3], shape[1]},
               .timestep = t[0],
               .text = {.states = context, .tokens = states->shape[1]},
               .text_embeds = embeds,
               .time_ids = sizes},
        .out = malloc((size_t)tensor_count(output) * sizeof(float)),
    };
    status s = golden_run(g, predict, &c, NULL, e);
    if (s == OK)
        golden_compare(g, path, "output", output, c.out, tensor_count(output), CHANNELS_FIRST, LIMIT_LAYER);
    free(x), free(context), free(t), free(embeds), free(sizes), free(c.out);
    return s;
}

static status open_unet(const char *folder, const char *base, struct lora *lora, struct unet *unet, struct error *e)
{
    char file[4096];
    struct unet_config config;
    struct weights weights;
    struct lora_part loras = {.items = lora, .count = 1, .part = PART_UNET};
    snprintf(file, sizeof file, "%s/%s/config.json", folder, base);
    TRY(unet_config_read(file, &config, e));
    snprintf(file, sizeof file, "%s/%s/diffusion_pytorch_model.safetensors", folder, base);
    TRY(weights_open(file, &weights, e));
    loras.original = original_unet(&config);
    weights.loras = &loras;
    TRY(unet_bind(unet, &weights, &config, e));
    unet->weights.loras = NULL;
    return lora_finish(lora, NULL, e);
}

/* base: "the model and the inputs of ../../unet-sdxl, io-16x12.safetensors" */
static status run(struct golden *g, const char *folder, const char *path, struct safetensors *io,
                  struct safetensors *base_io, struct lora *lora, struct unet *unet, struct error *e)
{
    char base[256], inputs[256], file[4096];
    TRY(safetensors_open(path, io, e));
    const char *about = safetensors_meta(io, "base"), *strength = safetensors_meta(io, "strength");
    const char *at = about != NULL ? strstr(about, "../") : NULL;
    if (at == NULL || strength == NULL || sscanf(at, "%255[^,], %255s", base, inputs) != 2)
        return fail(e, ERR_FORMAT, "%s: no \"base\" or no \"strength\" in its metadata", path);
    static const char *const names[] = {"lora.safetensors", "pytorch_lora_weights.safetensors"};
    snprintf(file, sizeof file, "%s/%s", folder, names[0]);
    if (!file_exists(file))
        snprintf(file, sizeof file, "%s/%s", folder, names[1]);
    TRY(lora_open(lora, &(struct lora_source){file, atof(strength)}, e));
    TRY(open_unet(folder, base, lora, unet, e));
    snprintf(file, sizeof file, "%s/%s/%s", folder, base, inputs);
    TRY(safetensors_open(file, base_io, e));
    compare_weight(g, path, unet, io);
    return compare_output(g, path, unet, io, base_io, e);
}

static void io_file(struct golden *g, const char *folder, const char *path)
{
    struct safetensors io = {0}, base_io = {0};
    struct lora lora = {0};
    struct unet unet = {0};
    struct error e = {0};
    if (run(g, folder, path, &io, &base_io, &lora, &unet, &e) != OK)
        golden_error(g, path, &e);
    unet_close(&unet);
    lora_close(&lora);
    safetensors_close(&base_io);
    safetensors_close(&io);
}

void golden_lora(struct golden *g, const char *folder)
{
    golden_files(g, folder, "io", ".safetensors", io_file);
}
