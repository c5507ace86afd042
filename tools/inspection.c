#include "tools/inspection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/text/clip.h"
#include "sdxl/unet/unet.h"
#include "sdxl/vae/vae.h"
#include "storydiff/comic/recipe.h"
#include "storydiff/picture/png.h"
#include "tensor/file.h"

enum { MAX_GROUPS = 24 };

/* Tensors that belong together. */
struct group {
    char name[64];
    size_t tensors;
    uint64_t parameters, bytes;
    bool formats[DTYPE_COUNT];
};

struct report {
    const struct inspection *how;
    const char *what;   /* "an SDXL model" */
    const char *format; /* "safetensors", "PyTorch", "folder" */
    struct group groups[MAX_GROUPS];
    size_t group_count;
    struct text problems, unused; /* lines */
    struct text *out;
};

static void add_line(struct text *lines, const char *line)
{
    text_append(lines, "%s%s", lines->length > 0 ? "\n" : "", line);
}

/* --------------------------------------------------------------------------------------------------------- groups */

static void count_tensor(struct report *r, const char *group, const struct tensor *t)
{
    size_t i = 0;
    while (i < r->group_count && strcmp(r->groups[i].name, group) != 0)
        i++;
    if (i == MAX_GROUPS) { /* the last one takes all that is left */
        i = MAX_GROUPS - 1;
        snprintf(r->groups[i].name, sizeof r->groups[i].name, "others");
    } else if (i == r->group_count) {
        snprintf(r->groups[r->group_count++].name, sizeof r->groups[i].name, "%s", group);
    }
    struct group *g = &r->groups[i];
    g->tensors++;
    g->parameters += (uint64_t)tensor_count(t);
    g->bytes += (uint64_t)tensor_count(t) * dtype_size(t->dtype);
    g->formats[t->dtype] = true;
}

/* The part that a name of the original layout belongs to, or the first words of any other. */
static void group_of(const char *name, char *group, size_t size)
{
    static const struct {
        const char *prefix, *part;
    } known[] = {
        {"model.diffusion_model.", "unet"},           {"first_stage_model.", "vae"},
        {"conditioner.embedders.0.", "text_encoder"}, {"conditioner.embedders.1.", "text_encoder_2"},
        {"cond_stage_model.", "text_encoder"},        {"model_ema.", "ema (a second copy, for training)"},
        {"lora_unet_", "lora of the unet"},           {"lora_te1_", "lora of text_encoder"},
        {"lora_te2_", "lora of text_encoder_2"},      {"lora_te_", "lora of text_encoder"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(name, known[i].prefix, strlen(known[i].prefix)) == 0) {
            snprintf(group, size, "%s", known[i].part);
            return;
        }
    snprintf(group, size, "%.*s", (int)strcspn(name, "."), name);
}

static void count_file(struct report *r, const struct tensor_file *file, const char *part)
{
    for (size_t i = 0; i < file->count; i++) {
        char group[64];
        group_of(file->items[i].name, group, sizeof group);
        count_tensor(r, part != NULL ? part : group, &file->items[i].tensor);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * forms */

static void append_formats(struct text *out, const struct group *g, const char *quote, const char *between)
{
    const char *comma = "";
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (g->formats[d]) {
            text_append(out, "%s%s%s%s", comma, quote, dtype_name((enum dtype)d), quote);
            comma = between;
        }
}

static void append_lines(struct text *out, const char *title, const struct text *lines)
{
    for (const char *line = lines->data; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        text_append(out, "%s%.*s\n", title, (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static void append_text(const struct report *r)
{
    struct text *out = r->out;
    uint64_t parameters = 0, bytes = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < r->group_count; i++) {
        parameters += r->groups[i].parameters;
        bytes += r->groups[i].bytes;
        tensors += r->groups[i].tensors;
    }
    text_append(out, "%s: %s (%s), %zu tensors, %.1f M parameters, %.1f MB\n", r->how->path, r->what, r->format,
                tensors, (double)parameters / 1e6, (double)bytes / 1e6);
    for (size_t i = 0; i < r->group_count; i++) {
        const struct group *g = &r->groups[i];
        text_append(out, "  %-34s %6zu tensors %10.2f M parameters %10.1f MB  ", g->name, g->tensors,
                    (double)g->parameters / 1e6, (double)g->bytes / 1e6);
        append_formats(out, g, "", ", ");
        text_append(out, "\n");
    }
    append_lines(out, "would not bind: ", &r->problems);
    append_lines(out, "would not be used: ", &r->unused);
}

static void append_json_lines(struct text *out, const char *key, const struct text *lines)
{
    const char *comma = "";
    text_append(out, ",\n  \"%s\": [", key);
    for (const char *line = lines->data; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        char *copy = strndup(line, length);
        text_append(out, "%s", comma);
        text_append_json_string(out, copy != NULL ? copy : "");
        free(copy);
        comma = ", ";
        line += length + (line[length] == '\n');
    }
    text_append(out, "]");
}

static void append_json(const struct report *r)
{
    struct text *out = r->out;
    text_append(out, "{\n  \"path\": ");
    text_append_json_string(out, r->how->path);
    text_append(out, ",\n  \"what\": \"%s\",\n  \"format\": \"%s\",\n  \"parts\": [", r->what, r->format);
    for (size_t i = 0; i < r->group_count; i++) {
        const struct group *g = &r->groups[i];
        text_append(out, "%s\n    {\"name\": ", i > 0 ? "," : "");
        text_append_json_string(out, g->name);
        text_append(out, ", \"tensors\": %zu, \"parameters\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"formats\": [",
                    g->tensors, g->parameters, g->bytes);
        append_formats(out, g, "\"", ", ");
        text_append(out, "]}");
    }
    text_append(out, "\n  ]");
    append_json_lines(out, "would_not_bind", &r->problems);
    append_json_lines(out, "would_not_be_used", &r->unused);
}

/* A tensor's name is a stranger's, but its reader has seen that it has no control characters. */
static void append_tensors(const struct report *r, const struct tensor_file *file)
{
    char shape[160];
    bool json = r->how->form == INSPECTION_JSON;
    if (!json && !r->how->tensors)
        return;
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *t = &file->items[i].tensor;
        shape_text(t->rank, t->shape, shape, sizeof shape);
        if (json) {
            text_append(r->out, "%s\n    {\"name\": ", i > 0 ? "," : "");
            text_append_json_string(r->out, file->items[i].name);
            text_append(r->out, ", \"format\": \"%s\", \"shape\": %s}", dtype_name(t->dtype), shape);
        } else {
            text_append(r->out, "  %s %s %s\n", file->items[i].name, dtype_name(t->dtype), shape);
        }
    }
}

/* One line a value, cut: metadata may hold whole configs. */
static void append_metadata(const struct report *r, const struct tensor_file *file)
{
    const struct json *metadata = file->safetensors.metadata;
    bool json = r->how->form == INSPECTION_JSON;
    for (const struct json *v = metadata != NULL ? metadata->child : NULL; v != NULL; v = v->next) {
        const char *value = json_string(v, "");
        if (json) {
            text_append(r->out, "%s\n    ", v == metadata->child ? "" : ",");
            text_append_json_string(r->out, v->key);
            text_append(r->out, ": ");
            text_append_json_string(r->out, value);
            continue;
        }
        struct text line = {0};
        text_append_json_string(&line, value); /* no line breaks, no escapes for terminals */
        text_append(r->out, "  metadata %s: %.*s%s\n", v->key, (int)(line.length < 100 ? line.length : 100),
                    line.data ? line.data : "", line.length > 100 ? "..." : "");
        text_free(&line);
    }
}

static void append_file(const struct report *r, const struct tensor_file *file, const char *part, bool first)
{
    if (r->how->form == INSPECTION_TEXT) {
        if (part != NULL)
            text_append(r->out, "%s: %s (%s)\n", part, file->path, file->format);
        append_metadata(r, file);
        append_tensors(r, file);
        return;
    }
    text_append(r->out, "%s\n  {\"path\": ", first ? "" : ",");
    text_append_json_string(r->out, file->path);
    text_append(r->out, ", \"metadata\": {");
    append_metadata(r, file);
    text_append(r->out, "}, \"tensors\": [");
    append_tensors(r, file);
    text_append(r->out, "]}");
}

/* --------------------------------------------------------------------------------------------------------- models */

struct model_bound {
    struct model_parts parts;
    struct clip text_encoder, text_encoder_2;
    struct unet unet;
    struct vae vae;
};

static void bind_clip(struct report *r, struct model_bound *m, struct clip *clip, enum checkpoint_part part)
{
    struct clip_config config;
    struct weights weights;
    struct error e = {0};
    if (parts_clip(&m->parts, part, &config, &weights, &e) != OK || clip_bind(clip, &weights, &config, &e) != OK)
        add_line(&r->problems, e.message);
}

/* Every part for itself, so that each says its first problem. */
static void bind_all(struct report *r, struct model_bound *m)
{
    struct unet_config unet;
    struct vae_config vae;
    struct weights weights;
    struct error e = {0};
    bind_clip(r, m, &m->text_encoder, PART_TEXT_ENCODER);
    if (!m->parts.one_encoder)
        bind_clip(r, m, &m->text_encoder_2, PART_TEXT_ENCODER_2);
    if (parts_unet(&m->parts, &unet, &weights, &e) != OK || unet_bind(&m->unet, &weights, &unet, &e) != OK)
        add_line(&r->problems, e.message);
    error_clear(&e);
    if (parts_vae(&m->parts, &vae, &weights, &e) != OK || vae_bind(&m->vae, &weights, &vae, &e) != OK)
        add_line(&r->problems, e.message);
}

static void close_all(struct model_bound *m)
{
    clip_close(&m->text_encoder);
    clip_close(&m->text_encoder_2);
    unet_close(&m->unet);
    vae_close(&m->vae);
    parts_close(&m->parts);
}

static void begin(const struct report *r)
{
    if (r->how->form == INSPECTION_JSON) {
        append_json(r);
        text_append(r->out, ",\n  \"files\": [");
    } else {
        append_text(r);
    }
}

static void end(const struct report *r)
{
    if (r->how->form == INSPECTION_JSON)
        text_append(r->out, "\n  ]\n}\n");
}

static status inspect_folder(struct report *r, bool *whole, struct error *e)
{
    struct model_bound m = {0};
    TRY(parts_open(r->how->path, &r->how->sources, &m.parts, e));
    bind_all(r, &m);
    const struct {
        const char *name;
        const struct weights *weights;
    } list[] = {{"text_encoder", &m.text_encoder.weights},
                {"text_encoder_2", &m.text_encoder_2.weights},
                {"unet", &m.unet.weights},
                {"vae", &m.vae.weights}};
    r->what = checkpoint_name(m.parts.one_encoder ? CHECKPOINT_SD15 : CHECKPOINT_SDXL);
    r->format = "folder";
    for (int i = 0; i < 4; i++)
        if (list[i].weights->own_file != NULL) {
            count_file(r, list[i].weights->file, list[i].name);
            weights_note_unused(list[i].weights->file, list[i].weights->used, &r->unused);
        }
    begin(r);
    for (int i = 0, first = true; i < 4; i++)
        if (list[i].weights->own_file != NULL) {
            append_file(r, list[i].weights->file, list[i].name, first);
            first = false;
        }
    end(r);
    *whole = r->problems.length == 0;
    close_all(&m);
    return OK;
}

static status inspect_file(struct report *r, bool *whole, struct error *e)
{
    struct tensor_file file;
    struct model_bound m = {0};
    struct error problem = {0};
    TRY(tensor_file_open(r->how->path, &file, e));
    enum checkpoint_kind kind = checkpoint_recognise(&file);
    bool model = kind == CHECKPOINT_SDXL || kind == CHECKPOINT_SD15;
    r->what = checkpoint_name(kind);
    r->format = file.format;
    count_file(r, &file, NULL);
    if (model && parts_open(r->how->path, &r->how->sources, &m.parts, &problem) == OK) {
        bind_all(r, &m);
        parts_note_unused(&m.parts, &r->unused);
    } else if (model) {
        add_line(&r->problems, problem.message);
    }
    *whole = model && r->problems.length == 0;
    begin(r);
    append_file(r, &file, NULL, true);
    end(r);
    close_all(&m);
    tensor_file_close(&file);
    return OK;
}

/* ------------------------------------------------------------------------------------------------------- pictures */

/* tEXt chunks, which other programs write: a key, a zero byte, Latin-1. The web UIs call theirs "parameters". */
static char *read_latin1_text(const struct file_map *map, const char *key)
{
    size_t length = strlen(key) + 1;
    for (size_t at = 8; map->size - at >= 12 && at <= map->size;) {
        const unsigned char *p = map->data + at;
        size_t size = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (size > map->size - at - 12)
            return NULL;
        if (memcmp(p + 4, "tEXt", 4) == 0 && size >= length && memcmp(p + 8, key, length) == 0) {
            struct text utf8 = {0};
            text_append(&utf8, "%s", "");
            for (size_t i = length; i < size; i++) {
                unsigned char c = p[8 + i];
                char bytes[2] = {(char)(c < 0x80 ? c : 0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
                text_append_bytes(&utf8, bytes, c < 0x80 ? 1 : 2);
            }
            return utf8.data;
        }
        at += size + 12;
    }
    return NULL;
}

/* Lines of a stranger's text: no escape sequences for the terminal. */
static void append_plainly(struct text *out, const char *text)
{
    for (; *text != '\0'; text++) {
        bool plain = (unsigned char)*text >= ' ' || *text == '\n' || *text == '\t';
        text_append_bytes(out, plain && *text != 0x7f ? text : " ", 1);
    }
    text_append(out, "\n");
}

static status inspect_picture(const struct inspection *how, const struct file_map *map, struct text *out,
                              struct error *e)
{
    static const char *const keys[] = {RECIPE_KEY, "parameters", "prompt", "Description"};
    const char *comma = "";
    bool json = how->form == INSPECTION_JSON;
    text_append(out, json ? "{\n  \"path\": " : "%s: a picture\n", how->path);
    if (json) {
        text_append_json_string(out, how->path);
        text_append(out, ",\n  \"what\": \"a picture\",\n  \"texts\": {");
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *text = NULL;
        TRY(png_decode_text(how->path, map->data, map->size, keys[i], &text, e));
        if (text == NULL)
            text = read_latin1_text(map, keys[i]);
        if (text == NULL)
            continue;
        text_append(out, json ? "%s\n    " : "%s", json ? comma : "");
        if (json)
            text_append_json_string(out, keys[i]);
        else
            text_append(out, "%s:\n", keys[i]);
        text_append(out, json ? ": " : "%s", "");
        if (json)
            text_append_json_string(out, text);
        else
            append_plainly(out, text);
        comma = ",";
        free(text);
    }
    if (json)
        text_append(out, "\n  }\n}\n");
    else if (comma[0] == '\0')
        text_append(out, "nothing in it says how it was made\n");
    return OK;
}

/* ---------------------------------------------------------------------------------------------------------- the
 * choice */

status inspect(const struct inspection *how, struct text *out, bool *whole, struct error *e)
{
    struct report r = {.how = how, .out = out};
    struct file_map map = {0};
    status s;
    *whole = false;
    if (file_is_directory(how->path)) {
        s = inspect_folder(&r, whole, e);
    } else {
        TRY(file_map(how->path, &map, e));
        bool picture = map.size >= 8 && memcmp(map.data, "\x89PNG\r\n\x1a\n", 8) == 0;
        s = picture ? inspect_picture(how, &map, out, e) : inspect_file(&r, whole, e);
        *whole = *whole || (picture && s == OK);
        file_unmap(&map);
    }
    text_free(&r.problems);
    text_free(&r.unused);
    return s == OK && out->failed ? fail(e, ERR_MEMORY, "%s: no memory for the report", how->path) : s;
}
