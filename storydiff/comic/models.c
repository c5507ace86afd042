#include "storydiff/comic/models.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "storydiff/story/suggest.h"
#include "tensor/file.h"

static const struct known {
    const char *name, *repository;
} known[] = {
    {"SDXL", "stabilityai/stable-diffusion-xl-base-1.0"},
    {"RealVision", "SG161222/RealVisXL_V4.0"},
    {"Juggernaut", "RunDiffusion/Juggernaut-XL-v8"},
    {"Unstable", "stablediffusionapi/sdxl-unstable-diffusers-y"},
};

enum { KNOWN = sizeof known / sizeof *known };

static const char bundled_name[] = "world";

bool models_knows(const char *name)
{
    for (int i = 0; i < KNOWN; i++)
        if (strcasecmp(known[i].name, name) == 0)
            return true;
    return strchr(name, '/') != NULL;
}

/* Whether a folder has a file. */
static bool has_file(const char *folder, const char *name)
{
    char path[4400];
    return path_join(path, sizeof path, folder, name, NULL) == OK && access(path, R_OK) == 0;
}

static bool is_model(const char *folder)
{
    return has_file(folder, "model_index.json");
}

static status bundled(char *out, size_t size, struct error *e)
{
    static const char *const places[] = {"../storydiff/models/world", "../share/storydiff/models/world",
                                         "../../storydiff/models/world"};
    char program[4096] = "";
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash = length > 0 ? strrchr(program, '/') : NULL;
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; slash != NULL && i < sizeof places / sizeof *places; i++)
        if (path_join(out, size, program, places[i], NULL) == OK && is_model(out))
            return OK;
    return fail(e, ERR_IO, "the model that comes with storydiff is not beside the program: run it from its build "
                           "folder, use make install, or name a model with `model` or `sd_model_name`");
}

static status default_cache(char *out, size_t size, struct error *e)
{
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *user = getenv("HOME");
    if (cache != NULL && cache[0] != '\0')
        return path_join(out, size, cache, "", e);
    if (home != NULL && home[0] != '\0')
        return path_join(out, size, home, "hub", e);
    return path_join(out, size, user != NULL ? user : ".", ".cache/huggingface/hub", e);
}

/* The folder below `folder` of that name, if it has what is looked for. */
static bool is_below(const char *folder, const char *name, const char *wanted, char *out, size_t size)
{
    return path_join(out, size, folder, name, NULL) == OK && has_file(out, wanted);
}

/* snapshots/REVISION with the revision that refs/main names, or else the first that has the file `wanted`. */
static bool find_snapshot(const char *repository, const char *wanted, char *out, size_t size)
{
    char path[4200], revision[128] = "", snapshots[4200];
    FILE *f = path_join(path, sizeof path, repository, "refs/main", NULL) == OK ? fopen(path, "r") : NULL;
    if (f != NULL && fgets(revision, sizeof revision, f) != NULL)
        revision[strcspn(revision, "\r\n")] = '\0';
    if (f != NULL)
        fclose(f);
    if (path_join(snapshots, sizeof snapshots, repository, "snapshots", NULL) != OK)
        return false;
    if (revision[0] != '\0' && strchr(revision, '/') == NULL && is_below(snapshots, revision, wanted, out, size))
        return true;
    struct dirent **entries;
    int count = scandir(snapshots, &entries, NULL, alphasort);
    bool found = false;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        found = found || (name[0] != '.' && is_below(snapshots, name, wanted, out, size));
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return found;
}

static bool find_repository(const char *cache, const char *repository, const char *name, const char *wanted, char *out,
                            size_t size)
{
    char hub[256] = "models--", path[4200];
    size_t length = strlen(hub);
    for (const char *p = repository; *p != '\0' && length + 3 < sizeof hub; p++) {
        hub[length++] = *p == '/' ? '-' : *p;
        if (*p == '/')
            hub[length++] = '-';
    }
    hub[length] = '\0';
    if (path_join(path, sizeof path, cache, hub, NULL) == OK && find_snapshot(path, wanted, out, size))
        return true;
    const char *last = strrchr(repository, '/');
    const char *const plain[] = {repository, last != NULL ? last + 1 : repository, name};
    for (int i = 0; i < 3; i++)
        if (is_below(cache, plain[i], wanted, out, size))
            return true;
    return false;
}

static status find_cache(const char *cache_dir, char *cache, size_t size, struct error *e)
{
    TRY(cache_dir != NULL ? path_join(cache, size, cache_dir, "", e) : default_cache(cache, size, e));
    for (size_t length = strlen(cache); length > 1 && cache[length - 1] == '/'; length--)
        cache[length - 1] = '\0';
    return OK;
}

static status unknown(const char *wanted, struct error *e)
{
    struct suggestion s = {.word = wanted};
    for (int i = 0; i < KNOWN; i++)
        suggestion_offer(&s, known[i].name);
    return fail(e, ERR_ARGUMENT, "`sd_model_name` %s is not known%s%s%s; there are SDXL, RealVision, Juggernaut and "
                                 "Unstable, any ORG/NAME of the Hugging Face hub, or `model` FOLDER", wanted,
                s.best ? " (did you mean " : "", s.best ? s.best : "", s.best ? "?)" : "");
}

static status by_name(const char *wanted, const char *cache_dir, char *out, size_t size, char *name, size_t name_size,
                      struct error *e)
{
    char cache[4096];
    const struct known hub = {wanted, wanted}, *found = strchr(wanted, '/') != NULL ? &hub : NULL;
    for (int i = 0; i < KNOWN; i++)
        if (strcasecmp(known[i].name, wanted) == 0)
            found = &known[i];
    if (found == NULL)
        return unknown(wanted, e);
    TRY(find_cache(cache_dir, cache, sizeof cache, e));
    snprintf(name, name_size, "%s", found->name);
    if (find_repository(cache, found->repository, found->name, "model_index.json", out, size))
        return OK;
    const char *last = strrchr(found->repository, '/');
    return fail(e, ERR_IO, "%s is not on this machine (storydiff itself downloads nothing): get "
                           "https://huggingface.co/%s, the files model_index.json, */*.json, */*.txt and "
                           "*/*.safetensors (the .fp16.safetensors ones are enough: 7 GB), into %s/%s, or name its "
                           "folder with `model`. Hugging Face's own tool does it with: huggingface-cli download %s "
                           "--include model_index.json '*/*.json' '*/*.txt' '*/*.fp16.safetensors'",
                found->name, found->repository, cache, last != NULL ? last + 1 : found->repository,
                found->repository);
}

/* "ORG/NAME", and neither a path from here nor one from the root. */
static bool looks_like_repository(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash != NULL && slash != path && slash[1] != '\0' && strchr(slash + 1, '/') == NULL && path[0] != '.' &&
           path[0] != '~';
}

static status by_path(const char *path, const char *cache_dir, char *out, size_t size, char *name, size_t name_size,
                      struct error *e)
{
    if (!file_exists(path) && looks_like_repository(path))
        return by_name(path, cache_dir, out, size, name, name_size, e);
    if (!file_exists(path))
        return fail(e, ERR_IO, "model %s: there is no such file or folder", path);
    TRY(path_join(out, size, path, "", e));
    for (size_t length = strlen(out); length > 1 && out[length - 1] == '/'; length--)
        out[length - 1] = '\0';
    const char *slash = strrchr(out, '/');
    snprintf(name, name_size, "%s", slash != NULL && slash[1] != '\0' ? slash + 1 : out);
    char *dot = strrchr(name, '.');
    if (dot != NULL && dot != name && !file_is_directory(out)) /* a file's name says what it is without its ending */
        *dot = '\0';
    char snapshot[4096];
    if (!is_model(out) && find_snapshot(out, "model_index.json", snapshot, sizeof snapshot))
        snprintf(out, size, "%s", snapshot);
    return OK;
}

status models_find(const char *path, const char *wanted, const char *cache_dir, char *out, size_t size, char *name,
                   size_t name_size, struct error *e)
{
    if (path != NULL && wanted != NULL)
        return fail(e, ERR_ARGUMENT, "`model` and `sd_model_name` exclude each other: give one of them");
    if (path != NULL)
        return by_path(path, cache_dir, out, size, name, name_size, e);
    if (wanted != NULL)
        return by_name(wanted, cache_dir, out, size, name, name_size, e);
    const char *preferred = getenv("STORYDIFF_MODEL");
    if (preferred != NULL && preferred[0] != '\0')
        return by_path(preferred, cache_dir, out, size, name, name_size, e);
    snprintf(name, name_size, "%s", bundled_name);
    return bundled(out, size, e);
}

bool models_find_tokenizer(const char *cache_dir, char *out, size_t size)
{
    static const char *const others[] = {"openai/clip-vit-large-patch14", "stable-diffusion-v1-5/stable-diffusion-v1-5",
                                         "runwayml/stable-diffusion-v1-5", "stabilityai/sdxl-turbo"};
    static const char *const wanted[] = {"tokenizer/vocab.json", "vocab.json"};
    char cache[4096];
    if (find_cache(cache_dir, cache, sizeof cache, NULL) != OK)
        return false;
    for (size_t w = 0; w < 2; w++) {
        for (size_t i = 0; i < KNOWN; i++)
            if (find_repository(cache, known[i].repository, known[i].name, wanted[w], out, size))
                return true;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            if (find_repository(cache, others[i], others[i], wanted[w], out, size))
                return true;
    }
    return false;
}

bool models_is_default(const char *name)
{
    char path[4096], found[128];
    return models_find(NULL, NULL, NULL, path, sizeof path, found, sizeof found, NULL) == OK &&
           strcmp(found, name) == 0;
}
