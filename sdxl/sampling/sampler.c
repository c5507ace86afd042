/* The table of samplers, and what is common to them. */
#include "sdxl/sampling/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdxl/sampling/sampler_methods.h"
#include "sdxl/sampling/schedule.h"

enum noise_use { NOISE_NEVER, NOISE_WITH_ETA, NOISE_ALWAYS, NOISE_BUT_LAST };

static const struct method {
    enum scheduler_class class;
    bool has_sigmas, scales_input;
    int history;
    enum noise_use noise_use;
    status (*plan)(struct sampler *s, const char *source, struct error *e);
    struct noise_level (*noise_level)(const struct sampler *s, int i);
    void (*step)(const struct sampler *s, int i, const struct step *p);
} methods[SAMPLER_KINDS] = {
    [SAMPLER_DDIM] = {.class = SCHEDULER_DDIM, .noise_use = NOISE_WITH_ETA, .plan = ddim_plan,
                      .noise_level = alphas_noise_level, .step = ddim_step},
    [SAMPLER_EULER] = {.class = SCHEDULER_EULER, .has_sigmas = true, .scales_input = true, .noise_use = NOISE_ALWAYS,
                       .plan = euler_plan, .noise_level = euler_noise_level, .step = euler_step},
    [SAMPLER_EULER_ANCESTRAL] = {.class = SCHEDULER_EULER_ANCESTRAL, .has_sigmas = true, .scales_input = true,
                                 .noise_use = NOISE_ALWAYS, .plan = euler_plan, .noise_level = euler_noise_level,
                                 .step = euler_ancestral_step},
    [SAMPLER_DPMPP_2M] = {.class = SCHEDULER_DPM_MULTISTEP, .has_sigmas = true, .history = 1,
                          .noise_use = NOISE_NEVER, .plan = dpmpp_plan, .noise_level = dpmpp_noise_level,
                          .step = dpmpp_step},
    [SAMPLER_DPMPP_2M_SDE] = {.class = SCHEDULER_DPM_MULTISTEP, .has_sigmas = true, .history = 1,
                              .noise_use = NOISE_ALWAYS, .plan = dpmpp_plan, .noise_level = dpmpp_noise_level,
                              .step = dpmpp_step},
    [SAMPLER_LCM] = {.class = SCHEDULER_LCM, .noise_use = NOISE_BUT_LAST, .plan = lcm_plan,
                     .noise_level = alphas_noise_level, .step = lcm_step},
    [SAMPLER_PNDM] = {.class = SCHEDULER_PNDM, .history = 4, .noise_use = NOISE_NEVER, .plan = pndm_plan,
                      .noise_level = alphas_noise_level, .step = pndm_step},
};

/* What a person may ask for. The first name of a kind is its plain one. */
static const struct {
    const char *name;
    enum sampler_kind kind;
    enum { AS_CONFIGURED, KARRAS, TRAILING } change; /* of the config */
} names[] = {
    {"ddim", SAMPLER_DDIM, AS_CONFIGURED},
    {"ddim_trailing", SAMPLER_DDIM, TRAILING},
    {"euler", SAMPLER_EULER, AS_CONFIGURED},
    {"euler_karras", SAMPLER_EULER, KARRAS},
    {"euler_trailing", SAMPLER_EULER, TRAILING},
    {"euler_a", SAMPLER_EULER_ANCESTRAL, AS_CONFIGURED},
    {"euler_a_trailing", SAMPLER_EULER_ANCESTRAL, TRAILING},
    {"dpmpp_2m", SAMPLER_DPMPP_2M, AS_CONFIGURED},
    {"dpmpp_2m_karras", SAMPLER_DPMPP_2M, KARRAS},
    {"dpmpp_2m_sde", SAMPLER_DPMPP_2M_SDE, AS_CONFIGURED},
    {"dpmpp_2m_sde_karras", SAMPLER_DPMPP_2M_SDE, KARRAS},
    {"lcm", SAMPLER_LCM, AS_CONFIGURED},
    {"pndm", SAMPLER_PNDM, AS_CONFIGURED},
};

enum { NAMES = sizeof names / sizeof *names };

const char *sampler_name_at(int index)
{
    return index >= 0 && index < NAMES ? names[index].name : NULL;
}

const char *sampler_name(const struct sampler *s)
{
    return s->name;
}

/* The next letter or digit of a name in small letters, "p" for "+", 0 at the end: "DPM++ 2M Karras" and dpmpp_2m_karras
 * are one. */
static int next_letter(const char **name)
{
    while (**name == ' ' || **name == '_' || **name == '-')
        ++*name;
    int c = (unsigned char)**name;
    *name += c != '\0';
    return c == '+' ? 'p' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool same_name(const char *a, const char *b)
{
    int one, other;
    do {
        one = next_letter(&a);
        other = next_letter(&b);
    } while (one == other && one != 0);
    return one == other;
}

static status find_name(const char *name, int *found, struct error *e)
{
    char known[256] = "";
    for (int i = 0; i < NAMES; i++) {
        if (same_name(name, names[i].name)) {
            *found = i;
            return OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i].name);
    }
    return fail(e, ERR_ARGUMENT, "there is no sampler \"%.64s\"; there are %s", name, known);
}

/* Kind and settings, as the name says or, without one, as the config does. */
static status choose(struct sampler *s, const struct scheduler_config *config, const char *name, struct error *e)
{
    if (name != NULL) {
        int found = 0;
        TRY(find_name(name, &found, e));
        s->kind = names[found].kind;
        s->name = names[found].name;
        TRY(scheduler_settings_for(config, methods[s->kind].class, &s->settings, e));
        if (names[found].change == KARRAS)
            s->settings.use_karras_sigmas = true;
        if (names[found].change == TRAILING)
            s->settings.timestep_spacing = SPACING_TRAILING;
        return OK;
    }
    enum scheduler_class class;
    TRY(scheduler_config_class(config, &class, e));
    TRY(scheduler_settings_for(config, class, &s->settings, e));
    while (methods[s->kind].class != class)
        s->kind++;
    if (class == SCHEDULER_DPM_MULTISTEP && s->settings.algorithm_type == ALGORITHM_SDE_DPMSOLVER_PP)
        s->kind = SAMPLER_DPMPP_2M_SDE;
    int found = 0;
    while (names[found].kind != s->kind || (names[found].change == KARRAS) != s->settings.use_karras_sigmas)
        found++;
    s->name = names[found].name;
    return OK;
}

status sampler_takes_few_steps(const struct scheduler_config *config, const char *name, bool *few, struct error *e)
{
    struct sampler s = {0};
    TRY(choose(&s, config, name, e));
    bool euler = s.kind == SAMPLER_EULER || s.kind == SAMPLER_EULER_ANCESTRAL;
    *few = s.kind == SAMPLER_LCM || (euler && s.settings.timestep_spacing == SPACING_TRAILING);
    return OK;
}

static status check_request(const struct sampler *s, const char *source, struct error *e)
{
    if (s->steps < 1 || s->steps > s->settings.num_train_timesteps)
        return fail(e, ERR_ARGUMENT, "%s: %d steps are not possible: from 1 to \"num_train_timesteps\", %d, are",
                    source, s->steps, s->settings.num_train_timesteps);
    if (!(s->eta >= 0 && s->eta <= 1))
        return fail(e, ERR_ARGUMENT, "eta %g is not possible: from 0 to 1 is", s->eta);
    if (s->eta > 0 && methods[s->kind].noise_use != NOISE_WITH_ETA)
        return fail(e, ERR_ARGUMENT, "eta %g: only the sampler ddim has an eta, %s has none", s->eta,
                    sampler_name(s));
    return OK;
}

static status build(struct sampler *s, const struct scheduler_config *config, const char *name, struct error *e)
{
    TRY(choose(s, config, name, e));
    TRY(check_request(s, config->source, e));
    const struct method *method = &methods[s->kind];
    size_t points = (size_t)s->steps + 1;
    s->timesteps = calloc(points, sizeof *s->timesteps);
    s->sigmas = method->has_sigmas ? calloc(points, sizeof *s->sigmas) : NULL;
    s->alphas_cumprod = calloc((size_t)s->settings.num_train_timesteps, sizeof *s->alphas_cumprod);
    if (s->timesteps == NULL || (method->has_sigmas && s->sigmas == NULL) || s->alphas_cumprod == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for a schedule of %d steps", s->steps);
    TRY(schedule_alphas_cumprod(&s->settings, config->source, s->alphas_cumprod, e));
    s->settings.trained_betas = NULL;
    return method->plan(s, config->source, e);
}

status sampler_init(struct sampler *s, const struct scheduler_config *config, const char *name, int steps, double eta,
                    struct error *e)
{
    *s = (struct sampler){.steps = steps, .eta = eta};
    status result = build(s, config, name, e);
    if (result != OK)
        sampler_free(s);
    return result;
}

static status check_timesteps(const struct sampler *s, const int *timesteps, int count, struct error *e)
{
    int last = s->settings.num_train_timesteps - 1;
    if (s->kind != SAMPLER_LCM)
        return fail(e, ERR_ARGUMENT, "timesteps can be chosen for lcm only, not for %s", sampler_name(s));
    if (count < 1)
        return fail(e, ERR_ARGUMENT, "no timesteps were given");
    for (int i = 0; i < count; i++)
        if (timesteps[i] < 0 || timesteps[i] > last || (i > 0 && timesteps[i] >= timesteps[i - 1]))
            return fail(e, ERR_ARGUMENT, "timestep %d: timesteps must fall, from %d at most to 0 at least",
                        timesteps[i], last);
    return OK;
}

status sampler_set_timesteps(struct sampler *s, const int *timesteps, int count, struct error *e)
{
    TRY(check_timesteps(s, timesteps, count, e));
    double *own = malloc((size_t)(count + 1) * sizeof *own);
    if (own == NULL)
        return fail(e, ERR_MEMORY, "not enough memory for a schedule of %d steps", count);
    for (int i = 0; i < count; i++)
        own[i] = timesteps[i];
    free(s->timesteps);
    s->timesteps = own;
    s->steps = count;
    return OK;
}

void sampler_free(struct sampler *s)
{
    free(s->timesteps);
    free(s->sigmas);
    free(s->alphas_cumprod);
    *s = (struct sampler){0};
}

void sampler_scale_input(const struct sampler *s, int i, const float *x, float *scaled, int64_t n)
{
    if (!methods[s->kind].scales_input) {
        memmove(scaled, x, (size_t)n * sizeof *x);
        return;
    }
    float sigma = s->sigmas[i], scale = sqrtf(sigma * sigma + 1);
    for (int64_t k = 0; k < n; k++)
        scaled[k] = x[k] / scale;
}

bool sampler_stands_still(const struct sampler *s, int i)
{
    bool dpmpp = s->kind == SAMPLER_DPMPP_2M || s->kind == SAMPLER_DPMPP_2M_SDE;
    return dpmpp && i == s->steps - 1 && s->sigmas[i + 1] == s->sigmas[i];
}

bool sampler_draws_noise(const struct sampler *s, int i)
{
    switch (methods[s->kind].noise_use) {
    case NOISE_NEVER:
        return false;
    case NOISE_WITH_ETA:
        return s->eta > 0;
    case NOISE_ALWAYS:
        return true;
    case NOISE_BUT_LAST:
        break;
    }
    return i < s->steps - 1;
}

int sampler_history(const struct sampler *s)
{
    return methods[s->kind].history;
}

void sampler_step(const struct sampler *s, int i, const float *model_output, const float *noise, float *x,
                  float *history, float *pred_x0, int64_t n)
{
    struct step p = {.model_output = model_output, .noise = noise, .x = x, .history = history, .pred_x0 = pred_x0,
                     .n = n};
    methods[s->kind].step(s, i, &p);
}

void sampler_add_noise(const struct sampler *s, int i, const float *x0, const float *noise, float *out, int64_t n)
{
    struct noise_level at = methods[s->kind].noise_level(s, i);
    for (int64_t k = 0; k < n; k++)
        out[k] = at.signal * x0[k] + at.noise * noise[k];
}
