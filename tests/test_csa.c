/* Consistent self-attention: who sees whom, by which draw. Draws are checked against the generators themselves, what
 * is seen against a bank of numbers that say where they come from. */
#include "storydiff/csa/csa.h"
#include "storydiff/csa/lockstep.h"
#include "tests/check.h"
#include "tests/small_story.h"

/* The small model's up_blocks.0 has 3 x 2 layers, of a quarter of the latents' side, its up_blocks.1 3 x 1, of a
 * half. */
enum { H = 8, W = 8, TOKENS_32 = 4, TOKENS_16 = 16, MOST_TOKENS = 64, GRIDS = 2, LAYERS = 9, LAYERS_32 = 6, IDS = 2 };

struct opened {
    struct small_story story;
    struct csa csa;
};

static struct csa_settings settings_of(enum csa_mode mode)
{
    struct csa_settings settings = csa_defaults(mode);
    settings.id_length = IDS;
    settings.seed = 77;
    return settings;
}

static void open_csa(struct opened *o, const struct csa_settings *settings)
{
    struct error e = {0};
    small_story_open(&o->story, "ddim", 3);
    if (csa_open(&o->csa, &o->story.model.unet, settings, H, W, 2, &e) != OK)
        fail_msg("%s", e.message);
}

static void close_csa(struct opened *o)
{
    csa_close(&o->csa);
    small_story_close(&o->story);
}

/* ---------------------------------------------------------------------------------------------------------- plan */

static void defaults_are_the_references(void **state)
{
    (void)state;
    struct csa_settings masked = csa_defaults(CSA_MASKED), sampled = csa_defaults(CSA_SAMPLED);
    assert_int_equal(masked.start, 5);
    assert_int_equal(masked.read_before_start, BEFORE_ALL_TOKENS);
    assert_int_equal(sampled.start, 1);
    assert_int_equal(sampled.read_before_start, BEFORE_PLAIN);
    assert_true(masked.sa32 == 0.5 && masked.sa64 == 0.5 && sampled.sa32 == 0.5 && sampled.sa64 == 0.5);
    assert_int_equal(masked.id_length, 4);
    assert_int_equal(sampled.id_length, 4);
}

static void layers_and_tokens_are_those_of_the_up_blocks(void **state)
{
    (void)state;
    struct opened o;
    struct csa_settings settings = settings_of(CSA_SAMPLED);
    open_csa(&o, &settings);
    assert_int_equal(o.csa.layers.count, LAYERS);
    assert_int_equal(o.csa.layers.first[1], LAYERS_32);
    assert_int_equal(o.csa.layers.first[2], LAYERS);
    assert_int_equal(o.csa.layers.first[3], LAYERS);
    assert_int_equal(o.csa.layers.tokens[0], TOKENS_32);
    assert_int_equal(o.csa.layers.tokens[1], TOKENS_16);
    assert_int_equal(o.csa.plan.step, -1);
    close_csa(&o);
}

/* random.seed(seed), then one random() a layer at every step from the start on. */
static void check_gates(enum csa_mode mode, int steps)
{
    struct opened o;
    struct csa_settings settings = settings_of(mode);
    struct python_rng g;
    open_csa(&o, &settings);
    python_seed(&g, 77);
    for (int step = 0; step < steps; step++) {
        csa_plan_step(&o.csa.plan, step);
        for (int layer = 0; layer < LAYERS; layer++) {
            double u = step < settings.start ? -1 : python_random(&g);
            assert_true(o.csa.plan.gate[layer] == u);
            assert_int_equal(o.csa.plan.consistent[layer], u > (step < 20 ? 0.3 : 0.1));
        }
    }
    close_csa(&o);
}

static void gates_are_pythons_random_numbers(void **state)
{
    (void)state;
    check_gates(CSA_MASKED, 24);
    check_gates(CSA_SAMPLED, 24);
}

/* torch.rand((id_length + 1) x tokens) < rate, grid by grid; masked: for the step after. */
static void check_subsets_of(struct csa *csa, int grids)
{
    struct torch_rng g;
    torch_seed(&g, csa->settings.seed);
    for (int step = 0; step < 6; step++) {
        csa_plan_step(&csa->plan, step);
        assert_int_equal(csa->plan.step, step);
        for (int grid = 0; grid < grids && (csa->settings.mode == CSA_SAMPLED || step > 0); grid++) {
            float draws[(IDS + 1) * MOST_TOKENS];
            int64_t tokens = csa->layers.tokens[grid];
            torch_rand(&g, draws, (IDS + 1) * tokens);
            for (int panel = 0; panel < IDS; panel++) {
                int64_t count = 0;
                for (int32_t i = 0; i < tokens; i++)
                    if (draws[panel * tokens + i] < (float)(grid == 0 ? csa->settings.sa32 : csa->settings.sa64))
                        assert_int_equal(csa->plan.rows[grid][panel][count++], i);
                assert_int_equal(csa->plan.count[grid][panel], count);
            }
        }
    }
}

static void check_subsets(enum csa_mode mode, double sa32, double sa64)
{
    struct opened o;
    struct csa_settings settings = settings_of(mode);
    settings.sa32 = sa32;
    settings.sa64 = sa64;
    open_csa(&o, &settings);
    check_subsets_of(&o.csa, GRIDS);
    close_csa(&o);
}

static void subsets_are_torchs_random_numbers(void **state)
{
    (void)state;
    check_subsets(CSA_MASKED, 0.5, 0.5);
    check_subsets(CSA_SAMPLED, 0.5, 0.5);
    check_subsets(CSA_SAMPLED, 0.1, 0.9);
}

static void rates_of_zero_and_one_are_nothing_and_all(void **state)
{
    (void)state;
    struct opened o;
    struct csa_settings settings = settings_of(CSA_SAMPLED);
    settings.sa32 = 0;
    settings.sa64 = 1;
    open_csa(&o, &settings);
    for (int step = 0; step < 20; step++) {
        csa_plan_step(&o.csa.plan, step);
        for (int panel = 0; panel < IDS; panel++) {
            assert_int_equal(o.csa.plan.count[0][panel], 0);
            assert_int_equal(o.csa.plan.count[1][panel], TOKENS_16);
        }
    }
    close_csa(&o);
}

static void check_same_plan(const struct csa *found, const struct csa *wanted)
{
    const struct csa_plan *a = &found->plan, *b = &wanted->plan;
    assert_int_equal(a->step, b->step);
    assert_memory_equal(a->gate, b->gate, LAYERS * sizeof *a->gate);
    assert_memory_equal(a->consistent, b->consistent, LAYERS * sizeof *a->consistent);
    for (int grid = 0; grid < GRIDS; grid++)
        for (int panel = 0; panel < IDS; panel++) {
            assert_int_equal(a->count[grid][panel], b->count[grid][panel]);
            assert_memory_equal(a->rows[grid][panel], b->rows[grid][panel],
                                (size_t)a->count[grid][panel] * sizeof(int32_t));
        }
}

static void a_step_reached_directly_has_the_same_plan(void **state)
{
    (void)state;
    for (enum csa_mode mode = CSA_MASKED; mode <= CSA_SAMPLED; mode++) {
        struct opened walked;
        struct csa_settings settings = settings_of(mode);
        open_csa(&walked, &settings);
        for (int step = 0; step < 25; step++) {
            struct opened direct;
            csa_plan_step(&walked.csa.plan, step);
            csa_plan_step(&walked.csa.plan, step); /* asking again draws nothing */
            if (step % 6 != 0)
                continue;
            open_csa(&direct, &settings);
            csa_plan_step(&direct.csa.plan, step);
            check_same_plan(&direct.csa, &walked.csa);
            close_csa(&direct);
        }
        close_csa(&walked);
    }
}

/* ---------------------------------------------------------------------------------------------------------- hook */

/* A batch whose K says where it comes from: 1000 * tag + 100 * sample + token in every channel; V is its negative. */
struct batch {
    struct attention_site site;
    float *k, *v;
};

static struct batch batch_new(const struct csa *csa, int layer, int samples, int tag)
{
    int grid = csa_grid(&csa->layers, layer), side = grid == 0 ? 2 : 4;
    int64_t tokens = csa->layers.tokens[grid], c = csa->layers.width[grid], count = samples * tokens * c;
    struct batch b = {.k = room(count, sizeof(float)), .v = room(count, sizeof(float))};
    for (int64_t i = 0; i < count; i++) {
        b.k[i] = (float)(1000 * tag + 100 * (i / c / tokens) + i / c % tokens);
        b.v[i] = -b.k[i];
    }
    b.site = (struct attention_site){layer, samples, side, side, c, b.k, b.k, b.v};
    return b;
}

static void batch_free(struct batch *b)
{
    free(b->k);
    free(b->v);
}

/* Writes what a set holds, token by token, behind `seen`; returns how many there are now. */
static int list_keys(const struct key_set *sets, int count, int64_t c, int *seen)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        for (int64_t j = 0; j < sets[i].n; j++) {
            int64_t row = sets[i].rows ? sets[i].rows[j] : j;
            assert_true(sets[i].v[row * c + c - 1] == -sets[i].k[row * c]);
            seen[n++] = (int)sets[i].k[row * c];
        }
    return n;
}

/* The tokens of id panel `panel` in a batch: those drawn, or all. */
static int expect_tokens(const struct csa *csa, int layer, int panel, bool all, int base, int *wanted, int n)
{
    int grid = csa_grid(&csa->layers, layer);
    int64_t count = all ? csa->layers.tokens[grid] : csa->plan.count[grid][panel];
    for (int64_t j = 0; j < count; j++)
        wanted[n++] = base + (all ? (int)j : csa->plan.rows[grid][panel][j]);
    return n;
}

static void check_seen(const struct batch *b, struct csa_pass *pass, int64_t sample, const int *wanted, int count)
{
    struct key_set sets[HOOK_KEY_SETS];
    struct attention_hook hook = csa_hook(pass);
    int seen[HOOK_KEY_SETS * TOKENS_16];
    int sets_count = hook.key_sets(hook.self, &b->site, sample, sets);
    assert_int_equal(list_keys(sets, sets_count, b->site.c, seen), count);
    for (int i = 0; i < count; i++)
        assert_int_equal(seen[i], wanted[i]);
}

static void enter(struct csa_pass *pass, const struct batch *b)
{
    struct error e = {0};
    struct arena arena;
    struct attention_hook hook = csa_hook(pass);
    assert_int_equal(arena_open(&arena, 64, "a test", &e), OK);
    hook.enter(hook.self, &(struct context){.arena = &arena, .threads = 1}, &b->site);
    arena_close(&arena);
}

/* A write pass: its own tokens and the drawn ones of the other panel. Masked keeps the panels'
 * order, sampled puts the own tokens last. */
static void check_writer(enum csa_mode mode, int step)
{
    static const int character[] = {0};
    struct opened o;
    struct csa_settings settings = settings_of(mode);
    open_csa(&o, &settings);
    csa_plan_step(&o.csa.plan, step);
    for (int layer = 0; layer < LAYERS; layer++) {
        struct csa_pass pass = {&o.csa, &(struct story_pass){STORY_WRITE, NULL, character, IDS, 1}, 0};
        struct batch b = batch_new(&o.csa, layer, IDS, 1);
        enter(&pass, &b);
        for (int panel = 0; panel < IDS; panel++) {
            int wanted[2 * TOKENS_16], n = 0, other = 1 - panel, own = 1000 + 100 * panel;
            bool consistent = step >= settings.start && o.csa.plan.consistent[layer];
            bool own_first = mode == CSA_MASKED && panel == 0;
            if (own_first || !consistent)
                n = expect_tokens(&o.csa, layer, panel, true, own, wanted, n);
            if (consistent)
                n = expect_tokens(&o.csa, layer, other, false, own + 100 * (other - panel), wanted, n);
            if (consistent && !own_first)
                n = expect_tokens(&o.csa, layer, panel, true, own, wanted, n);
            check_seen(&b, &pass, panel, wanted, n);
        }
        batch_free(&b);
    }
    close_csa(&o);
}

static void writers_see_themselves_and_samples_of_each_other(void **state)
{
    (void)state;
    for (int step = 0; step < 8; step++) {
        check_writer(CSA_MASKED, step);
        check_writer(CSA_SAMPLED, step);
    }
}

/* A read pass of both characters, in an order of its own: the drawn tokens of their id panels from the bank of its
 * half, then its own. */
static void check_reader(enum csa_mode mode, int step)
{
    static const int characters[] = {1, 0};
    struct opened o;
    struct csa_settings settings = settings_of(mode);
    open_csa(&o, &settings);
    csa_plan_step(&o.csa.plan, step);
    for (int layer = 0; layer < LAYERS; layer++) {
        bool consistent = step >= settings.start && o.csa.plan.consistent[layer];
        bool all = step < settings.start && settings.read_before_start == BEFORE_ALL_TOKENS;
        for (int half = 0; half < 2; half++) { /* the second half finds the place of the first */
            for (int c = 0; c < 2; c++) {
                struct batch b = batch_new(&o.csa, layer, IDS, 1 + 2 * c + half);
                enter(&(struct csa_pass){&o.csa, &(struct story_pass){STORY_WRITE, NULL, &c, IDS, 1}, half}, &b);
                batch_free(&b);
            }
            struct csa_pass pass = {&o.csa, &(struct story_pass){STORY_READ, NULL, characters, 1, 2}, half};
            struct batch b = batch_new(&o.csa, layer, 1, 9);
            int wanted[5 * TOKENS_16], n = 0;
            enter(&pass, &b); /* writes nothing */
            for (int c = 0; c < 2 && (consistent || all); c++)
                for (int panel = 0; panel < IDS; panel++)
                    n = expect_tokens(&o.csa, layer, panel, all, 1000 * (1 + 2 * characters[c] + half) + 100 * panel,
                                      wanted, n);
            n = expect_tokens(&o.csa, layer, 0, true, 9000, wanted, n);
            check_seen(&b, &pass, 0, wanted, n);
            batch_free(&b);
        }
    }
    close_csa(&o);
}

static void readers_see_the_bank_of_their_half_and_themselves(void **state)
{
    (void)state;
    for (int step = 0; step < 8; step++) {
        check_reader(CSA_MASKED, step);
        check_reader(CSA_SAMPLED, step);
    }
}

static void readers_of_nobody_see_themselves(void **state)
{
    (void)state;
    struct opened o;
    struct csa_settings settings = settings_of(CSA_MASKED);
    open_csa(&o, &settings);
    for (int step = 0; step < 8; step++) {
        csa_plan_step(&o.csa.plan, step);
        for (int layer = 0; layer < LAYERS; layer++) {
            struct csa_pass pass = {&o.csa, &(struct story_pass){STORY_READ, NULL, NULL, 1, 0}, 0};
            struct batch b = batch_new(&o.csa, layer, 2, 9);
            for (int half = 0; half < 2; half++) {
                int wanted[TOKENS_16], n = expect_tokens(&o.csa, layer, 0, true, 9000 + 100 * half, wanted, 0);
                check_seen(&b, &pass, half, wanted, n);
            }
            batch_free(&b);
        }
    }
    close_csa(&o);
}

/* --------------------------------------------------------------------------------------------------- whole stories
 */

static void nothing_sampled_is_plain_attention(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", 3);
    int64_t count = STORY_PANELS * (s.request.height / 8) * (s.request.width / 8) * 4;
    s.request.csa.mode = CSA_OFF;
    float *plain = final_latents(&s.request, 1);
    for (enum csa_mode mode = CSA_MASKED; mode <= CSA_SAMPLED; mode++) {
        s.request.csa = settings_of(mode);
        s.request.csa.start = 1;
        s.request.csa.sa32 = s.request.csa.sa64 = 0;
        s.request.csa.read_before_start = BEFORE_PLAIN;
        float *nothing = final_latents(&s.request, 1);
        check_same("nothing sampled", nothing, plain, count);
        free(nothing);
    }
    free(plain);
    small_story_close(&s);
}

static void before_the_start_only_masked_readers_look(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", 3);
    int64_t size = (s.request.height / 8) * (s.request.width / 8) * 4;
    s.request.csa.mode = CSA_OFF;
    float *plain = final_latents(&s.request, 1);
    s.request.csa = settings_of(CSA_SAMPLED);
    s.request.csa.start = 3;
    float *sampled = final_latents(&s.request, 1);
    s.request.csa = settings_of(CSA_MASKED); /* starts at 5 */
    float *masked = final_latents(&s.request, 1);
    check_same("sampled", sampled, plain, STORY_PANELS * size);
    check_same("masked writers", masked, plain, 4 * size);
    assert_memory_not_equal(masked + 4 * size, plain + 4 * size, (size_t)size * sizeof(float));
    assert_memory_not_equal(masked + 5 * size, plain + 5 * size, (size_t)size * sizeof(float));
    check_same("a reader of nobody", masked + 6 * size, plain + 6 * size, size);
    free(plain);
    free(sampled);
    free(masked);
    small_story_close(&s);
}

/* -------------------------------------------------------------------------------------------------------- opening */

static void check_refused(const struct unet *u, struct csa_settings settings, int64_t h, int64_t w, int characters,
                          const char *text)
{
    struct csa csa;
    struct error e = {0};
    assert_int_equal(csa_open(&csa, u, &settings, h, w, characters, &e), ERR_ARGUMENT);
    if (strstr(e.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, e.message);
    csa_close(&csa);
}

static void settings_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const double rates[] = {-0.1, 1.1, NAN, INFINITY, -INFINITY};
    struct small_story s;
    struct csa_settings fine = settings_of(CSA_SAMPLED), bad = fine;
    small_story_open(&s, "ddim", 3);
    const struct unet *u = &s.model.unet;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        bad = fine;
        bad.sa32 = rates[i];
        check_refused(u, bad, H, W, 1, "`sa32`");
        bad = fine;
        bad.sa64 = rates[i];
        check_refused(u, bad, H, W, 1, "`sa64`");
    }
    for (int id_length = -1; id_length <= CSA_MAX_ID_LENGTH + 1;
         id_length += id_length == 0 ? CSA_MAX_ID_LENGTH + 1 : 1) {
        bad = fine;
        bad.id_length = id_length;
        check_refused(u, bad, H, W, 1, "`id_length`");
    }
    for (int id_length = 1; id_length <= CSA_MAX_ID_LENGTH; id_length += CSA_MAX_ID_LENGTH - 1) {
        struct csa csa;
        fine.id_length = id_length;
        assert_int_equal(csa_open(&csa, u, &fine, H, W, 1, NULL), OK);
        csa_close(&csa);
    }
    bad = fine;
    bad.start = 0;
    check_refused(u, bad, H, W, 1, "`csa_start`");
    check_refused(u, fine, 6, W, 1, "6 x 8");
    check_refused(u, fine, H, 10, 1, "8 x 10");
    small_story_close(&s);
}

/* SD 1.5: up_blocks.1, 2, 3, a transformer of one block after each resnet, at a quarter, a half, and all of the
 * latents' side. */
static void sd15_has_a_third_grid(void **state)
{
    (void)state;
    struct unet_config config;
    struct unet u;
    struct csa csa;
    struct error e = {0};
    struct csa_settings settings = settings_of(CSA_SAMPLED);
    settings.sa32 = 0.7;
    settings.sa64 = 0.3;
    if (unet_config_read("tests/golden/unet-sd15/config.json", &config, &e) != OK ||
        unet_open(&u, "tests/golden/unet-sd15/diffusion_pytorch_model.safetensors", &config, &e) != OK ||
        csa_open(&csa, &u, &settings, H, W, 1, &e) != OK)
        fail_msg("%s", e.message);
    int per_grid = config.layers_per_block + 1;
    assert_int_equal(csa.layers.count, 3 * per_grid);
    for (int layer = 0; layer < csa.layers.count; layer++)
        assert_int_equal(csa_grid(&csa.layers, layer), layer / per_grid);
    assert_int_equal(csa.layers.tokens[0], TOKENS_32);
    assert_int_equal(csa.layers.tokens[1], TOKENS_16);
    assert_int_equal(csa.layers.tokens[2], MOST_TOKENS);
    for (int grid = 0; grid < 3; grid++)
        assert_int_equal(csa.layers.width[grid], config.block_out_channels[2 - grid]);
    check_subsets_of(&csa, 3);
    csa_close(&csa);

    u.up_blocks[0].attentions[0].depth = 1; /* at 1/64 of the pixels */
    u.up_layers++;
    check_refused(&u, settings, H, W, 1, "smaller size");
    for (int order = 0; order < 4; order++)
        for (int i = 0; i < u.up_blocks[order].layers; i++)
            u.up_blocks[order].attentions[i].depth = 0;
    check_refused(&u, settings, H, W, 1, "none there");
    unet_close(&u);
}

static void memory_is_known_before(void **state)
{
    (void)state;
    struct opened o;
    struct csa_settings settings = settings_of(CSA_MASKED);
    open_csa(&o, &settings);
    assert_int_equal(csa_memory(&o.story.model.unet, &settings, H, W, 2), o.csa.memory.capacity);
    assert_int_equal(o.csa.memory.used, o.csa.memory.capacity);
    close_csa(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_references),
        cmocka_unit_test(layers_and_tokens_are_those_of_the_up_blocks),
        cmocka_unit_test(gates_are_pythons_random_numbers),
        cmocka_unit_test(subsets_are_torchs_random_numbers),
        cmocka_unit_test(rates_of_zero_and_one_are_nothing_and_all),
        cmocka_unit_test(a_step_reached_directly_has_the_same_plan),
        cmocka_unit_test(writers_see_themselves_and_samples_of_each_other),
        cmocka_unit_test(readers_see_the_bank_of_their_half_and_themselves),
        cmocka_unit_test(readers_of_nobody_see_themselves),
        cmocka_unit_test(nothing_sampled_is_plain_attention),
        cmocka_unit_test(before_the_start_only_masked_readers_look),
        cmocka_unit_test(settings_out_of_range_are_refused_by_name),
        cmocka_unit_test(sd15_has_a_third_grid),
        cmocka_unit_test(memory_is_known_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
