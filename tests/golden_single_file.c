/* Forms of files: a whole model in the original layout, half formats, PyTorch's two. The folder beside, ../pipeline,
 * has the same model as the reference keeps it, and inputs; io.safetensors has what comes out where the weights are
 * others.
 *
 *   model.safetensors                  each tensor that is bound is, bit for bit, the folder's; and the first step's
 *                                      UNet output and the decoded picture are those recorded there
 *   diffusion_pytorch_model.X          the UNet's output with its weights: noise_pred_first.X
 *   vae.X.safetensors                  the decoded picture with its weights: decoded.X
 *   vae_original.ckpt, vae_legacy.pt   exactly the tensors of vae_original.safetensors */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/model.h"
#include "tensor/file.h"
#include "tests/golden.h"

struct forms {
    struct golden *g;
    const char *folder;
    char pipeline[4096]; /* the folder beside */
    struct safetensors inputs, outputs;
    struct unet_config unet;
    struct vae_config vae;
};

static const char *in(const struct forms *f, const char *name, char path[4200])
{
    snprintf(path, 4200, "%s/%s", f->folder, name);
    return path;
}

/* ----------------------------------------------------------------------------------------------- what is computed */

struct unet_run {
    const struct unet *unet;
    struct unet_input in;
    float *out;
};

static void run_unet(void *arg, const struct context *ctx)
{
    const struct unet_run *r = arg;
    unet_forward(ctx, r->unet, r->out, &r->in, (struct unet_options){0});
}

/* The first step's input is the first noise, once for each half: DDIM scales nothing. */
static void compare_unet(struct forms *f, const struct unet *unet, const char *path, const char *name,
                         const struct tensor *wanted)
{
    const struct safetensors *io = &f->inputs;
    const struct tensor *latents = safetensors_find(io, "latents_init"),
                        *timesteps = safetensors_find(io, "timesteps");
    const struct tensor *states = safetensors_find(io, "encoder_hidden_states");
    struct error e = {0};
    if (latents == NULL || timesteps == NULL || states == NULL || wanted == NULL || latents->shape[0] != 1) {
        golden_check(f->g, path, name, false, "no inputs, or no output, recorded");
        return;
    }
    float *one = golden_floats(latents, CHANNELS_FIRST), *t = golden_floats(timesteps, AS_IS);
    float *text = golden_floats(states, AS_IS), *embeds = golden_floats(safetensors_find(io, "text_embeds"), AS_IS);
    float *ids = golden_floats(safetensors_find(io, "time_ids"), AS_IS);
    int64_t n = states->shape[0], size = tensor_count(latents);
    float *sample = malloc((size_t)(n * size) * sizeof *sample), *out = malloc((size_t)(n * size) * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        memcpy(sample + i * size, one, (size_t)size * sizeof *one);
    struct unet_run r = {unet,
                         {.sample = {sample, n, latents->shape[2], latents->shape[3], latents->shape[1]},
                          .timestep = t[0],
                          .text = {.states = text, .tokens = states->shape[1]},
                          .text_embeds = embeds,
                          .time_ids = ids},
                         out};
    if (golden_run(f->g, run_unet, &r, NULL, &e) == OK)
        golden_compare(f->g, path, name, wanted, out, n * size, CHANNELS_FIRST, LIMIT_LAYER);
    else
        golden_error(f->g, path, &e);
    free(one), free(t), free(text), free(embeds), free(ids), free(sample), free(out);
}

struct vae_run {
    const struct vae *vae;
    struct features latents;
    float *image;
};

static void run_vae(void *arg, const struct context *ctx)
{
    const struct vae_run *r = arg;
    vae_decode(ctx, r->vae, r->image, r->latents);
}

static void compare_vae(struct forms *f, const struct vae *vae, const char *path, const char *name,
                        const struct tensor *wanted)
{
    const struct tensor *latents = safetensors_find(&f->inputs, "latents");
    struct error e = {0};
    if (latents == NULL || wanted == NULL) {
        golden_check(f->g, path, name, false, "no latents, or no picture, recorded");
        return;
    }
    int64_t pixels = tensor_count(wanted);
    struct vae_run r = {vae,
                        {golden_floats(latents, CHANNELS_FIRST), latents->shape[0], latents->shape[2],
                         latents->shape[3], latents->shape[1]},
                        malloc((size_t)pixels * sizeof(float))};
    if (golden_run(f->g, run_vae, &r, NULL, &e) == OK)
        golden_compare(f->g, path, name, wanted, r.image, pixels, CHANNELS_FIRST, LIMIT_LAYER);
    else
        golden_error(f->g, path, &e);
    free(r.latents.x), free(r.image);
}

/* ---------------------------------------------------------------------------------------------------- whole model */

static bool same_bytes(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && tensor_count(a) == tensor_count(b) &&
           memcmp(a->data, b->data, (size_t)tensor_count(a) * dtype_size(a->dtype)) == 0;
}

static void compare_weights(struct forms *f, const char *path, const char *part, const struct weights *ours,
                            const struct weights *wanted)
{
    char detail[512];
    size_t i = 0;
    while (i < wanted->bound_count && i < ours->bound_count &&
           strcmp(ours->bound[i].name, wanted->bound[i].name) == 0 &&
           ours->bound[i].tensor.shape[0] == wanted->bound[i].tensor.shape[0] &&
           same_bytes(&ours->bound[i].tensor, &wanted->bound[i].tensor))
        i++;
    bool same = i == wanted->bound_count && i == ours->bound_count && i > 0;
    snprintf(detail, sizeof detail, "%zu tensors are those of the folder%s%s", i, same ? "" : "; the next is not: ",
             same                      ? ""
             : i < wanted->bound_count ? wanted->bound[i].name
                                       : "there is none");
    golden_check(f->g, path, part, same, detail);
}

static void compare_model(struct forms *f, const char *name)
{
    char path[4200];
    struct model ours = {0}, wanted = {0};
    struct error e = {0};
    if (!file_exists(in(f, name, path)))
        return;
    struct model_sources sources = {.config = f->pipeline};
    status s = model_open_from(&ours, path, &sources, &e);
    if (s == OK)
        s = model_open(&wanted, f->pipeline, &e);
    if (s == OK) {
        compare_weights(f, path, "text_encoder", &ours.text_encoder.weights, &wanted.text_encoder.weights);
        compare_weights(f, path, "text_encoder_2", &ours.text_encoder_2.weights, &wanted.text_encoder_2.weights);
        compare_weights(f, path, "unet", &ours.unet.weights, &wanted.unet.weights);
        compare_weights(f, path, "vae", &ours.vae.weights, &wanted.vae.weights);
        compare_unet(f, &ours.unet, path, "noise_pred_first", safetensors_find(&f->inputs, "noise_pred_first"));
        compare_vae(f, &ours.vae, path, "decoded", safetensors_find(&f->inputs, "decoded"));
    } else {
        golden_error(f->g, path, &e);
    }
    model_close(&ours);
    model_close(&wanted);
}

/* ------------------------------------------------------------------------------------------------------ its parts */

/* "noise_pred_first.bin" is of diffusion_pytorch_model.bin, "decoded.fp16" of vae.fp16.safetensors. */
static void compare_part(struct forms *f, const struct named_tensor *recorded)
{
    static const char unet_output[] = "noise_pred_first.", vae_output[] = "decoded.";
    const char *name = recorded->name;
    char file[256], path[4200];
    struct error e = {0};
    if (strncmp(name, unet_output, sizeof unet_output - 1) == 0) {
        struct unet unet;
        snprintf(file, sizeof file, "diffusion_pytorch_model.%s", name + sizeof unet_output - 1);
        if (unet_open(&unet, in(f, file, path), &f->unet, &e) == OK)
            compare_unet(f, &unet, path, name, &recorded->tensor);
        unet_close(&unet);
    } else if (strncmp(name, vae_output, sizeof vae_output - 1) == 0) {
        struct vae vae;
        snprintf(file, sizeof file, "vae.%s.safetensors", name + sizeof vae_output - 1);
        if (vae_open(&vae, in(f, file, path), &f->vae, &e) == OK)
            compare_vae(f, &vae, path, name, &recorded->tensor);
        vae_close(&vae);
    } else {
        golden_check(f->g, f->folder, name, false, "of what file this is the output, its name does not say");
    }
    if (e.code != OK)
        golden_error(f->g, path, &e);
}

/* A file of PyTorch's against the same tensors in safetensors. */
static void compare_contents(struct forms *f, const char *name, const char *original)
{
    char path[4200], wanted_path[4200], detail[512];
    struct tensor_file ours = {0}, wanted = {0};
    struct error e = {0};
    if (!file_exists(in(f, name, path)))
        return;
    status s = tensor_file_open(path, &ours, &e);
    if (s == OK)
        s = tensor_file_open(in(f, original, wanted_path), &wanted, &e);
    size_t i = 0;
    while (s == OK && i < wanted.count && i < ours.count && strcmp(ours.items[i].name, wanted.items[i].name) == 0 &&
           tensor_is(&ours.items[i].tensor, wanted.items[i].tensor.rank, wanted.items[i].tensor.shape) &&
           same_bytes(&ours.items[i].tensor, &wanted.items[i].tensor))
        i++;
    bool same = i == wanted.count && i == ours.count && i > 0;
    snprintf(detail, sizeof detail, "%zu tensors are those of %s%s%s", i, original, same ? "" : "; the next is not: ",
             same               ? ""
             : i < wanted.count ? wanted.items[i].name
                                : "there is none");
    if (s == OK)
        golden_check(f->g, path, "contents", same, detail);
    else
        golden_error(f->g, path, &e);
    tensor_file_close(&ours);
    tensor_file_close(&wanted);
}

/* ------------------------------------------------------------------------------------------------------- the case */

static status open_case(struct forms *f, struct error *e)
{
    char path[4200];
    snprintf(f->pipeline, sizeof f->pipeline, "%s/../pipeline", f->folder);
    snprintf(path, sizeof path, "%s/io-64x64.safetensors", f->pipeline);
    if (!file_exists(path)) /* the inputs alone, where the recordings of a whole trajectory are not kept */
        in(f, "inputs.safetensors", path);
    TRY(safetensors_open(path, &f->inputs, e));
    TRY(safetensors_open(in(f, "io.safetensors", path), &f->outputs, e));
    snprintf(path, sizeof path, "%s/unet/config.json", f->pipeline);
    TRY(unet_config_read(path, &f->unet, e));
    snprintf(path, sizeof path, "%s/vae/config.json", f->pipeline);
    return vae_config_read(path, &f->vae, e);
}

void golden_single_file(struct golden *g, const char *folder)
{
    struct forms f = {.g = g, .folder = folder};
    struct error e = {0};
    if (open_case(&f, &e) == OK) {
        compare_model(&f, "model.safetensors");
        for (size_t i = 0; i < f.outputs.count; i++)
            compare_part(&f, &f.outputs.items[i]);
        compare_contents(&f, "vae_original.ckpt", "vae_original.safetensors");
        compare_contents(&f, "vae_legacy.pt", "vae_original.safetensors");
    } else {
        golden_error(g, folder, &e);
    }
    safetensors_close(&f.inputs);
    safetensors_close(&f.outputs);
}
