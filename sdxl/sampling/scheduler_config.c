/* One table says it all: per key its kind, its range or names, where it goes, and what its absence means to each
 * class. A second one lists the keys that are understood well enough to refuse. */
#include "sdxl/sampling/scheduler_config.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/file.h"

static const char *const class_names[SCHEDULER_CLASSES] = {
    [SCHEDULER_DDIM] = "DDIMScheduler",
    [SCHEDULER_EULER] = "EulerDiscreteScheduler",
    [SCHEDULER_EULER_ANCESTRAL] = "EulerAncestralDiscreteScheduler",
    [SCHEDULER_DPM_MULTISTEP] = "DPMSolverMultistepScheduler",
    [SCHEDULER_LCM] = "LCMScheduler",
    [SCHEDULER_PNDM] = "PNDMScheduler",
};

struct choice {
    const char *name; /* NULL ends the list */
    int value;
};

static const struct choice beta_schedules[] = {
    {"linear", BETA_LINEAR}, {"scaled_linear", BETA_SCALED_LINEAR}, {"squaredcos_cap_v2", BETA_SQUAREDCOS_CAP_V2},
    {0}};
static const struct choice prediction_types[] = {
    {"epsilon", PREDICTION_EPSILON}, {"v_prediction", PREDICTION_V}, {"sample", PREDICTION_SAMPLE}, {0}};
static const struct choice timestep_spacings[] = {
    {"leading", SPACING_LEADING}, {"linspace", SPACING_LINSPACE}, {"trailing", SPACING_TRAILING}, {0}};
static const struct choice final_sigmas_types[] = {{"zero", FINAL_SIGMA_ZERO}, {"sigma_min", FINAL_SIGMA_MIN}, {0}};

/* The last names of these two are DEIS's and UniPC's, for which diffusers substitutes its own defaults. */
static const struct choice algorithm_types[] = {
    {"dpmsolver++", ALGORITHM_DPMSOLVER_PP}, {"sde-dpmsolver++", ALGORITHM_SDE_DPMSOLVER_PP},
    {"deis", ALGORITHM_DPMSOLVER_PP}, {0}};
static const struct choice solver_types[] = {
    {"midpoint", SOLVER_MIDPOINT}, {"heun", SOLVER_HEUN}, {"logrho", SOLVER_MIDPOINT}, {"bh1", SOLVER_MIDPOINT},
    {"bh2", SOLVER_MIDPOINT}, {0}};

enum key_kind { KEY_INTEGER, KEY_REAL, KEY_FLAG, KEY_CHOICE };

struct key {
    const char *name;
    size_t offset; /* in struct scheduler_settings */
    enum key_kind kind;
    double least, most;
    const struct choice *choices;
    double defaults[SCHEDULER_CLASSES]; /* DDIM, Euler, its ancestral, DPM multistep, LCM, PNDM; NAN: has no such key */
};

/* The field is named as the key. */
#define KEY(field) #field, offsetof(struct scheduler_settings, field)

static const struct key keys[] = {
    {KEY(num_train_timesteps), KEY_INTEGER, 2, 100000, NULL, {1000, 1000, 1000, 1000, 1000, 1000}},
    {KEY(beta_start), KEY_REAL, 0, 1, NULL, {0.0001, 0.0001, 0.0001, 0.0001, 0.00085, 0.0001}},
    {KEY(beta_end), KEY_REAL, 0, 1, NULL, {0.02, 0.02, 0.02, 0.02, 0.012, 0.02}},
    {KEY(beta_schedule), KEY_CHOICE, 0, 0, beta_schedules,
     {BETA_LINEAR, BETA_LINEAR, BETA_LINEAR, BETA_LINEAR, BETA_SCALED_LINEAR, BETA_LINEAR}},
    {KEY(rescale_betas_zero_snr), KEY_FLAG, 0, 0, NULL, {false, NAN, NAN, NAN, false, NAN}},
    {KEY(prediction_type), KEY_CHOICE, 0, 0, prediction_types,
     {PREDICTION_EPSILON, PREDICTION_EPSILON, PREDICTION_EPSILON, PREDICTION_EPSILON, PREDICTION_EPSILON,
      PREDICTION_EPSILON}},
    {KEY(timestep_spacing), KEY_CHOICE, 0, 0, timestep_spacings,
     {SPACING_LEADING, SPACING_LINSPACE, SPACING_LINSPACE, SPACING_LINSPACE, NAN, SPACING_LEADING}},
    {KEY(steps_offset), KEY_INTEGER, 0, 100000, NULL, {0, 0, 0, 0, NAN, 0}},
    {KEY(set_alpha_to_one), KEY_FLAG, 0, 0, NULL, {true, NAN, NAN, NAN, NAN, false}},
    {KEY(clip_sample), KEY_FLAG, 0, 0, NULL, {true, NAN, NAN, NAN, false, NAN}},
    {KEY(clip_sample_range), KEY_REAL, 0, 1e6, NULL, {1, NAN, NAN, NAN, 1, NAN}},
    {KEY(use_karras_sigmas), KEY_FLAG, 0, 0, NULL, {NAN, false, NAN, false, NAN, NAN}},
    {KEY(final_sigmas_type), KEY_CHOICE, 0, 0, final_sigmas_types,
     {NAN, FINAL_SIGMA_ZERO, NAN, FINAL_SIGMA_MIN, NAN, NAN}},
    {KEY(algorithm_type), KEY_CHOICE, 0, 0, algorithm_types, {NAN, NAN, NAN, ALGORITHM_DPMSOLVER_PP, NAN, NAN}},
    {KEY(solver_type), KEY_CHOICE, 0, 0, solver_types, {NAN, NAN, NAN, SOLVER_MIDPOINT, NAN, NAN}},
    {KEY(solver_order), KEY_INTEGER, 1, 2, NULL, {NAN, NAN, NAN, 2, NAN, NAN}},
    {KEY(lower_order_final), KEY_FLAG, 0, 0, NULL, {NAN, NAN, NAN, true, NAN, NAN}},
    {KEY(euler_at_final), KEY_FLAG, 0, 0, NULL, {NAN, NAN, NAN, false, NAN, NAN}},
    {KEY(lambda_min_clipped), KEY_REAL, -1e6, 1e6, NULL, {NAN, NAN, NAN, -INFINITY, NAN, NAN}},
    {KEY(original_inference_steps), KEY_INTEGER, 1, 100000, NULL, {NAN, NAN, NAN, NAN, 50, NAN}},
    {KEY(timestep_scaling), KEY_REAL, 0, 1e6, NULL, {NAN, NAN, NAN, NAN, 10, NAN}},
    /* diffusers' default is false, but no model was published without the key. */
    {KEY(skip_prk_steps), KEY_FLAG, 0, 0, NULL, {NAN, NAN, NAN, NAN, NAN, true}},
};

/* Keys of which one value only is implemented. `only` is a string, or NULL where the key must be false or absent. */
static const struct {
    const char *name, *only;
    bool classes[SCHEDULER_CLASSES];
} refusals[] = {
    {"thresholding", NULL, {[SCHEDULER_DDIM] = true, [SCHEDULER_DPM_MULTISTEP] = true, [SCHEDULER_LCM] = true}},
    {"rescale_betas_zero_snr", NULL, /* its sigma is infinite where these begin */
     {[SCHEDULER_EULER] = true, [SCHEDULER_EULER_ANCESTRAL] = true, [SCHEDULER_DPM_MULTISTEP] = true}},
    {"interpolation_type", "linear", {[SCHEDULER_EULER] = true}},
    {"timestep_type", "discrete", {[SCHEDULER_EULER] = true}},
    {"sigma_min", NULL, {[SCHEDULER_EULER] = true}},
    {"sigma_max", NULL, {[SCHEDULER_EULER] = true}},
    {"variance_type", NULL, {[SCHEDULER_DPM_MULTISTEP] = true}},
    {"use_lu_lambdas", NULL, {[SCHEDULER_DPM_MULTISTEP] = true}},
    {"use_flow_sigmas", NULL, {[SCHEDULER_DPM_MULTISTEP] = true}},
    {"use_exponential_sigmas", NULL, {[SCHEDULER_EULER] = true, [SCHEDULER_DPM_MULTISTEP] = true}},
    {"use_beta_sigmas", NULL, {[SCHEDULER_EULER] = true, [SCHEDULER_DPM_MULTISTEP] = true}},
};

enum { MAX_FILE_BYTES = 4 << 20 };

/* Overwrites -Infinity, outside strings, with as many bytes of JSON. */
static void replace_infinity(char *text, size_t length)
{
    static const char infinity[] = "-Infinity", replacement[] = "null     ";
    size_t n = sizeof infinity - 1;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && length - i >= n && memcmp(text + i, infinity, n) == 0)
            memcpy(text + i, replacement, n);
    }
}

static status parse(const char *source, const char *text, size_t length, struct scheduler_config *config,
                    struct error *e)
{
    if (length > MAX_FILE_BYTES)
        return fail(e, ERR_FORMAT, "%s: %zu bytes are too many for a scheduler's config", source, length);
    char *copy = malloc(length + 1);
    config->source = strdup(source);
    if (copy == NULL || config->source == NULL) {
        free(copy);
        return fail(e, ERR_MEMORY, "%s: not enough memory to read %zu bytes", source, length);
    }
    if (length > 0)
        memcpy(copy, text, length);
    replace_infinity(copy, length);
    status result = json_parse(source, copy, length, &config->json, e);
    free(copy);
    if (result == OK && config->json->kind != JSON_OBJECT)
        return fail(e, ERR_FORMAT, "%s: this is not a scheduler's config: it must be a JSON object", source);
    return result;
}

status scheduler_config_parse(const char *source, const char *text, size_t length, struct scheduler_config *config,
                              struct error *e)
{
    *config = (struct scheduler_config){0};
    status result = parse(source, text, length, config, e);
    if (result != OK)
        scheduler_config_free(config);
    return result;
}

status scheduler_config_read(const char *path, struct scheduler_config *config, struct error *e)
{
    *config = (struct scheduler_config){0};
    struct file_map map;
    TRY(file_map(path, &map, e));
    status result = scheduler_config_parse(path, (const char *)map.data, map.size, config, e);
    file_unmap(&map);
    return result;
}

void scheduler_config_free(struct scheduler_config *config)
{
    free(config->source);
    json_free(config->json);
    *config = (struct scheduler_config){0};
}

status scheduler_config_class(const struct scheduler_config *config, enum scheduler_class *class, struct error *e)
{
    const char *name = json_string(json_get(config->json, "_class_name"), "");
    for (int c = 0; c < SCHEDULER_CLASSES; c++)
        if (strcmp(name, class_names[c]) == 0) {
            *class = (enum scheduler_class)c;
            return OK;
        }
    return fail(e, ERR_FORMAT,
                "%s: \"_class_name\" is \"%.64s\", which is none of %s, %s, %s, %s, %s, %s: choose a sampler by name",
                config->source, name, class_names[0], class_names[1], class_names[2], class_names[3], class_names[4],
                class_names[5]);
}

/* The value as the file has it, short, for a message. */
static const char *value_text(const struct json *value, char *text, size_t size)
{
    static const char *const others[] = {
        [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true", [JSON_ARRAY] = "[..]",
        [JSON_OBJECT] = "{..}"};
    if (value->kind == JSON_STRING)
        snprintf(text, size, "\"%.64s\"", value->string);
    else if (value->kind == JSON_NUMBER)
        snprintf(text, size, "%.12g", value->number);
    else
        snprintf(text, size, "%s", others[value->kind]);
    return text;
}

static status refuse(const struct scheduler_config *config, const char *key, const struct json *value,
                     const char *possible, struct error *e)
{
    char text[80];
    return fail(e, ERR_FORMAT, "%s: \"%s\" is %s, supported is %s", config->source, key,
                value_text(value, text, sizeof text), possible);
}

static status refuse_choice(const struct scheduler_config *config, const struct key *key, const struct json *value,
                            struct error *e)
{
    char possible[160] = "";
    for (const struct choice *c = key->choices; c->name != NULL; c++) {
        size_t used = strlen(possible);
        snprintf(possible + used, sizeof possible - used, "%s\"%s\"", used > 0 ? ", " : "", c->name);
    }
    return refuse(config, key->name, value, possible, e);
}

static void store(const struct key *key, struct scheduler_settings *settings, double value)
{
    char *field = (char *)settings + key->offset;
    if (key->kind == KEY_REAL)
        *(double *)(void *)field = value;
    else if (key->kind == KEY_FLAG)
        *(bool *)field = value != 0;
    else
        *(int *)(void *)field = (int)value;
}

static status read_key(const struct scheduler_config *config, const struct key *key, const struct json *value,
                       struct scheduler_settings *settings, struct error *e)
{
    char possible[80];
    switch (key->kind) {
    case KEY_FLAG:
        if (value->kind != JSON_TRUE && value->kind != JSON_FALSE)
            return refuse(config, key->name, value, "true, false", e);
        store(key, settings, value->kind == JSON_TRUE);
        return OK;
    case KEY_CHOICE:
        for (const struct choice *c = key->choices; c->name != NULL; c++)
            if (value->kind == JSON_STRING && strcmp(c->name, value->string) == 0) {
                store(key, settings, c->value);
                return OK;
            }
        return refuse_choice(config, key, value, e);
    case KEY_INTEGER:
    case KEY_REAL:
        break;
    }
    bool right_kind = value->kind == JSON_NUMBER && (key->kind == KEY_REAL || value->is_integer);
    if (!right_kind || !(value->number >= key->least && value->number <= key->most)) {
        snprintf(possible, sizeof possible, "%s from %g to %g", key->kind == KEY_REAL ? "a number" : "an integer",
                 key->least, key->most);
        return refuse(config, key->name, value, possible, e);
    }
    store(key, settings, value->number);
    return OK;
}

static status read_trained_betas(const struct scheduler_config *config, struct scheduler_settings *settings,
                                 struct error *e)
{
    const struct json *betas = json_get(config->json, "trained_betas");
    if (betas == NULL || betas->kind == JSON_NULL)
        return OK;
    if (betas->kind != JSON_ARRAY)
        return refuse(config, "trained_betas", betas, "an array of numbers", e);
    if (betas->count != (size_t)settings->num_train_timesteps)
        return fail(e, ERR_FORMAT, "%s: \"trained_betas\" has %zu values, but \"num_train_timesteps\" is %d",
                    config->source, betas->count, settings->num_train_timesteps);
    for (const struct json *beta = betas->child; beta != NULL; beta = beta->next)
        if (beta->kind != JSON_NUMBER)
            return refuse(config, "trained_betas", beta, "an array of numbers", e);
    settings->trained_betas = betas;
    return OK;
}

static bool is_supported(const struct json *value, const char *only)
{
    if (value == NULL || value->kind == JSON_NULL)
        return true;
    if (only == NULL)
        return value->kind == JSON_FALSE;
    return value->kind == JSON_STRING && strcmp(value->string, only) == 0;
}

status scheduler_settings_for(const struct scheduler_config *config, enum scheduler_class class,
                              struct scheduler_settings *settings, struct error *e)
{
    *settings = (struct scheduler_settings){0};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct json *value = json_get(config->json, refusals[i].name);
        if (!refusals[i].classes[class] || is_supported(value, refusals[i].only))
            continue;
        char text[80];
        return fail(e, ERR_FORMAT, "%s: \"%s\" is %s, which is not implemented for %s: try another sampler",
                    config->source, refusals[i].name, value_text(value, text, sizeof text), class_names[class]);
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (isnan(keys[i].defaults[class]))
            continue;
        const struct json *value = json_get(config->json, keys[i].name);
        if (value == NULL || value->kind == JSON_NULL)
            store(&keys[i], settings, keys[i].defaults[class]);
        else
            TRY(read_key(config, &keys[i], value, settings, e));
    }
    return read_trained_betas(config, settings, e);
}
