#include "storydiff/comic/parameters.h"

#include <inttypes.h>
#include <string.h>

const char PARAMETERS_KEY[] = "parameters";

static const char KARRAS[] = "_karras";

const char *parameters_sampler(const char *sampler)
{
    static const struct {
        const char *ours, *theirs;
    } names[] = {{"ddim", "DDIM"},         {"euler", "Euler"},           {"euler_a", "Euler a"}, {"pndm", "PLMS"},
                 {"dpmpp_2m", "DPM++ 2M"}, {"dpmpp_2m_sde", "DPM++ 2M SDE"}, {"lcm", "LCM"}};
    const char *ending = strstr(sampler, KARRAS);
    size_t length = ending != NULL ? (size_t)(ending - sampler) : strlen(sampler);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].ours) == length && strncmp(names[i].ours, sampler, length) == 0)
            return names[i].theirs;
    return sampler;
}

/* Without the blanks that styles and templates put around it. */
static void append_trimmed(struct text *out, const char *text)
{
    text += strspn(text, " ");
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    text_append_bytes(out, text, length);
    text_append(out, "\n");
}

void parameters_append(struct text *out, const struct comic *c, const int *panels, int count)
{
    const struct settings *o = &c->settings;
    const char *sampler = sampler_name(&c->sampler);
    const char *negative = c->negatives[c->plan.places[panels[0]].pass];
    for (int i = 0; i < count; i++)
        append_trimmed(out, c->prompts[panels[i]]);
    if (negative != NULL && negative[strspn(negative, " ")] != '\0') {
        text_append(out, "Negative prompt: ");
        append_trimmed(out, negative);
    }
    text_append(out, "Steps: %d, Sampler: %s, ", c->sampler.steps, parameters_sampler(sampler));
    if (strstr(sampler, KARRAS) != NULL)
        text_append(out, "Schedule type: Karras, ");
    text_append(out, "CFG scale: %g, Seed: %" PRIu64 ", Size: %" PRId64 "x%" PRId64 ", Model: %s, Version: storydiff "
                     STORYDIFF_VERSION, o->guidance_scale, c->seeds[panels[0]], o->width, o->height, c->model_name);
}
