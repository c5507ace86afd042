/* Models that are recorded without weights: `weights.json` says how tools/synthesize makes them, from which seed, and
 * the SHA-256 of what must come out.
 *
 *   {"tool": "synthesize", "seed": 101, "dtype": "f16",     "blueprint": "sdxl" where it is not the folder itself
 *    "sha256_sorted": {"unet/diffusion_pytorch_model.safetensors": "766d.."}}     of the data, in the order of names
 *
 * They are made once, into a folder of their own, and taken again where the sums are right. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/cpu.h"
#include "tests/golden.h"
#include "tests/sha256.h"
#include "tools/synthetic_model.h"

/* ----------------------------------------------------------------------------------------------------- the sums */

/* Of the tensors' data: what does not depend on how the header is written. */
static status sum_of_data(const char *path, struct sha256_text *sum, struct error *e)
{
    struct safetensors file;
    struct sha256 h = sha256_start();
    TRY(safetensors_open(path, &file, e));
    for (size_t i = 0; i < file.count; i++) {
        const struct tensor *t = &file.items[i].tensor;
        sha256_add(&h, t->data, (size_t)tensor_count(t) * dtype_size(t->dtype));
    }
    safetensors_close(&file);
    *sum = sha256_finish(&h);
    return OK;
}

/* Of the whole file. */
static status sum_of_file(const char *path, struct sha256_text *sum, struct error *e)
{
    struct file_map map;
    struct sha256 h = sha256_start();
    TRY(file_map(path, &map, e));
    sha256_add(&h, map.data, map.size);
    file_unmap(&map);
    *sum = sha256_finish(&h);
    return OK;
}

/* Whether every file under `made` has its sum. */
static bool files_are_right(const struct json *sums, const char *made)
{
    bool right = true;
    for (const struct json *v = sums->child; v != NULL && right; v = v->next) {
        char path[4096 + 256];
        struct sha256_text sum;
        snprintf(path, sizeof path, "%s/%s", made, v->key);
        right = sum_of_file(path, &sum, NULL) == OK && strcmp(sum.hex, json_string(v, "")) == 0;
    }
    return right;
}

/* The same of their data; with `g` each is a line. */
static bool sums_are_right(struct golden *g, const char *where, const struct json *sums, const char *made)
{
    bool right = true;
    for (const struct json *v = sums->child; v != NULL; v = v->next) {
        char path[4096 + 256];
        struct sha256_text sum = {""};
        struct error e = {0};
        snprintf(path, sizeof path, "%s/%s", made, v->key);
        bool same = sum_of_data(path, &sum, &e) == OK && strcmp(sum.hex, json_string(v, "")) == 0;
        if (g != NULL)
            golden_check(g, where, v->key, same,
                         same           ? "made, SHA-256 as recorded"
                         : e.code == OK ? "made, but of other bytes than those that were recorded"
                                        : e.message);
        right = right && same;
    }
    return right;
}

/* ----------------------------------------------------------------------------------------------------- the model */

static const struct {
    const char *name;
    enum dtype dtype;
} formats[] = {{"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}, {"f32", DTYPE_F32}};

/* The folder to make it in: as its seed, not its place, decides. */
static status read_recipe(struct golden *g, const char *folder, const struct json *recipe, struct synthetic_model *m,
                          char blueprint[4096], char out[4096], struct error *e)
{
    const char *dtype = json_string(json_get(recipe, "dtype"), ""),
               *name = json_string(json_get(recipe, "blueprint"), NULL);
    const struct json *seed = json_get(recipe, "seed");
    size_t i = 0;
    while (i < sizeof formats / sizeof *formats && strcmp(formats[i].name, dtype) != 0)
        i++;
    if (strcmp(json_string(json_get(recipe, "tool"), ""), "synthesize") != 0 || seed == NULL || !seed->is_integer ||
        i == sizeof formats / sizeof *formats)
        return fail(e, ERR_FORMAT, "%s/weights.json: not a recipe of tools/synthesize with its seed and dtype",
                    folder);
    if (name != NULL)
        TRY(path_join(blueprint, 4096, "tools/blueprints", name, e));
    else
        TRY(path_join(blueprint, 4096, folder, "", e));
    char made[300];
    const char *last = strrchr(folder, '/');
    snprintf(made, sizeof made, "%.200s-%s-seed%lld",
             name   ? name
             : last ? last + 1
                    : folder,
             dtype, (long long)json_int(seed, 0));
    TRY(path_join(out, 4096, g->weights, made, e));
    *m = (struct synthetic_model){.blueprint = blueprint,
                                  .tokenizer = "tests/models/default/tokenizer",
                                  .out = out,
                                  .dtype = formats[i].dtype,
                                  .seed = (uint64_t)json_int(seed, 0)};
    return OK;
}

static status make(struct golden *g, const char *folder, const struct json *recipe, char out[4096], struct error *e)
{
    struct synthetic_model m;
    char blueprint[4096];
    const struct json *sums = json_get(recipe, "sha256_sorted"), *files = json_get(recipe, "sha256");
    TRY(read_recipe(g, folder, recipe, &m, blueprint, out, e));
    if (sums == NULL && files == NULL)
        return fail(e, ERR_FORMAT, "%s/weights.json: no \"sha256_sorted\": what was made could be anything", folder);
    if (sums != NULL ? !sums_are_right(NULL, folder, sums, out) : !files_are_right(files, out)) {
        TRY(file_make_directory(out, e));
        TRY(synthetic_model_write(&m, e));
    }
    if (sums != NULL)
        sums_are_right(g, folder, sums, out);
    else if (files_are_right(files, out))
        golden_check(g, folder, "sha256", true, "made, SHA-256 of the files as recorded");
    else
        golden_skip(g, folder, "\"sha256\" is of files with other headers, or of other weights: what follows tells");
    return OK;
}

/* The folder `from`, which has a weights.json, made or made before. */
static status made_folder(struct golden *g, const char *from, const char **to, struct error *e)
{
    char recipe_path[4096];
    const struct json *recipe;
    int i = 0;
    for (; i < MADE && g->made[i].from[0] != '\0'; i++)
        if (strcmp(g->made[i].from, from) == 0) {
            *to = g->made[i].to;
            return OK;
        }
    if (i == MADE)
        return fail(e, ERR_ARGUMENT, "%s: more than %d models to make", from, MADE);
    TRY(path_join(recipe_path, sizeof recipe_path, from, "weights.json", e));
    TRY(json_read(recipe_path, &recipe, e));
    status s = make(g, from, recipe, g->made[i].to, e);
    json_free(recipe);
    if (s != OK)
        return s;
    strcpy(g->made[i].from, from);
    *to = g->made[i].to;
    return OK;
}

status golden_model(struct golden *g, const char *folder, const char *relative, char out[4096], struct error *e)
{
    char joined[4096], full[PATH_MAX], parent[PATH_MAX], recipe[4096];
    TRY(path_join(joined, sizeof joined, folder, relative, e));
    if (realpath(joined, full) == NULL)
        return fail(e, ERR_IO, "%s: there is no such model folder", joined);
    strcpy(parent, full);
    for (int up = 0; up < 2 && parent[0] != '\0'; up++) { /* a model, or a part of one */
        const char *made = NULL;
        TRY(path_join(recipe, sizeof recipe, parent, "weights.json", e));
        if (file_exists(recipe)) {
            TRY(made_folder(g, parent, &made, e));
            return path_join(out, 4096, made, full + strlen(parent), e);
        }
        *strrchr(parent, '/') = '\0';
    }
    return path_join(out, 4096, joined, "", e);
}

/* ----------------------------------------------------------------------------------------------------- the case */

static const struct golden_kind parts[] = {
    {"text_encoder", golden_clip, ONE_CASE, IN_EVERY_FAMILY},
    {"text_encoder_2", golden_clip, ONE_CASE, IN_EVERY_FAMILY},
    {"unet", golden_unet, ONE_CASE, IN_EVERY_FAMILY},
    {"vae", golden_vae, ONE_CASE, IN_EVERY_FAMILY},
    {"csa", golden_csa, FOLDER_OF_CASES, IN_EVERY_FAMILY},
};

/* What agreed, in one line. */
static void say_what_was_proved(const struct golden *g, const char *folder, int compared)
{
    printf("%s: %d comparisons in %s; the worst is off by %.2g of its largest value (%s)\n", folder, compared,
           getenv("STORYDIFF_CPU"), g->worst.error, g->worst.line);
}

void golden_made(struct golden *g, const char *folder)
{
    char path[4096];
    struct error e = {0};
    struct worst before = g->worst;
    if (golden_model(g, folder, "", path, &e) != OK) {
        golden_error(g, folder, &e);
        return;
    }
    g->worst = (struct worst){0};
    int failed = g->failed, compared = g->passed + g->failed;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (path_join(path, sizeof path, folder, parts[i].name, NULL) == OK && file_is_directory(path))
            golden_run_kind(g, &parts[i], path);
    if (golden_count_files(g, folder) > 0)
        golden_pipeline(g, folder);
    if (g->failed == failed)
        say_what_was_proved(g, folder, g->passed + g->failed - compared);
    g->worst = before.error > g->worst.error ? before : g->worst;
}
