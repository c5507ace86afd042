#include "storydiff/csa/csa_plan.h"

const char *const csa_mode_names[] = {"off", "masked", "sampled", NULL};

/* A layer is consistent where its number is above .3; from step 20 on, above .1. */
enum { CSA_EARLY_STEPS = 20 };
static const double gate_early = 0.3, gate_late = 0.1;

struct csa_settings csa_defaults(enum csa_mode mode)
{
    return (struct csa_settings){
        .mode = mode,
        .start = mode == CSA_MASKED ? 5 : 1,
        .sa32 = 0.5,
        .sa64 = 0.5,
        .id_length = 4,
        .read_before_start = mode == CSA_MASKED ? BEFORE_ALL_TOKENS : BEFORE_PLAIN,
    };
}

int csa_grid(const struct csa_layers *layers, int layer)
{
    int grid = 0;
    while (layer >= layers->first[grid + 1])
        grid++;
    return grid;
}

static void begin_anew(struct csa_plan *plan)
{
    python_seed(&plan->gates, (int64_t)plan->settings.seed);
    torch_seed(&plan->subsets, plan->settings.seed);
    plan->step = -1;
}

void csa_plan_start(struct csa_plan *plan, struct arena *arena, const struct csa_settings *settings,
                    const struct csa_layers *layers)
{
    *plan = (struct csa_plan){.settings = *settings, .layers = *layers};
    int64_t most = 0;
    plan->gate = arena_bytes(arena, (size_t)layers->count * sizeof *plan->gate);
    plan->consistent = arena_bytes(arena, (size_t)layers->count * sizeof *plan->consistent);
    for (int grid = 0; grid < CSA_GRIDS; grid++) {
        most = layers->tokens[grid] > most ? layers->tokens[grid] : most;
        for (int i = 0; i < settings->id_length; i++)
            plan->rows[grid][i] = arena_bytes(arena, (size_t)layers->tokens[grid] * sizeof(int32_t));
    }
    plan->draws = arena_floats(arena, (settings->id_length + 1) * most);
    begin_anew(plan);
}

/* torch.rand((id_length + 1) x tokens) < rate. The last row is drawn and never used: it stands for the panel of a
 * read pass, which sees all of its own tokens. */
static void draw_subsets(struct csa_plan *plan, int grid, double rate)
{
    int64_t tokens = plan->layers.tokens[grid];
    if (tokens == 0) /* the model has no such grid */
        return;
    torch_rand(&plan->subsets, plan->draws, (plan->settings.id_length + 1) * tokens);
    for (int panel = 0; panel < plan->settings.id_length; panel++) {
        int64_t count = 0;
        for (int64_t i = 0; i < tokens; i++)
            if (plan->draws[panel * tokens + i] < (float)rate)
                plan->rows[grid][panel][count++] = (int32_t)i;
        plan->count[grid][panel] = count;
    }
}

/* One number per layer, none before the start. */
static void draw_gates(struct csa_plan *plan, int step)
{
    double threshold = step < CSA_EARLY_STEPS ? gate_early : gate_late;
    for (int layer = 0; layer < plan->layers.count; layer++) {
        bool asked = step >= plan->settings.start;
        plan->gate[layer] = asked ? python_random(&plan->gates) : -1;
        plan->consistent[layer] = plan->gate[layer] > threshold;
    }
}

/* masked: a subset is drawn at the end of each step, for the next one. sampled: one before the first step, too. */
static void draw_step(struct csa_plan *plan, int step)
{
    if (plan->settings.mode == CSA_SAMPLED || step > 0) {
        draw_subsets(plan, 0, plan->settings.sa32);
        draw_subsets(plan, 1, plan->settings.sa64);
        draw_subsets(plan, 2, plan->settings.sa64);
    }
    draw_gates(plan, step);
    plan->step = step;
}

void csa_plan_step(struct csa_plan *plan, int step)
{
    if (step < plan->step)
        begin_anew(plan);
    while (plan->step < step)
        draw_step(plan, plan->step + 1);
}
