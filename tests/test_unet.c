/* The UNet's properties; that its numbers are the reference's is for the golden runner to see. */
#include "sdxl/unet/unet.h"
#include "tests/check.h"

static struct unet unet; /* the small recorded one, opened for the group */

static int open_unet(void **state)
{
    (void)state;
    struct unet_config config;
    struct error e = {0};
    if (unet_config_read("tests/golden/unet-sdxl/config.json", &config, &e) == OK)
        unet_open(&unet, "tests/golden/unet-sdxl/diffusion_pytorch_model.safetensors", &config, &e);
    if (e.code != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_unet(void **state)
{
    (void)state;
    unet_close(&unet);
    return 0;
}

enum { TOKENS = 6 };

struct problem {
    struct unet_input in;
    struct unet_options options;
    const struct observer *observer;
    float *out;
};

static struct problem pose(int64_t n, int64_t h, int64_t w)
{
    const struct unet_config *c = &unet.config;
    int64_t pooled = c->projection_class_embeddings_input_dim - 6 * c->addition_time_embed_dim;
    float *time_ids = room(6 * n, sizeof *time_ids);
    for (int64_t i = 0; i < 6 * n; i++)
        time_ids[i] = (float)(100 + i);
    return (struct problem){
        .in = {.sample = {some_floats(1, n * h * w * 4), n, h, w, 4},
               .timestep = 501,
               .text = {.states = some_floats(2, n * TOKENS * c->cross_attention_dim), .tokens = TOKENS},
               .text_embeds = some_floats(3, n * pooled),
               .time_ids = time_ids},
        .out = room(n * h * w * 4, sizeof(float)),
    };
}

static void dispose(struct problem *p)
{
    free(p->in.sample.x);
    free((void *)p->in.text.states);
    free((void *)p->in.text_embeds);
    free((void *)p->in.time_ids);
    free(p->out);
}

static void run_unet(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    struct context own = *ctx;
    own.observer = p->observer;
    unet_forward(&own, &unet, p->out, &p->in, p->options);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem one = pose(2, 9, 7), more = pose(2, 9, 7);
    compute(1, run_unet, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, run_unet, &more);
        check_same("threads", more.out, one.out, features_count(one.in.sample));
    }
    dispose(&one);
    dispose(&more);
}

static void latents_of_any_size_are_computed(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {1, 2}, {2, 1}, {3, 5}, {4, 4}, {7, 2}, {1, 13}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct problem p = pose(1, sizes[i][0], sizes[i][1]);
        compute(1, run_unet, &p);
        check_finite("out", p.out, features_count(p.in.sample));
        dispose(&p);
    }
}

/* Beyond rounding: how many rows are multiplied together may decide in which order a sum is taken. */
static void samples_of_a_batch_do_not_meet(void **state)
{
    (void)state;
    struct problem both = pose(2, 6, 5), second = pose(1, 6, 5);
    const struct unet_config *c = &unet.config;
    int64_t size = 6 * 5 * 4, states = TOKENS * c->cross_attention_dim;
    double *wanted = room(size, sizeof *wanted);
    compute(1, run_unet, &both);
    memcpy(second.in.sample.x, both.in.sample.x + size, (size_t)size * sizeof(float));
    memcpy((float *)second.in.text.states, both.in.text.states + states, (size_t)states * sizeof(float));
    memcpy((float *)second.in.text_embeds, both.in.text_embeds + 20, 20 * sizeof(float));
    memcpy((float *)second.in.time_ids, both.in.time_ids + 6, 6 * sizeof(float));
    compute(1, run_unet, &second);
    for (int64_t i = 0; i < size; i++)
        wanted[i] = both.out[size + i];
    check_close("the second sample", second.out, wanted, size, 2e-5);
    free(wanted);
    dispose(&both);
    dispose(&second);
}

/* Some samples bring their text keys, others have them computed. */
static void text_keys_change_nothing(void **state)
{
    (void)state;
    struct problem without = pose(2, 6, 5), with = pose(2, 6, 5);
    int64_t states = TOKENS * unet.config.cross_attention_dim;
    float *keys = room(unet_text_keys_size(&unet, TOKENS), sizeof *keys);
    struct arena arena;
    struct error e = {0};
    assert_int_equal(arena_open(&arena, 1 << 20, "a test", &e), OK);
    unet_text_keys(&(struct context){.arena = &arena, .threads = 1}, &unet, keys, with.in.text.states + states,
                   TOKENS);
    for (int64_t i = 0; i < states; i++) /* what is kept is not looked at again */
        ((float *)with.in.text.states)[states + i] = NAN;
    with.in.text.keys = (const float *[]){NULL, keys};
    compute(1, run_unet, &without);
    compute(1, run_unet, &with);
    check_same("out", with.out, without.out, features_count(with.in.sample));
    arena_close(&arena);
    free(keys);
    dispose(&without);
    dispose(&with);
}

static void everything_it_is_told_matters(void **state)
{
    (void)state;
    struct problem base = pose(1, 4, 4), other;
    compute(1, run_unet, &base);
    for (int change = 0; change < 5; change++) {
        other = pose(1, 4, 4);
        other.in.sample.x[7] += change == 0;
        other.in.timestep += change == 1;
        ((float *)other.in.text.states)[TOKENS * unet.config.cross_attention_dim - 1] += change == 2;
        ((float *)other.in.text_embeds)[19] += change == 3;
        ((float *)other.in.time_ids)[5] += change == 4;
        compute(1, run_unet, &other);
        assert_memory_not_equal(other.out, base.out, 64 * sizeof(float));
        dispose(&other);
    }
    dispose(&base);
}

/* ---------------------------------------------------------------------------------------------------------- hook */

struct listener {
    int next;      /* layer to enter next */
    int64_t asked; /* samples asked for in this layer */
    int64_t n;
};

static void enter(void *self, const struct context *ctx, const struct attention_site *site)
{
    struct listener *l = self;
    (void)ctx;
    assert_true(l->next == 0 || l->asked == l->n);
    assert_int_equal(site->layer, l->next++);
    l->asked = 0;
    l->n = site->n;
}

static int own_tokens(void *self, const struct attention_site *site, int64_t sample, struct key_set *sets)
{
    struct listener *l = self;
    int64_t tokens = site->h * site->w, first = sample * tokens * site->c;
    assert_int_equal(sample, l->asked++);
    sets[0] = (struct key_set){site->k + first, site->v + first, NULL, tokens};
    return 1;
}

static int one_token(void *self, const struct attention_site *site, int64_t sample, struct key_set *sets)
{
    own_tokens(self, site, sample, sets);
    sets[0].n = 1;
    return 1;
}

/* While measuring the hook is asked, too: it may want memory. */
static void run_hooked(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    struct listener *l = p->options.hook->self;
    *l = (struct listener){0};
    run_unet(ctx, p);
    assert_int_equal(l->next, unet.up_layers);
}

static void a_hook_is_asked_for_every_layer_of_the_up_blocks_in_order(void **state)
{
    (void)state;
    struct listener listener;
    struct attention_hook hook = {&listener, enter, own_tokens};
    struct problem plain = pose(2, 6, 5), hooked = pose(2, 6, 5);
    assert_int_equal(unet.up_layers, 3 * 2 + 3 * 1);
    hooked.options.hook = &hook;
    compute(1, run_unet, &plain);
    compute(1, run_hooked, &hooked);
    check_same("own tokens by a hook", hooked.out, plain.out, features_count(plain.in.sample));
    hook.key_sets = one_token;
    compute(1, run_hooked, &hooked);
    assert_memory_not_equal(hooked.out, plain.out, (size_t)features_count(plain.in.sample) * sizeof(float));
    dispose(&plain);
    dispose(&hooked);
}

/* --------------------------------------------------------------------------------------------------------- others */

static void only_freeu_factors_of_one_change_nothing(void **state)
{
    (void)state;
    struct freeu freeu = {1, 1, 1, 1};
    struct problem plain = pose(1, 6, 6), with = pose(1, 6, 6);
    with.options.freeu = &freeu;
    compute(1, run_unet, &plain);
    compute(1, run_unet, &with);
    check_same("ones", with.out, plain.out, 144);
    float *factors[] = {&freeu.s1, &freeu.s2, &freeu.b1, &freeu.b2};
    for (int i = 0; i < 4; i++) {
        *factors[i] = 1.3f;
        compute(1, run_unet, &with);
        assert_memory_not_equal(with.out, plain.out, 144 * sizeof(float));
        *factors[i] = 1;
    }
    dispose(&plain);
    dispose(&with);
}

static void see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    check_finite(name, data, count);
    ++*(int *)self;
}

static void being_watched_changes_nothing(void **state)
{
    (void)state;
    int seen = 0;
    struct observer observer = {see, &seen};
    struct problem plain = pose(1, 6, 5), watched = pose(1, 6, 5);
    watched.observer = &observer;
    compute(1, run_unet, &plain);
    compute(1, run_unet, &watched);
    check_same("watched", watched.out, plain.out, 120);
    assert_true(seen > 50);
    dispose(&plain);
    dispose(&watched);
}

static void levels_halve_rounding_up(void **state)
{
    (void)state;
    assert_int_equal(unet_level_size(9, 0), 9);
    assert_int_equal(unet_level_size(9, 1), 5);
    assert_int_equal(unet_level_size(9, 2), 3);
    assert_int_equal(unet_level_size(1, 5), 1);
}

static void weights_of_another_config_are_refused(void **state)
{
    (void)state;
    struct unet_config config = unet.config;
    struct unet other;
    struct error e = {0};
    config.block_out_channels[1] = 20;
    assert_int_equal(unet_open(&other, "tests/golden/unet-sdxl/diffusion_pytorch_model.safetensors", &config, &e),
                     ERR_FORMAT);
    assert_non_null(strstr(e.message, "down_blocks.1"));
    assert_non_null(strstr(e.message, "more such tensors"));
    assert_null(other.weights.file);
    unet_close(&other);
    error_clear(&e);
    assert_int_equal(unet_open(&other, "/nowhere.safetensors", &config, &e), ERR_IO);
    unet_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(latents_of_any_size_are_computed),
        cmocka_unit_test(samples_of_a_batch_do_not_meet),
        cmocka_unit_test(text_keys_change_nothing),
        cmocka_unit_test(everything_it_is_told_matters),
        cmocka_unit_test(a_hook_is_asked_for_every_layer_of_the_up_blocks_in_order),
        cmocka_unit_test(only_freeu_factors_of_one_change_nothing),
        cmocka_unit_test(being_watched_changes_nothing),
        cmocka_unit_test(levels_halve_rounding_up),
        cmocka_unit_test(weights_of_another_config_are_refused),
    };
    return cmocka_run_group_tests(tests, open_unet, close_unet);
}
