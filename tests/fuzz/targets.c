#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "sdxl/checkpoint/single_file.h"
#include "sdxl/hints.h"
#include "sdxl/sampling/scheduler_config.h"
#include "sdxl/text/added_tokens.h"
#include "sdxl/text/prompt_weights.h"
#include "sdxl/text/vocabulary.h"
#include "storydiff/comic/loras.h"
#include "storydiff/comic/recipe_read.h"
#include "storydiff/comic/settings.h"
#include "storydiff/csa/lockstep.h"
#include "storydiff/page/lettering.h"
#include "storydiff/picture/png.h"
#include "storydiff/story/script.h"
#include "storydiff/story/styles.h"
#include "tensor/json.h"
#include "tensor/tensor_file.h"
#include "tests/fuzz/fuzz.h"

static volatile unsigned sum; /* what was read has been read */

static void look_at(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += ((const unsigned char *)bytes)[i];
}

/* ----------------------------------------------------------------------------------------------------------------
 * json */

static void walk(const struct json *v, int depth)
{
    fuzz_expect(depth < 70, "nesting is limited");
    for (; v != NULL; v = v->next) {
        look_at(v->key, v->key != NULL ? strlen(v->key) : 0);
        look_at(v->string, v->kind == JSON_STRING ? v->string_length + 1 : 0);
        walk(v->child, depth + 1);
    }
}

static void fuzz_json(const uint8_t *bytes, size_t size)
{
    const struct json *root;
    struct error e = {0};
    fuzz_check(json_parse("file", (const char *)bytes, size, &root, &e), &e);
    walk(root, 0);
    json_free(root);
}

/* -------------------------------------------------------------------------------------------------------------
 * weights */

static void look_at_tensors(const struct tensor_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *t = &file->items[i].tensor;
        size_t bytes;
        fuzz_expect(i == 0 || strcmp(file->items[i - 1].name, file->items[i].name) < 0, "names are sorted");
        fuzz_expect(shape_bytes(t->dtype, t->rank, t->shape, &bytes) && t->data != NULL, "a shape is possible");
        fuzz_expect(bytes == 0 || (uintptr_t)t->data % dtype_size(t->dtype) == 0, "data is aligned");
        look_at(t->data, bytes);
        fuzz_expect(tensor_file_find(file, file->items[i].name) == t, "a tensor is found by its name");
    }
}

/* safetensors and PyTorch's two forms: the first bytes decide. */
static void fuzz_weights(const uint8_t *bytes, size_t size)
{
    struct fuzz_file f = fuzz_file(bytes, size);
    struct tensor_file file;
    struct error e = {0};
    status s = tensor_file_open(f.path, &file, &e);
    fuzz_check(s, &e);
    if (s == OK)
        look_at_tensors(&file);
    tensor_file_close(&file);
    fuzz_file_close(&f);
}

/* The same as a model: recognised, described by its shapes, its parts' tensors looked up. */
static void fuzz_model(const uint8_t *bytes, size_t size)
{
    struct fuzz_file f = fuzz_file(bytes, size);
    struct single_file file;
    struct error e = {0};
    fuzz_check(single_file_open(f.path, NULL, &file, &e), &e);
    static const char *const names[] = {"conv_in.weight", "text_projection.weight", "decoder.conv_in.weight",
                                        "text_model.encoder.layers.0.self_attn.k_proj.weight"};
    for (enum checkpoint_part part = PART_UNET; e.code == OK && part <= PART_TEXT_ENCODER_2; part++) {
        struct weights w;
        struct tensor t;
        if (!single_file_has(&file, part) || single_file_weights(&file, part, &w, &e) != OK)
            continue;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (weights_find(&w, names[i], &t, NULL) && t.data != NULL)
                look_at(t.data, (size_t)tensor_count(&t) * dtype_size(t.dtype));
        weights_close(&w);
    }
    single_file_close(&file);
    fuzz_file_close(&f);
}

/* -------------------------------------------------------------------------------------------------------------
 * configs */

/* What a model says of itself, and the tokens that were added to its vocabulary. */
static void fuzz_lists(const uint8_t *bytes, size_t size)
{
    const struct json *root;
    struct model_hints hints;
    struct added_tokens tokens;
    static struct vocabulary vocabulary;
    struct error e[3] = {{0}};
    if (vocabulary.size == 0)
        fuzz_expect(vocabulary_open_folder("tests/golden/pipeline/tokenizer", &vocabulary, NULL) == OK,
                    "there is a vocabulary");
    if (json_parse("file", (const char *)bytes, size, &root, NULL) != OK)
        return;
    fuzz_check(model_hints_read("file", root, &hints, &e[0]), &e[0]);
    if (e[0].code == OK)
        sum += model_hints_know(&hints, "cat", 3);
    model_hints_free(&hints);
    fuzz_check(added_tokens_read("file", &vocabulary, root, NULL, &tokens, &e[1]), &e[1]);
    sum += added_tokens_at(&tokens, "<sks>") != NULL;
    added_tokens_free(&tokens);
    fuzz_check(added_tokens_read("file", &vocabulary, NULL, root, &tokens, &e[2]), &e[2]);
    added_tokens_free(&tokens);
    json_free(root);
}

static void fuzz_configs(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    fuzz_expect(text != NULL, "there is memory");
    memcpy(text, bytes, size);
    text[size] = '\0';
    struct unet_config unet;
    struct vae_config vae;
    struct clip_config clip;
    struct scheduler_config scheduler;
    struct error e[4] = {{0}};
    fuzz_check(unet_config_parse("file", text, &unet, &e[0]), &e[0]);
    fuzz_check(vae_config_parse("file", text, &vae, &e[1]), &e[1]);
    fuzz_check(clip_config_parse("file", text, &clip, &e[2]), &e[2]);
    fuzz_check(scheduler_config_parse("file", text, size, &scheduler, &e[3]), &e[3]);
    for (enum scheduler_class class = 0; e[3].code == OK && class < SCHEDULER_CLASSES; class ++) {
        struct scheduler_settings settings;
        struct error none = {0};
        fuzz_check(scheduler_settings_for(&scheduler, class, &settings, &none), &none);
    }
    scheduler_config_free(&scheduler);
    free(text);
    fuzz_lists(bytes, size);
}

/* ----------------------------------------------------------------------------------------------------------
 * vocabulary */

static void look_up(const struct vocabulary *v)
{
    static const char *const tokens[] = {"a", "a</w>", "the</w>", "<|endoftext|>"};
    for (size_t i = 0; i < 4; i++) {
        int32_t id = vocabulary_find(v, tokens[i], strlen(tokens[i]));
        fuzz_expect(id >= -1 && id < v->size, "ids are in range");
        if (id >= 0)
            vocabulary_merge(v, id, id);
    }
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    fuzz_expect(f != NULL && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "a file can be written");
}

/* vocab.json, a zero byte, merges.txt */
static void fuzz_vocabulary_folder(const uint8_t *bytes, size_t size)
{
    static char folder[] = "/tmp/storydiff-fuzz-XXXXXX";
    static char vocab[64], merges[64];
    if (vocab[0] == '\0') {
        fuzz_expect(mkdtemp(folder) != NULL, "a folder can be made");
        snprintf(vocab, sizeof vocab, "%s/vocab.json", folder);
        snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    }
    const uint8_t *zero = size > 0 ? memchr(bytes, 0, size) : NULL;
    size_t first = zero != NULL ? (size_t)(zero - bytes) : size;
    write_file(vocab, bytes, first);
    write_file(merges, bytes + first + (zero != NULL), size - first - (zero != NULL));
    struct vocabulary v;
    struct error e = {0};
    fuzz_check(vocabulary_open_folder(folder, &v, &e), &e);
    if (e.code == OK)
        look_up(&v);
    vocabulary_close(&v);
    unlink(vocab);
    unlink(merges);
}

/* A gzip file as it is, or, because few inputs are one, the text of one, which is packed first. */
static void fuzz_gzip(const uint8_t *bytes, size_t size)
{
    struct vocabulary v;
    struct error e = {0};
    struct fuzz_file f = fuzz_file(bytes, size);
    if (size < 2 || bytes[0] != 0x1f || bytes[1] != 0x8b) {
        gzFile packed = gzdopen(dup(f.fd), "wb1");
        fuzz_expect(lseek(f.fd, 0, SEEK_SET) == 0 && ftruncate(f.fd, 0) == 0 && packed != NULL &&
                        gzwrite(packed, bytes, (unsigned)size) == (int)size && gzclose(packed) == Z_OK,
                    "a text can be packed");
    }
    fuzz_check(vocabulary_open_gzip(f.path, &v, &e), &e);
    if (e.code == OK)
        look_up(&v);
    vocabulary_close(&v);
    fuzz_file_close(&f);
}

/* ---------------------------------------------------------------------------------------------------------------
 * story */

static void fuzz_story(const uint8_t *bytes, size_t size)
{
    struct story story;
    struct settings settings = settings_default();
    struct error e = {0}, in_settings = {0};
    fuzz_check(story_parse("story", (const char *)bytes, size, &story, &e), &e);
    if (e.code == OK)
        fuzz_check(settings_from_story(&settings, &story, &in_settings), &in_settings);
    for (int i = 0; e.code == OK && i < story.panel_count; i++)
        look_at(story.panels[i].prompt, strlen(story.panels[i].prompt));
    story_free(&story);
}

static void fuzz_styles(const uint8_t *bytes, size_t size)
{
    struct fuzz_file f = fuzz_file(bytes, size);
    struct styles styles = styles_builtin();
    struct error e = {0};
    fuzz_check(styles_load(f.path, &styles, &e), &e);
    styles_free(&styles);
    fuzz_file_close(&f);
}

/* ------------------------------------------------------------------------------------------------------------
 * pictures */

static void fuzz_png(const uint8_t *bytes, size_t size)
{
    struct image image = {0};
    char *text = NULL;
    struct error e = {0}, in_text = {0};
    fuzz_check(image_decode("picture", bytes, size, &image, &e), &e);
    if (e.code == OK)
        look_at(image.rgb, (size_t)image.width * (size_t)image.height * 3);
    image_free(&image);
    fuzz_check(png_decode_text("picture", bytes, size, "storydiff", &text, &in_text), &in_text);
    free(text);
}

static void fuzz_font(const uint8_t *bytes, size_t size)
{
    static const uint32_t codes[] = {'A', 'V', 'g', ' ', 0xe9, 0x414, 0x6f2b, 0x1f600, 0xffff};
    struct fuzz_file f = fuzz_file(bytes, size);
    struct font *font = NULL;
    struct error e = {0};
    fuzz_check(font_open(f.path, &font, &e), &e);
    struct image image = {0};
    if (e.code == OK && image_new(64, 64, &image, NULL) == OK)
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
            int glyph = font_glyph(font, codes[i]);
            font_advance(font, glyph, font_glyph(font, codes[(i + 1) % 4]), 20);
            font_draw(font, glyph, 20, &image, 10 * FONT_UNITS, 40, (struct color){0, 0, 0}, NULL);
        }
    image_free(&image);
    font_close(font);
    fuzz_file_close(&f);
}

/* ------------------------------------------------------------------------------------------------------------
 * texts: what a person types, and what a picture says of itself */

/* The bytes as a text, which the caller frees. */
static char *text_of(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    fuzz_expect(text != NULL, "there is memory");
    memcpy(text, bytes, size);
    text[size] = '\0';
    return text;
}

static void fuzz_caption(const uint8_t *bytes, size_t size)
{
    static struct font *font;
    if (font == NULL)
        fuzz_expect(font_open("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", &font, NULL) == OK, "there is a font");
    char *text = text_of(bytes, size < 2000 ? size : 2000);
    struct lettering l = {0};
    struct image image = {0};
    struct error e = {0};
    fuzz_check(lettering_set(font, text, 16, 150, &l, &e), &e);
    if (e.code == OK)
        fuzz_check(lettering_cut(font, &l, 150, 100, &e), &e);
    if (e.code == OK && image_new(160, 110, &image, NULL) == OK)
        fuzz_check(lettering_draw(font, &l, &image, (struct rect){5, 5, 150, 100}, LETTERING_LEFT,
                                  (struct color){0, 0, 0}, &e),
                   &e);
    image_free(&image);
    lettering_free(&l);
    free(text);
}

/* With weights, tokens and LoRAs in it. */
static void fuzz_prompt(const uint8_t *bytes, size_t size)
{
    static struct tokenizer *tokenizer;
    if (tokenizer == NULL)
        fuzz_expect(tokenizer_open("tests/golden/pipeline/tokenizer", NULL, &tokenizer, NULL) == OK,
                    "there is a vocabulary");
    char *text = text_of(bytes, size);
    struct loras loras = {0};
    struct prompt_pairs pairs;
    struct token_windows windows;
    struct error e = {0}, in_tag = {0};
    int count = 0;
    fuzz_check(prompt_parse(text, &pairs, &e), &e);
    if (e.code == OK) {
        fuzz_check(prompt_windows(tokenizer, &pairs, LONG_PROMPT_WINDOWS, &windows, &e), &e);
        for (size_t i = 0; i < windows.count * TOKEN_WINDOW; i++)
            fuzz_expect(windows.ids[i] >= 0 && windows.ids[i] < tokenizer_size(tokenizer), "ids are in range");
        token_windows_free(&windows);
        prompt_pairs_free(&pairs);
    }
    fuzz_check(loras_take(&loras, text, "/nowhere", &count, &in_tag), &in_tag);
    look_at(text, strlen(text));
    free(text);
}

static void fuzz_recipe(const uint8_t *bytes, size_t size)
{
    char *text = text_of(bytes, size);
    struct recipe r;
    struct settings settings = settings_default();
    struct error e = {0}, in_settings = {0};
    fuzz_check(recipe_parse("picture", text, &r, &e), &e);
    if (e.code == OK) {
        sum += (unsigned)recipe_seed(&r, 0) + (unsigned)recipe_seed(&r, 999) + (unsigned)recipe_seed(&r, -1);
        fuzz_check(recipe_settings(&r, &settings, &in_settings), &in_settings);
    }
    if (e.code == OK && in_settings.code == OK && settings.prompt_count > 0) {
        struct story story;
        struct error in_story = {0};
        fuzz_check(story_from_prompts(settings.general_prompt, settings.prompts, (size_t)settings.prompt_count, &story,
                                      &in_story), &in_story);
        story_free(&story);
    }
    recipe_free(&r);
    free(text);
}

/* The state of a run of three steps of DDIM: two panels, latents of 2 x 2 x 4. */
static void fuzz_state(const uint8_t *bytes, size_t size)
{
    enum { STEPS = 3, PANELS = 2, SIDE = 2, CHANNELS = 4, VALUES = PANELS * SIDE * SIDE * CHANNELS };
    static const char config[] = "{\"_class_name\": \"DDIMScheduler\"}";
    struct fuzz_file f = fuzz_file(bytes, size);
    struct scheduler_config scheduler;
    struct sampler sampler;
    struct conditioning text = {(float[]){0}, (float[]){0}, 1, 1, 1, 1};
    float latents[VALUES] = {0}, history[VALUES] = {0};
    struct error e = {0};
    fuzz_expect(scheduler_config_parse("scheduler", config, sizeof config - 1, &scheduler, &e) == OK, "DDIM is known");
    fuzz_expect(sampler_init(&sampler, &scheduler, "ddim", STEPS, 0, &e) == OK, "it makes three steps");
    struct lockstep_request request = {.sampler = &sampler, .text = &text, .panels = PANELS};
    struct lockstep l = {
        .request = &request, .h = SIDE, .w = SIDE, .c = CHANNELS, .latents = latents, .history = history};
    fuzz_check(lockstep_load(&l, f.path, &e), &e);
    fuzz_expect(l.step >= 0 && l.step <= STEPS, "the step is one of the run's");
    look_at(latents, sizeof latents);
    sampler_free(&sampler);
    scheduler_config_free(&scheduler);
    fuzz_file_close(&f);
}

const struct fuzz_target fuzz_targets[] = {
    {"json", fuzz_json},
    {"weights", fuzz_weights},
    {"model", fuzz_model},
    {"configs", fuzz_configs},
    {"vocabulary", fuzz_vocabulary_folder},
    {"gzip", fuzz_gzip},
    {"story", fuzz_story},
    {"styles", fuzz_styles},
    {"png", fuzz_png},
    {"font", fuzz_font},
    {"caption", fuzz_caption},
    {"prompt", fuzz_prompt},
    {"recipe", fuzz_recipe},
    {"state", fuzz_state},
    {NULL, NULL},
};
