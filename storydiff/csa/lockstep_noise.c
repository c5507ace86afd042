#include "storydiff/csa/lockstep_noise.h"

#include <string.h>

const char *const noise_mode_names[] = {"reference", "shared", "own", NULL};

int noise_groups(const struct lockstep_request *r)
{
    return r->noise == NOISE_REFERENCE ? r->pass_count : 1;
}

static uint64_t seed_of(const struct lockstep_request *r, int panel)
{
    return r->seeds != NULL ? r->seeds[panel] : r->seed;
}

int noise_seeds(const struct lockstep_request *r, uint64_t *seeds)
{
    int count = 0;
    for (int i = 0; i < r->pass_count; i++)
        for (int j = 0; j < r->passes[i].panel_count; j++) {
            uint64_t seed = seed_of(r, r->passes[i].panels[j]);
            bool known = false;
            for (int k = 0; seeds != NULL && k < count; k++)
                known = known || seeds[k] == seed;
            if (known)
                continue;
            if (seeds != NULL)
                seeds[count] = seed;
            count++;
        }
    return count;
}

/* torch.randn((n, c, h, w)) of one generator, channels first, in `scratch`; the panels of this seed take their places
 * of it, channels last. from: [n] the panel at each place, or NULL: 0 .. n-1. */
static void draw_panels(struct lockstep *l, struct torch_rng *generator, uint64_t seed, const int *from, int n)
{
    int64_t size = lockstep_latent_size(l), pixels = l->h * l->w;
    torch_randn(generator, l->scratch, n * size);
    for (int i = 0; i < n; i++) {
        int panel = from != NULL ? from[i] : i;
        float *out = l->noise + panel * size;
        const float *in = l->scratch + i * size;
        if (seed_of(l->request, panel) != seed)
            continue;
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < l->c; c++)
                out[p * l->c + c] = in[c * pixels + p];
    }
}

/* One draw for all panels of this seed: whatever place it is drawn for. */
static void draw_shared(struct lockstep *l, struct torch_rng *generator, uint64_t seed)
{
    const struct lockstep_request *r = l->request;
    size_t bytes = (size_t)lockstep_latent_size(l) * sizeof(float);
    int first = 0;
    while (seed_of(r, first) != seed)
        first++;
    draw_panels(l, generator, seed, &first, 1);
    for (int i = first + 1; i < r->panels; i++)
        if (seed_of(r, i) == seed)
            memcpy(l->noise + i * lockstep_latent_size(l), l->noise + first * lockstep_latent_size(l), bytes);
}

void noise_draw(struct lockstep *l)
{
    const struct lockstep_request *r = l->request;
    for (int k = 0; k < l->seed_count; k++) {
        struct torch_rng *generators = l->generators + k * noise_groups(r);
        switch (r->noise) {
        case NOISE_REFERENCE:
            for (int i = 0; i < r->pass_count; i++)
                draw_panels(l, &generators[i], l->seeds[k], r->passes[i].panels, r->passes[i].panel_count);
            break;
        case NOISE_SHARED: draw_shared(l, generators, l->seeds[k]); break;
        case NOISE_OWN: draw_panels(l, generators, l->seeds[k], NULL, r->panels); break;
        }
    }
}

void noise_replay(struct lockstep *l)
{
    int groups = noise_groups(l->request);
    for (int i = 0; i < l->seed_count * groups; i++)
        torch_seed(&l->generators[i], l->seeds[i / groups]);
    noise_draw(l);
    for (int step = 0; step < l->step; step++)
        if (sampler_draws_noise(l->request->sampler, step))
            noise_draw(l);
}
