#include "tools/conversion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"
#include "tensor/file.h"
#include "tools/conversion_write.h"

enum { PATH_BYTES = 4600 };

struct job {
    struct conversion *c;
    struct model_parts parts;
    struct clip text_encoder, text_encoder_2;
    struct unet unet;
    struct vae vae;
    struct lora *loras; /* [lora_count] */
    int lora_count;
    struct conversion_run run;
    struct error *e;
};

/* --------------------------------------------------------------------------------------------------- whole models */

static const struct part {
    enum checkpoint_part part;
    const char *weights; /* in a folder */
} parts[] = {
    {PART_TEXT_ENCODER, "text_encoder/model.safetensors"},
    {PART_TEXT_ENCODER_2, "text_encoder_2/model.safetensors"},
    {PART_UNET, "unet/diffusion_pytorch_model.safetensors"},
    {PART_VAE, "vae/diffusion_pytorch_model.safetensors"},
};

enum { PARTS = sizeof parts / sizeof *parts };

static bool has_part(const struct job *w, enum checkpoint_part part)
{
    return part != PART_TEXT_ENCODER_2 || !w->parts.one_encoder;
}

static const struct weights *weights_of_part(const struct job *w, enum checkpoint_part part)
{
    switch (part) {
    case PART_UNET: return &w->unet.weights;
    case PART_VAE: return &w->vae.weights;
    case PART_TEXT_ENCODER_2: return &w->text_encoder_2.weights;
    default: return &w->text_encoder.weights;
    }
}

/* Binding sees that everything is there and of the right shape, and lays LoRAs on top. */
static status bind_clip(struct job *w, struct clip *clip, enum checkpoint_part part)
{
    struct clip_config config;
    struct weights weights;
    struct lora_part loras = {.items = w->loras, .count = w->lora_count, .part = part};
    TRY(parts_clip(&w->parts, part, &config, &weights, w->e));
    weights.loras = &loras;
    return clip_bind(clip, &weights, &config, w->e);
}

static status bind_unet(struct job *w)
{
    struct unet_config config;
    struct weights weights;
    struct lora_part loras = {.items = w->loras, .count = w->lora_count, .part = PART_UNET};
    TRY(parts_unet(&w->parts, &config, &weights, w->e));
    loras.original = original_unet(&config);
    weights.loras = &loras;
    return unet_bind(&w->unet, &weights, &config, w->e);
}

static status open_loras(struct job *w)
{
    const struct model_sources *s = &w->c->sources;
    w->loras = calloc((size_t)s->lora_count + 1, sizeof *w->loras);
    if (w->loras == NULL)
        return fail(w->e, ERR_MEMORY, "no memory for %d LoRAs", s->lora_count);
    for (; w->lora_count < s->lora_count; w->lora_count++)
        TRY(lora_open(&w->loras[w->lora_count], &s->loras[w->lora_count], w->e));
    return OK;
}

static status bind_model(struct job *w)
{
    struct vae_config vae;
    struct weights weights;
    TRY(open_loras(w));
    TRY(bind_clip(w, &w->text_encoder, PART_TEXT_ENCODER));
    if (has_part(w, PART_TEXT_ENCODER_2))
        TRY(bind_clip(w, &w->text_encoder_2, PART_TEXT_ENCODER_2));
    TRY(bind_unet(w));
    TRY(parts_vae(&w->parts, &vae, &weights, w->e));
    TRY(vae_bind(&w->vae, &weights, &vae, w->e));
    for (int i = 0; i < w->lora_count; i++)
        TRY(lora_finish(&w->loras[i], &w->c->notes, w->e));
    return OK;
}

static void note_unused(struct job *w)
{
    for (int i = 0; i < PARTS; i++) {
        const struct weights *p = weights_of_part(w, parts[i].part);
        if (p->own_file != NULL)
            weights_note_unused(p->file, p->used, &w->c->notes);
    }
    parts_note_unused(&w->parts, &w->c->notes);
}

/* The rule of a part in a single file of this family. */
static struct original_names names_of(const struct job *w, enum checkpoint_part part)
{
    if (part == PART_UNET)
        return original_unet(&w->unet.config);
    if (part == PART_VAE)
        return original_vae(&w->vae.config);
    struct original_names names = original_clip(part, part == PART_TEXT_ENCODER_2);
    if (w->parts.one_encoder)
        snprintf(names.prefix, sizeof names.prefix, "cond_stage_model.transformer.");
    return names;
}

static status describe_all(const struct job *w, struct text texts[DESCRIPTIONS])
{
    for (enum description d = 0; d < DESCRIPTIONS; d++) {
        char name[PATH_BYTES];
        if (d != DESCRIBES_TEXT_ENCODER_2 || !w->parts.one_encoder)
            TRY(parts_describe(&w->parts, d, &texts[d], name, sizeof name, w->e));
    }
    return OK;
}

static status write_single(struct job *w, const struct text texts[DESCRIPTIONS])
{
    const char *metadata[2 * (DESCRIPTIONS + 2) + 1] = {"format", "pt", "modelspec.architecture",
                                                        w->parts.one_encoder ? "stable-diffusion-v1"
                                                                             : "stable-diffusion-xl-v1-base"};
    size_t count = 4;
    for (enum description d = 0; d < DESCRIPTIONS; d++)
        if (texts[d].data != NULL) {
            metadata[count++] = description_files[d];
            metadata[count++] = texts[d].data;
        }
    struct layout layout = {0};
    status s = OK;
    for (int i = 0; i < PARTS && s == OK; i++) {
        const struct weights *p = weights_of_part(w, parts[i].part);
        struct original_names names = names_of(w, parts[i].part);
        if (has_part(w, parts[i].part))
            s = layout_add_original(&layout, &names, p->bound, p->bound_count, w->e);
    }
    if (s == OK)
        s = conversion_finish_layout(&w->run, &layout);
    if (s == OK)
        s = conversion_write(&w->run, w->c->out, &layout, metadata);
    layout_free(&layout);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- folders */

static status write_text(struct job *w, const char *folder, const char *name, const void *text, size_t length)
{
    char path[PATH_BYTES], *slash;
    TRY(path_join(path, sizeof path, folder, name, w->e));
    slash = strrchr(path, '/');
    *slash = '\0';
    TRY(file_make_directory(path, w->e));
    *slash = '/';
    return file_write(path, text, length, w->e);
}

/* The files of a tokenizer that are there; a vocabulary is not needed to convert, but to draw. */
static status copy_tokenizer(struct job *w, const char *folder, enum checkpoint_part part, const char *name)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "special_tokens_map.json",
                                        "tokenizer_config.json"};
    char from[PATH_BYTES], path[PATH_BYTES], to[PATH_BYTES];
    bool borrowed;
    struct error none = {0};
    if (parts_tokenizer(&w->parts, part, from, sizeof from, &borrowed, &none) != OK || !file_is_directory(from)) {
        text_append(&w->c->notes,
                    "%sno tokenizer was found for %s: put vocab.json and merges.txt there, or name one with "
                    "--tokenizer",
                    w->c->notes.length > 0 ? "\n" : "", name);
        return OK;
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct file_map map;
        TRY(path_join(path, sizeof path, from, files[i], w->e));
        snprintf(to, sizeof to, "%s/%s", name, files[i]);
        bool pads = i >= 2 && borrowed && part == PART_TEXT_ENCODER_2; /* it would say how the first encoder pads */
        if (!file_exists(path) || pads)
            continue;
        TRY(file_map(path, &map, w->e));
        status s = write_text(w, folder, to, map.data, map.size);
        file_unmap(&map);
        TRY(s);
    }
    static const char pad[] = "{\n  \"pad_token\": \"!\"\n}\n";
    if (borrowed && part == PART_TEXT_ENCODER_2) {
        snprintf(to, sizeof to, "%s/special_tokens_map.json", name);
        return write_text(w, folder, to, pad, sizeof pad - 1);
    }
    return OK;
}

static status write_part(struct job *w, const char *folder, const struct part *part, const struct layout *layout)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    char path[PATH_BYTES];
    TRY(path_join(path, sizeof path, folder, part->weights, w->e));
    return conversion_write(&w->run, path, layout, metadata);
}

static status fill_folder(struct job *w, const char *folder, const struct text texts[DESCRIPTIONS],
                          struct layout layouts[PARTS])
{
    for (int i = 0; i < PARTS; i++) {
        const struct weights *p = weights_of_part(w, parts[i].part);
        if (!has_part(w, parts[i].part))
            continue;
        TRY(layout_add(&layouts[i], p->bound, p->bound_count, w->e));
        for (size_t t = 0; t < layouts[i].count; t++) /* linear layers, where the original has 1x1 convolutions */
            if (parts[i].part == PART_VAE && strstr(layouts[i].items[t].name, ".attentions.") != NULL &&
                layouts[i].items[t].tensor.rank == 4)
                layouts[i].items[t].tensor.rank = 2;
        TRY(conversion_finish_layout(&w->run, &layouts[i]));
    }
    for (enum description d = 0; d < DESCRIPTIONS; d++)
        if (texts[d].data != NULL)
            TRY(write_text(w, folder, description_files[d], texts[d].data, texts[d].length));
    TRY(copy_tokenizer(w, folder, PART_TEXT_ENCODER, "tokenizer"));
    if (has_part(w, PART_TEXT_ENCODER_2))
        TRY(copy_tokenizer(w, folder, PART_TEXT_ENCODER_2, "tokenizer_2"));
    for (int i = 0; i < PARTS; i++)
        if (has_part(w, parts[i].part))
            TRY(write_part(w, folder, &parts[i], &layouts[i]));
    return OK;
}

static void remove_folder(const char *folder);

/* A new folder is filled aside and renamed; one that is there and may be overwritten, file by file. */
static status write_folder(struct job *w, const struct text texts[DESCRIPTIONS])
{
    char aside[PATH_BYTES];
    struct layout layouts[PARTS] = {{0}};
    bool anew = !file_exists(w->c->out);
    size_t length = strlen(w->c->out);
    while (length > 1 && w->c->out[length - 1] == '/')
        length--;
    snprintf(aside, sizeof aside, "%.*s%s", (int)length, w->c->out, "");
    if (anew)
        snprintf(aside + length, sizeof aside - length, ".tmp-%ld", (long)getpid());
    status s = file_make_directory(aside, w->e);
    if (s == OK)
        s = fill_folder(w, aside, texts, layouts);
    if (s == OK && anew && rename(aside, w->c->out) != 0)
        s = fail(w->e, ERR_IO, "%s: cannot be given its name", w->c->out);
    if (s != OK && anew)
        remove_folder(aside);
    for (int i = 0; i < PARTS; i++)
        layout_free(&layouts[i]);
    return s;
}

/* Only what was made here: known names in known folders. */
static void remove_folder(const char *folder)
{
    static const char *const names[] = {"tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "tokenizer/special_tokens_map.json",
                                        "tokenizer/tokenizer_config.json",
                                        "tokenizer_2/vocab.json",
                                        "tokenizer_2/merges.txt",
                                        "tokenizer_2/special_tokens_map.json",
                                        "tokenizer_2/tokenizer_config.json"};
    static const char *const folders[] = {"tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2",
                                          "unet",      "vae",         "scheduler"};
    char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (path_join(path, sizeof path, folder, names[i], NULL) == OK)
            unlink(path);
    for (int i = 0; i < DESCRIPTIONS; i++)
        if (path_join(path, sizeof path, folder, description_files[i], NULL) == OK)
            unlink(path);
    for (int i = 0; i < PARTS; i++)
        if (path_join(path, sizeof path, folder, parts[i].weights, NULL) == OK)
            unlink(path);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (path_join(path, sizeof path, folder, folders[i], NULL) == OK)
            rmdir(path);
    rmdir(folder);
}

/* ----------------------------------------------------------------------------------------------------- the choice */

static bool names_file(const char *out)
{
    static const char end[] = ".safetensors";
    size_t length = strlen(out);
    return length > sizeof end - 1 && strcmp(out + length - (sizeof end - 1), end) == 0;
}

/* A single file has no place for a vocabulary; who reads it takes CLIP's. */
static void note_vocabulary(const struct job *w)
{
    enum { CLIP_IDS = 49408 };
    if (w->text_encoder.token_embedding.shape[0] != CLIP_IDS)
        text_append(&w->c->notes, "%sthe vocabulary stays behind, and it is not CLIP's: whoever uses %s needs it "
                                  "(--tokenizer)", w->c->notes.length > 0 ? "\n" : "", w->c->out);
}

static status convert_model(struct job *w)
{
    struct text texts[DESCRIPTIONS] = {{0}};
    status s = bind_model(w);
    if (s == OK)
        s = describe_all(w, texts);
    if (s == OK) {
        note_unused(w);
        if (names_file(w->c->out))
            note_vocabulary(w);
        s = names_file(w->c->out) ? write_single(w, texts) : write_folder(w, texts);
    }
    for (int i = 0; i < DESCRIPTIONS; i++)
        text_free(&texts[i]);
    return s;
}

/* Names stay, metadata does not: it may speak of what is no longer so (hashes, formats). */
static status convert_tensors(struct job *w, const struct tensor_file *file)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    struct layout layout = {0};
    if (w->c->sources.lora_count > 0)
        return fail(w->e, ERR_ARGUMENT, "%s: is %s: LoRAs are merged into whole models", w->c->in,
                    checkpoint_name(checkpoint_recognise(file)));
    if (!names_file(w->c->out))
        return fail(w->e, ERR_ARGUMENT, "%s: is %s, not a whole model: OUT must be a file that ends in .safetensors",
                    w->c->in, checkpoint_name(checkpoint_recognise(file)));
    status s = layout_add(&layout, file->items, file->count, w->e);
    if (s == OK)
        s = conversion_finish_layout(&w->run, &layout);
    if (s == OK)
        s = conversion_write(&w->run, w->c->out, &layout, metadata);
    layout_free(&layout);
    return s;
}

static bool are_one_file(const char *a, const char *b)
{
    struct stat one, two;
    return stat(a, &one) == 0 && stat(b, &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* A folder of such a name would look like a file that is not there. */
static bool names_pickle(const char *out)
{
    static const char *const ends[] = {".ckpt", ".bin", ".pt", ".pth"};
    size_t length = strlen(out);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (length > strlen(ends[i]) && strcmp(out + length - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static status check_names(const struct job *w)
{
    const struct conversion *c = w->c;
    if (are_one_file(c->in, c->out))
        return fail(w->e, ERR_ARGUMENT, "%s: is what is to be converted itself: name another OUT", c->out);
    if (names_pickle(c->out))
        return fail(w->e, ERR_ARGUMENT, "%s: pickles are read and never written: OUT is a NAME.safetensors or a folder",
                    c->out);
    if (file_exists(c->out) && !c->overwrite)
        return fail(w->e, ERR_ARGUMENT, "%s: is there already: -f overwrites it", c->out);
    return OK;
}

static status choose(struct job *w)
{
    struct conversion *c = w->c;
    enum checkpoint_kind kind = CHECKPOINT_SDXL;
    TRY(check_names(w));
    if (file_exists(c->in) && !file_is_directory(c->in)) {
        struct tensor_file file;
        TRY(tensor_file_open(c->in, &file, w->e));
        kind = checkpoint_recognise(&file);
        status s = OK;
        if (kind != CHECKPOINT_SDXL && kind != CHECKPOINT_SD15)
            s = convert_tensors(w, &file);
        tensor_file_close(&file);
        TRY(s);
    }
    if (kind != CHECKPOINT_SDXL && kind != CHECKPOINT_SD15)
        return OK;
    TRY(parts_open(c->in, &c->sources, &w->parts, w->e));
    return convert_model(w);
}

status convert(struct conversion *c, struct error *e)
{
    struct job w = {.c = c, .run = {.c = c, .e = e}, .e = e};
    status s = choose(&w);
    if (s == OK && w.run.odd > 0)
        text_append(&c->notes, "%s%llu values are infinite or no numbers at all: pictures will be black",
                    c->notes.length > 0 ? "\n" : "", (unsigned long long)w.run.odd / 2);
    clip_close(&w.text_encoder);
    clip_close(&w.text_encoder_2);
    unet_close(&w.unet);
    vae_close(&w.vae);
    parts_close(&w.parts);
    for (int i = 0; i < w.lora_count; i++)
        lora_close(&w.loras[i]);
    free(w.loras);
    return s;
}
