/* The text encoders' properties; that their numbers are the reference's is for the golden runner to see. */
#include "sdxl/text/clip.h"
#include "tests/check.h"

enum { WINDOW = 77, END = 599 }; /* the highest id of the small recorded encoder */

static struct clip clip;

static int open_clip(void **state)
{
    (void)state;
    struct clip_config config;
    struct error e = {0};
    if (clip_config_read("tests/golden/clip/encoder-2-gelu-projection/config.json", &config, &e) == OK)
        clip_open(&clip, "tests/golden/clip/encoder-2-gelu-projection/model.safetensors", &config, &e);
    if (e.code != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_clip(void **state)
{
    (void)state;
    clip_close(&clip);
    return 0;
}

struct problem {
    int64_t n;
    int32_t *ids;
    float *penultimate, *pooled; /* pooled: NULL, not wanted */
};

/* Random ids with an end token at `end` and at all places after it. */
static struct problem pose(int64_t n, int64_t end)
{
    struct problem p = {n, room(n * WINDOW, sizeof(int32_t)),
                        room(n * WINDOW * clip.config.hidden_size, sizeof(float)),
                        room(n * clip.config.projection_dim, sizeof(float))};
    struct mt19937 mt;
    mt19937_seed(&mt, 1);
    for (int64_t i = 0; i < n * WINDOW; i++)
        p.ids[i] = i % WINDOW < end ? (int32_t)(mt19937_next(&mt) % END) : END;
    return p;
}

static void dispose(struct problem *p)
{
    free(p->ids);
    free(p->penultimate);
    free(p->pooled);
}

static void encode(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    clip_encode(ctx, &clip, p->ids, p->n, p->penultimate, p->pooled);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem one = pose(2, 40), more = pose(2, 40);
    compute(1, encode, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, encode, &more);
        check_same("states", more.penultimate, one.penultimate, 2 * WINDOW * clip.config.hidden_size);
        check_same("pooled", more.pooled, one.pooled, 2 * clip.config.projection_dim);
    }
    dispose(&one);
    dispose(&more);
}

static void a_token_is_seen_by_itself_and_later_ones_only(void **state)
{
    (void)state;
    int64_t C = clip.config.hidden_size;
    struct problem p = pose(1, 70), changed = pose(1, 70);
    changed.ids[30] = changed.ids[30] == 5 ? 6 : 5;
    compute(1, encode, &p);
    compute(1, encode, &changed);
    check_same("before", changed.penultimate, p.penultimate, 30 * C);
    for (int64_t i = 30; i < WINDOW; i++)
        assert_memory_not_equal(changed.penultimate + i * C, p.penultimate + i * C, (size_t)C * sizeof(float));
    assert_memory_not_equal(changed.pooled, p.pooled, (size_t)clip.config.projection_dim * sizeof(float));
    dispose(&p);
    dispose(&changed);
}

static void the_pooled_vector_is_taken_at_the_first_end_token(void **state)
{
    (void)state;
    struct problem p = pose(1, 20), padded = pose(1, 20);
    for (int i = 21; i < WINDOW; i++)
        padded.ids[i] = 0; /* the second tokenizer pads with id 0 */
    compute(1, encode, &p);
    compute(1, encode, &padded);
    check_same("pooled", padded.pooled, p.pooled, clip.config.projection_dim);
    padded.ids[5] = END; /* an earlier end */
    compute(1, encode, &padded);
    assert_memory_not_equal(padded.pooled, p.pooled, (size_t)clip.config.projection_dim * sizeof(float));
    dispose(&p);
    dispose(&padded);
}

/* With tokens added behind it in the vocabulary, the end token is no longer the highest id: then config.json must say
 * which it is, and only 2 means the highest. What comes after the end token is of no account to the pooled vector. */
static void an_added_token_does_not_end_the_text(void **state)
{
    (void)state;
    enum { EOS = 590, AT = 20 };
    struct problem added = pose(1, AT), ends = pose(1, AT), highest = pose(1, AT);
    for (int i = 0; i < WINDOW; i++)
        added.ids[i] = ends.ids[i] = highest.ids[i] = i < AT ? added.ids[i] % EOS : i == AT ? EOS : 0;
    added.ids[AT + 1] = highest.ids[AT + 1] = EOS + 5; /* behind, so that the states up to the end token are the same */
    compute(1, encode, &ends);
    compute(1, encode, &highest);
    assert_int_equal(clip.config.eos_token_id, 2);
    clip.config.eos_token_id = EOS;
    compute(1, encode, &added);
    clip.config.eos_token_id = 2;
    check_same("pooled", added.pooled, ends.pooled, clip.config.projection_dim);
    assert_memory_not_equal(highest.pooled, ends.pooled, (size_t)clip.config.projection_dim * sizeof(float));
    dispose(&added);
    dispose(&ends);
    dispose(&highest);
}

/* An empty prompt ends at once, a full one at the last place; encoder 2 has zeros after the end. */
static void the_end_token_may_be_anywhere(void **state)
{
    (void)state;
    static const int64_t ends[] = {1, 2, WINDOW - 1};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct problem ends_after = pose(1, ends[i]), zeros_after = pose(1, ends[i]);
        for (int64_t t = ends[i] + 1; t < WINDOW; t++)
            zeros_after.ids[t] = 0;
        compute(1, encode, &ends_after);
        compute(1, encode, &zeros_after);
        check_same("pooled", zeros_after.pooled, ends_after.pooled, clip.config.projection_dim);
        dispose(&ends_after);
        dispose(&zeros_after);
    }
}

static void states_do_not_depend_on_whether_the_pooled_vector_is_wanted(void **state)
{
    (void)state;
    struct problem with = pose(2, 40), without = pose(2, 40);
    free(without.pooled);
    without.pooled = NULL;
    compute(1, encode, &with);
    compute(1, encode, &without);
    check_same("states", without.penultimate, with.penultimate, 2 * WINDOW * clip.config.hidden_size);
    dispose(&with);
    dispose(&without);
}

/* Beyond rounding: how many rows are multiplied together may decide in which order a sum is taken. */
static void prompts_of_a_batch_do_not_meet(void **state)
{
    (void)state;
    int64_t size = WINDOW * clip.config.hidden_size;
    struct problem both = pose(2, 40), second = pose(1, 40);
    double *wanted = room(size, sizeof *wanted);
    compute(1, encode, &both);
    memcpy(second.ids, both.ids + WINDOW, WINDOW * sizeof *second.ids);
    compute(1, encode, &second);
    for (int64_t i = 0; i < size; i++)
        wanted[i] = both.penultimate[size + i];
    check_close("the second prompt", second.penultimate, wanted, size, 1e-5);
    free(wanted);
    dispose(&both);
    dispose(&second);
}

static void ids_without_an_embedding_are_named(void **state)
{
    (void)state;
    static const int32_t bad[] = {-1, 600, INT32_MAX, INT32_MIN};
    int32_t ids[3] = {0, END, 7};
    struct error e = {0};
    assert_int_equal(clip_check_ids(&clip, ids, 3, &e), OK);
    for (int i = 0; i < 4; i++) {
        char text[16];
        ids[2] = bad[i];
        error_clear(&e);
        assert_int_equal(clip_check_ids(&clip, ids, 3, &e), ERR_FORMAT);
        snprintf(text, sizeof text, "%d", bad[i]);
        assert_non_null(strstr(e.message, text));
        assert_int_equal(clip_check_ids(&clip, ids, 2, NULL), OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(a_token_is_seen_by_itself_and_later_ones_only),
        cmocka_unit_test(the_pooled_vector_is_taken_at_the_first_end_token),
        cmocka_unit_test(an_added_token_does_not_end_the_text),
        cmocka_unit_test(the_end_token_may_be_anywhere),
        cmocka_unit_test(states_do_not_depend_on_whether_the_pooled_vector_is_wanted),
        cmocka_unit_test(prompts_of_a_batch_do_not_meet),
        cmocka_unit_test(ids_without_an_embedding_are_named),
    };
    return cmocka_run_group_tests(tests, open_clip, close_clip);
}
