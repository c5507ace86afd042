/* The most used web UI's interface, as far as single pictures need it. A picture is a comic of one panel without
 * characters. Source: AUTOMATIC1111's web UI, modules/api/models.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "sdxl/sampling/sampler.h"
#include "storydiff/comic/parameters.h"
#include "storydiff/picture/png.h"
#include "storydiff/studio/api.h"
#include "storydiff/studio/check.h"
#include "tensor/file.h"

static void append_base64(struct text *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        unsigned second = i + 1 < size ? bytes[i + 1] : 0, third = i + 2 < size ? bytes[i + 2] : 0;
        unsigned value = (unsigned)bytes[i] << 16 | second << 8 | third;
        char four[4] = {digits[value >> 18], digits[value >> 12 & 63], digits[value >> 6 & 63], digits[value & 63]};
        if (i + 1 >= size)
            four[2] = '=';
        if (i + 2 >= size)
            four[3] = '=';
        text_append_bytes(out, four, 4);
    }
}

/* Decodes in place what may begin with "data:image/png;base64,"; returns the size, or 0. */
static size_t decode_base64(char *text, unsigned char *out)
{
    const char *comma = strncmp(text, "data:", 5) == 0 ? strchr(text, ',') : NULL;
    size_t size = 0;
    unsigned value = 0;
    int bits = 0;
    for (const char *p = comma != NULL ? comma + 1 : text; *p != '\0' && *p != '='; p++) {
        int digit = *p >= 'A' && *p <= 'Z'   ? *p - 'A'
                    : *p >= 'a' && *p <= 'z' ? *p - 'a' + 26
                    : *p >= '0' && *p <= '9' ? *p - '0' + 52
                    : *p == '+'              ? 62
                    : *p == '/'              ? 63
                                             : -1;
        if (digit < 0)
            continue;
        value = value << 6 | (unsigned)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[size++] = (unsigned char)(value >> bits);
        }
    }
    return size;
}

/* One line of text for a script: no line breaks, no brackets, which name characters there. */
static void append_line(struct text *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        char c = (unsigned char)*p < ' ' ? ' ' : *p;
        if (c != '[' && c != ']')
            text_append_bytes(out, &c, 1);
    }
}

static bool is_karras(const char *name)
{
    return strstr(name, "_karras") != NULL;
}

/* Their name, in whatever case, with " Karras" behind it where they are meant, or ours; NULL: unknown. */
static const char *our_sampler(const char *name, bool karras)
{
    const char *ours, *plain = NULL;
    for (int i = 0; (ours = sampler_name_at(i)) != NULL; i++) {
        char theirs[80];
        snprintf(theirs, sizeof theirs, "%s%s", parameters_sampler(ours), is_karras(ours) ? " Karras" : "");
        bool meant = strcasecmp(name, ours) == 0 || strcasecmp(name, theirs) == 0;
        if (meant && (!karras || is_karras(ours)))
            return ours;
        if (meant)
            plain = ours;
        else if (karras && plain != NULL && strncmp(ours, plain, strlen(plain)) == 0 &&
                 strcmp(ours + strlen(plain), "_karras") == 0)
            return ours;
    }
    return plain;
}

/* What would have an effect there and has none here. Front ends send the neutral values. */
static bool is_one_plain_picture(const struct json *root, struct reply *reply)
{
    static const char *const counts[] = {"n_iter", "batch_size"};
    static const char *const switches[] = {"enable_hr", "restore_faces", "tiling"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (json_int(json_get(root, counts[i]), 1) != 1) {
            *reply = http_error(400, "\"n_iter\" and \"batch_size\": one picture is drawn for a request; send several");
            return false;
        }
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (json_bool(json_get(root, switches[i]), false)) {
            *reply = http_error(400, "\"enable_hr\", \"restore_faces\" and \"tiling\" are not known here: leave "
                                     "them out");
            return false;
        }
    return true;
}

static void setting(struct text *out, const struct json *root, const char *theirs, const char *ours)
{
    char room[32];
    const char *value = api_text(root, theirs, room);
    if (value == NULL || value[0] == '\0' || strcmp(value, "-1") == 0)
        return;
    text_append(out, "%s: ", ours);
    append_line(out, value);
    text_append(out, "\n");
}

/* A model by its title or its name, as a script names it; "": the default. What is neither is left as it is. */
static const char *our_model(const struct catalog *c, const char *name)
{
    for (int i = 0; i < c->model_count; i++)
        if (strcmp(c->models[i].label, name) == 0)
            return c->models[i].name;
    return name;
}

static bool write_script(const struct catalog *c, const struct json *root, struct text *out, struct reply *reply)
{
    const char *prompt = json_string(json_get(root, "prompt"), "");
    const char *sampler = json_string(json_get(root, "sampler_name"), NULL);
    const char *scheduler = json_string(json_get(root, "scheduler"), "");
    const char *model = json_string(json_get(json_get(root, "override_settings"), "sd_model_checkpoint"), NULL);
    if (prompt[strspn(prompt, " \n\t")] == '\0') {
        *reply = http_error(422, "\"prompt\" is missing");
        return false;
    }
    if (!is_one_plain_picture(root, reply))
        return false;
    text_append(out, "title: ");
    append_line(out, prompt);
    text_append(out, "\nstyle_name: (No style)\ncomic_type: none\n");
    setting(out, root, "negative_prompt", "negative_prompt");
    setting(out, root, "width", "width");
    setting(out, root, "height", "height");
    setting(out, root, "steps", "sampling_steps");
    setting(out, root, "cfg_scale", "guidance_scale");
    setting(out, root, "seed", "seed");
    char room[32];
    const char *seed = api_text(root, "seed", room);
    if (seed == NULL || seed[0] == '\0' || strcmp(seed, "-1") == 0) /* any, also where none is said */
        text_append(out, "seed: -1\n");
    if (sampler != NULL && sampler[0] != '\0') {
        const char *ours = our_sampler(sampler, strcasecmp(scheduler, "karras") == 0);
        if (ours == NULL) {
            *reply = http_error(404, "this sampler is not known; /sdapi/v1/samplers lists all");
            return false;
        }
        text_append(out, "sampler: %s\n", ours);
    }
    if (model != NULL && (model = our_model(c, model))[0] != '\0') {
        text_append(out, "sd_model_name: ");
        append_line(out, model);
        text_append(out, "\n");
    }
    text_append(out, "---\n[NC] ");
    append_line(out, prompt);
    text_append(out, " #\n");
    return !out->failed;
}

static struct reply picture(struct studio *s, const char *id)
{
    char path[COMIC_PATH], *parameters = NULL;
    struct file_map map;
    struct text out = {0};
    struct error e = {0};
    if (library_path(&s->library, id, "panel-01.png", path, &e) != OK || file_map(path, &map, &e) != OK)
        return api_failure(&e);
    png_read_text(path, PARAMETERS_KEY, &parameters, NULL);
    text_append(&out, "{\"images\": [\"");
    append_base64(&out, map.data, map.size);
    text_append(&out, "\"], \"parameters\": {}, \"info\": ");
    struct text info = {0};
    text_append(&info, "{\"infotexts\": [");
    text_append_json_string(&info, parameters != NULL ? parameters : "");
    text_append(&info, "]}");
    text_append_json_string(&out, info.data != NULL ? info.data : "{}");
    text_append(&out, "}");
    text_free(&info);
    free(parameters);
    file_unmap(&map);
    return http_json(out);
}

/* Waits until it is drawn. The thread is this connection's own. */
static struct reply wait_for(struct studio *s, const char *id)
{
    struct comic_record c;
    struct error e = {0};
    do {
        usleep(100000);
        if (library_read(&s->library, id, &c, &e) != OK)
            return api_failure(&e);
        if (queue_has_ended(s->queue))
            return http_error(503, "the studio has ended before this picture was drawn");
    } while (c.state == COMIC_QUEUED || c.state == COMIC_DRAWING);
    if (c.state == COMIC_FINISHED)
        return picture(s, id);
    return http_error(c.state == COMIC_FAILED ? 400 : 500, c.message[0] != '\0' ? c.message : "interrupted");
}

static struct reply txt2img(struct studio *s, const struct request *r)
{
    const struct json *root;
    struct reply reply = http_error(503, "not enough memory");
    struct text script = {0};
    struct comic_record c;
    struct error e = {0};
    struct story story = {0};
    struct settings *settings = malloc(sizeof *settings);
    text_free(&reply.body);
    if (!api_body(r, &root, &reply)) {
        free(settings);
        return reply;
    }
    bool keep = json_bool(json_get(root, "save_images"), false);
    if (settings != NULL && write_script(&s->catalog, root, &script, &reply)) {
        status result = check_story(&s->catalog, script.data, script.length, &story, settings, NULL, &e);
        story_free(&story);
        if (result == OK)
            result = library_create(&s->library, script.data, script.length, &c, &e);
        if (result == OK)
            result = queue_add(s->queue, c.id, TASK_DRAW, NULL, NULL, &e);
        reply = result == OK ? wait_for(s, c.id) : api_failure(&e);
        if (result == OK && !keep)
            library_delete(&s->library, c.id, NULL);
    }
    json_free(root);
    text_free(&script);
    free(settings);
    return reply;
}

static struct reply progress(struct studio *s)
{
    struct progress_now now = queue_progress(s->queue, NULL);
    struct text out = {0};
    long long thousandths = now.steps > 0 ? 1000LL * now.step / now.steps : 0;
    text_append(&out, "{\"progress\": %lld.%03lld, \"eta_relative\": %lld.0, \"state\": {\"skipped\": false, "
                      "\"interrupted\": %s, \"job\": \"%s\", \"job_count\": %d, \"sampling_step\": %d, "
                      "\"sampling_steps\": %d}, \"current_image\": null, \"textinfo\": null}",
                thousandths / 1000, thousandths % 1000, (long long)(now.seconds_left > 0 ? now.seconds_left : 0),
                now.stopping ? "true" : "false", now.id, now.id[0] != '\0', now.step, now.steps);
    return http_json(out);
}

static struct reply interrupt(struct studio *s)
{
    struct progress_now now = queue_progress(s->queue, NULL);
    struct text out = {0};
    if (now.id[0] != '\0')
        queue_stop(s->queue, now.id, NULL);
    text_append(&out, "{}");
    return http_json(out);
}

static struct reply models(const struct studio *s)
{
    struct text out = {0};
    text_append(&out, "[");
    for (int i = 0; i < s->catalog.model_count; i++) {
        const struct catalog_item *m = &s->catalog.models[i];
        text_append(&out, "%s{\"title\": ", i > 0 ? ", " : "");
        text_append_json_string(&out, m->label);
        text_append(&out, ", \"model_name\": ");
        text_append_json_string(&out, m->name[0] != '\0' ? m->name : m->label);
        text_append(&out, ", \"hash\": null, \"sha256\": null, \"filename\": \"\", \"config\": null}");
    }
    text_append(&out, "]");
    return http_json(out);
}

/* Each once: Karras' sigmas are a scheduler there, and where the steps are placed a model's affair. */
static struct reply list_samplers(void)
{
    struct text out = {0};
    const char *name;
    text_append(&out, "[");
    for (int i = 0; (name = sampler_name_at(i)) != NULL; i++)
        if (!is_karras(name) && strstr(name, "_trailing") == NULL)
            text_append(&out, "%s{\"name\": \"%s\", \"aliases\": [\"%s\"], \"options\": {}}",
                        out.length > 1 ? ", " : "", parameters_sampler(name), name);
    text_append(&out, "]");
    return http_json(out);
}

static struct reply png_info(const struct request *r)
{
    const struct json *root;
    struct reply reply;
    struct error e = {0};
    struct text out = {0};
    char *text = NULL;
    if (!api_body(r, &root, &reply))
        return reply;
    const char *image = json_string(json_get(root, "image"), "");
    char *copy = strdup(image);
    unsigned char *bytes = copy != NULL ? malloc(strlen(copy) + 1) : NULL;
    size_t size = bytes != NULL ? decode_base64(copy, bytes) : 0;
    if (png_decode_text("the picture", bytes, size, PARAMETERS_KEY, &text, &e) == OK) {
        text_append(&out, "{\"info\": ");
        text_append_json_string(&out, text != NULL ? text : "");
        text_append(&out, ", \"items\": {}, \"parameters\": {}}");
        reply = http_json(out);
    } else {
        reply = api_failure(&e);
    }
    free(text);
    free(bytes);
    free(copy);
    json_free(root);
    return reply;
}

static struct reply options(void)
{
    struct text out = {0};
    text_append(&out, "{\"samples_format\": \"png\", \"sd_model_checkpoint\": \"\"}");
    return http_json(out);
}

struct reply webui_handle(struct studio *s, const struct request *r, const char *path)
{
    bool get = strcmp(r->method, "GET") == 0, post = strcmp(r->method, "POST") == 0;
    if (strcmp(path, "txt2img") == 0 && post)
        return txt2img(s, r);
    if (strcmp(path, "progress") == 0 && get)
        return progress(s);
    if (strcmp(path, "interrupt") == 0 && post)
        return interrupt(s);
    if (strcmp(path, "sd-models") == 0 && get)
        return models(s);
    if (strcmp(path, "samplers") == 0 && get)
        return list_samplers();
    if (strcmp(path, "png-info") == 0 && post)
        return png_info(r);
    if (strcmp(path, "options") == 0 && get)
        return options();
    return http_error(404, "of this interface there are txt2img, progress, interrupt, sd-models, samplers, png-info "
                           "and options");
}
