/* From prompts to text states: windows, absent prompts, and what stands where. */
#include "sdxl/conditioning.h"
#include "tests/check.h"

static struct model model; /* the small recorded one */

static int open_model(void **state)
{
    (void)state;
    struct error e = {0};
    if (model_open(&model, "tests/golden/pipeline", &e) != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_model(void **state)
{
    (void)state;
    model_close(&model);
    return 0;
}

static struct conditioning encoded(const char *const *prompts, int64_t count, enum long_prompt mode)
{
    struct conditioning c;
    struct error e = {0};
    if (conditioning_encode(&(struct context){.threads = 1}, &model, prompts, count,
                            (struct prompt_reading){.long_prompt = mode}, &c, &e) != OK)
        fail_msg("%s", e.message);
    check_finite("states", c.states, c.count * c.tokens * c.width);
    check_finite("pooled", c.pooled, c.count * c.pooled_width);
    return c;
}

static const float *states_of(const struct conditioning *c, int64_t prompt)
{
    return c->states + prompt * c->tokens * c->width;
}

/* Words enough for three windows of the small vocabulary. */
static const char *long_prompt(void)
{
    static char text[400];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = i % 3 == 2 ? ' ' : (char)('a' + i % 7);
    return text;
}

/* The first test of the program: nobody has loaded the library that multiplies. */
static void encoding_loads_what_it_needs(void **state)
{
    (void)state;
    struct conditioning c = encoded((const char *[]){"a man"}, 1, LONG_PROMPT_TRUNCATE);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.tokens, TOKEN_WINDOW);
    assert_int_equal(c.width, 56);
    assert_int_equal(c.pooled_width, 20);
    conditioning_free(&c);
    assert_null(c.states);
    conditioning_free(&c);
}

struct encoder_run {
    const struct clip *clip;
    const int32_t *ids;
    float *penultimate, *pooled;
};

static void run_encoder(const struct context *ctx, void *arg)
{
    struct encoder_run *r = arg;
    clip_encode(ctx, r->clip, r->ids, 1, r->penultimate, r->pooled);
}

static void states_of_both_encoders_stand_side_by_side(void **state)
{
    (void)state;
    struct conditioning c = encoded((const char *[]){"a dog"}, 1, LONG_PROMPT_TRUNCATE);
    struct error e = {0};
    float pooled[20];
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const struct clip *clip = i == 0 ? &model.text_encoder : &model.text_encoder_2;
        int64_t C = clip->config.hidden_size;
        struct token_windows windows;
        assert_int_equal(tokenizer_windows(i == 0 ? model.tokenizer : model.tokenizer_2, "a dog",
                                           LONG_PROMPT_TRUNCATE, &windows, &e),
                         OK);
        struct encoder_run run = {clip, windows.ids, room(TOKEN_WINDOW * C, sizeof(float)), i == 1 ? pooled : NULL};
        compute(1, run_encoder, &run);
        for (int64_t t = 0; t < TOKEN_WINDOW; t++)
            check_same("states", c.states + t * c.width + first, run.penultimate + t * C, C);
        first += C;
        free(run.penultimate);
        token_windows_free(&windows);
    }
    assert_int_equal(first, c.width);
    check_same("pooled", c.pooled, pooled, 20);
    conditioning_free(&c);
}

/* Beyond rounding: how many rows are multiplied together may decide in which order a sum is taken. */
static void check_close_to(const char *what, const float *found, const float *wanted, int64_t n)
{
    double *doubles = room(n, sizeof *doubles);
    for (int64_t i = 0; i < n; i++)
        doubles[i] = wanted[i];
    check_close(what, found, doubles, n, 1e-5);
    free(doubles);
}

static void a_prompt_does_not_depend_on_the_others(void **state)
{
    (void)state;
    struct conditioning all = encoded((const char *[]){"a man", "a dog", ""}, 3, LONG_PROMPT_TRUNCATE);
    struct conditioning one = encoded((const char *[]){"a dog"}, 1, LONG_PROMPT_TRUNCATE);
    check_close_to("states", states_of(&all, 1), one.states, one.tokens * one.width);
    check_close_to("pooled", all.pooled + all.pooled_width, one.pooled, one.pooled_width);
    conditioning_free(&all);
    conditioning_free(&one);
}

static void an_absent_prompt_is_zeros_or_the_empty_prompt(void **state)
{
    (void)state;
    struct conditioning zeros = encoded((const char *[]){"a man", NULL, ""}, 3, LONG_PROMPT_TRUNCATE);
    int64_t size = zeros.tokens * zeros.width, pooled = zeros.pooled_width;
    for (int64_t i = 0; i < size; i++)
        assert_true(states_of(&zeros, 1)[i] == 0);
    for (int64_t i = 0; i < pooled; i++)
        assert_true(zeros.pooled[pooled + i] == 0);
    model.force_zeros_for_empty_prompt = false;
    struct conditioning empty = encoded((const char *[]){"a man", NULL, ""}, 3, LONG_PROMPT_TRUNCATE);
    model.force_zeros_for_empty_prompt = true;
    check_same("absent", states_of(&empty, 1), states_of(&empty, 2), size);
    check_same("empty either way", states_of(&empty, 2), states_of(&zeros, 2), size);
    assert_memory_not_equal(states_of(&empty, 1), states_of(&empty, 0), (size_t)size * sizeof(float));
    conditioning_free(&zeros);
    conditioning_free(&empty);
}

static void long_prompts_take_several_windows_and_short_ones_are_lengthened(void **state)
{
    (void)state;
    struct conditioning c = encoded((const char *[]){"a man", long_prompt(), NULL}, 3, LONG_PROMPT_WINDOWS);
    struct conditioning cut = encoded((const char *[]){"a man", long_prompt(), ""}, 3, LONG_PROMPT_TRUNCATE);
    int64_t window = TOKEN_WINDOW * c.width;
    assert_true(c.tokens >= 2 * TOKEN_WINDOW && c.tokens % TOKEN_WINDOW == 0);
    assert_int_equal(cut.tokens, TOKEN_WINDOW);
    check_close_to("first window of the short", states_of(&c, 0), states_of(&cut, 0), window);
    check_close_to("second window of the short", states_of(&c, 0) + window, states_of(&cut, 2), window);
    check_close_to("first window of the long", states_of(&c, 1), states_of(&cut, 1), window);
    check_close_to("pooled", c.pooled, cut.pooled, 2 * c.pooled_width); /* the first window's */
    for (int64_t i = 0; i < c.tokens * c.width; i++)
        assert_true(states_of(&c, 2)[i] == 0);
    conditioning_free(&c);
    conditioning_free(&cut);
}

static void tokens_are_counted_and_those_left_out(void **state)
{
    (void)state;
    size_t total, cut;
    struct error e = {0};
    struct prompt_reading truncated = {LONG_PROMPT_TRUNCATE, WEIGHTS_OFF}, windows = {LONG_PROMPT_WINDOWS, WEIGHTS_OFF};
    assert_int_equal(conditioning_count_tokens(&model, "", truncated, &total, &cut, &e), OK);
    assert_true(total == 0 && cut == 0);
    assert_int_equal(conditioning_count_tokens(&model, long_prompt(), truncated, &total, &cut, &e), OK);
    assert_true(total > TOKEN_WINDOW_IDS && cut == total - TOKEN_WINDOW_IDS);
    assert_int_equal(conditioning_count_tokens(&model, long_prompt(), windows, &total, &cut, &e), OK);
    assert_true(total > TOKEN_WINDOW_IDS && cut == 0);
}

/* Ids that an encoder has no embedding for: a tokenizer of another model. */
static void ids_without_an_embedding_are_refused(void **state)
{
    (void)state;
    struct conditioning c;
    struct error e = {0};
    int64_t vocab_size = model.text_encoder_2.config.vocab_size;
    model.text_encoder_2.config.vocab_size = 3;
    status s = conditioning_encode(&(struct context){.threads = 1}, &model, (const char *[]){"a man"}, 1,
                                   (struct prompt_reading){0}, &c, &e);
    model.text_encoder_2.config.vocab_size = vocab_size;
    assert_int_equal(s, ERR_FORMAT);
    assert_non_null(strstr(e.message, "token_embedding"));
    assert_null(c.states);
}

static void sizes_are_height_and_width_and_no_crop(void **state)
{
    (void)state;
    float time_ids[6];
    conditioning_time_ids(768, 1024, time_ids);
    check_same("time ids", time_ids, (const float[]){768, 1024, 0, 0, 768, 1024}, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding_loads_what_it_needs),
        cmocka_unit_test(states_of_both_encoders_stand_side_by_side),
        cmocka_unit_test(a_prompt_does_not_depend_on_the_others),
        cmocka_unit_test(an_absent_prompt_is_zeros_or_the_empty_prompt),
        cmocka_unit_test(long_prompts_take_several_windows_and_short_ones_are_lengthened),
        cmocka_unit_test(tokens_are_counted_and_those_left_out),
        cmocka_unit_test(ids_without_an_embedding_are_refused),
        cmocka_unit_test(sizes_are_height_and_width_and_no_crop),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
