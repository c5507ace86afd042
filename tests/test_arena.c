/* Working memory: alignment, marks, and that measuring predicts running. */
#include "tensor/context.h"
#include "tests/check.h"

#include <stdlib.h>

static struct arena opened(size_t capacity)
{
    struct arena a;
    struct error e = {0};
    if (arena_open(&a, capacity, "a test", &e) != OK)
        fail_msg("%s", e.message);
    return a;
}

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 63, 64, 65, 0, 1000, 4};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    struct arena a = opened(4096);
    unsigned char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = arena_bytes(&a, sizes[i]);
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], i, sizes[i]);
    }
    for (int i = 0; i < COUNT; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(blocks[i][j], i);
    arena_close(&a);
}

static void a_release_gives_back_what_came_after_the_mark(void **state)
{
    (void)state;
    struct arena a = opened(4096);
    float *kept = arena_floats(&a, 3);
    kept[2] = 5;
    size_t mark = arena_mark(&a);
    float *first = arena_floats(&a, 100);
    arena_release(&a, mark);
    assert_ptr_equal(arena_floats(&a, 7), first);
    assert_true(kept[2] == 5);
    arena_close(&a);
}

static void the_peak_outlives_a_release(void **state)
{
    (void)state;
    struct arena a = arena_measure();
    arena_bytes(&a, 640);
    arena_release(&a, 0);
    arena_bytes(&a, 64);
    assert_int_equal(a.used, 64);
    assert_int_equal(a.peak, 640);
}

/* A tree of blocks, as a forward pass makes them. */
static void make_blocks(struct arena *a, struct mt19937 *mt, int depth)
{
    size_t mark = arena_mark(a);
    for (int i = 0; i < 3; i++) {
        assert_non_null(arena_bytes(a, mt19937_next(mt) % 300));
        if (depth > 0)
            make_blocks(a, mt, depth - 1);
    }
    arena_release(a, mark);
}

static void what_was_measured_is_enough_to_the_byte(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct arena a = arena_measure();
        struct mt19937 mt;
        mt19937_seed(&mt, seed);
        make_blocks(&a, &mt, 4);
        size_t measured = a.peak;
        a = opened(measured);
        mt19937_seed(&mt, seed);
        make_blocks(&a, &mt, 4);
        assert_int_equal(a.peak, measured);
        assert_int_equal(a.capacity, measured);
        arena_close(&a);
    }
}

/* More than was measured is never handed out: nothing can be written there, and it is told. */
static void more_than_measured_is_told_and_measures_on(void **state)
{
    (void)state;
    static const size_t sizes[] = {65, 128, 4096, SIZE_MAX - 70, SIZE_MAX - 10, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct arena a = opened(128);
        struct error e = {0};
        unsigned char *first = arena_bytes(&a, 64);
        memset(first, 7, 64);
        assert_int_equal(arena_check(&a, "a test", &e), OK);
        assert_non_null(arena_bytes(&a, sizes[i]));
        assert_true(arena_measuring(&a));
        assert_non_null(arena_bytes(&a, 1));
        arena_release(&a, 0);
        assert_true(arena_measuring(&a));
        assert_int_equal(arena_check(&a, "a test", &e), ERR_MEMORY);
        assert_non_null(strstr(e.message, "a test took more working memory than the 128 bytes"));
        arena_close(&a);
    }
}

/* A computation that wants more in earnest than it said when it was measured. */
static void greedy(void *self, const struct context *ctx)
{
    int *values = self;
    size_t mark = arena_mark(ctx->arena);
    bool measuring = arena_measuring(ctx->arena);
    float *x = arena_floats(ctx->arena, measuring ? 16 : 1600);
    for (int i = 0; i < 1600 && !arena_measuring(ctx->arena); i++)
        x[i] = (float)++*values;
    arena_release(ctx->arena, mark);
}

static void a_computation_that_exceeds_its_measure_fails(void **state)
{
    (void)state;
    int values = 0;
    struct error e = {0};
    assert_int_equal(work_run(&(struct context){.threads = 1}, (struct work){greedy, &values, "greed"}, &e),
                     ERR_MEMORY);
    assert_int_equal(values, 0);
    assert_non_null(strstr(e.message, "greed took more working memory"));
}

static void measuring_takes_no_memory(void **state)
{
    (void)state;
    struct arena a = arena_measure();
    assert_true(arena_measuring(&a));
    assert_non_null(arena_bytes(&a, SIZE_MAX / 4)); /* more than there is anywhere */
    assert_int_equal(a.peak, SIZE_MAX / 4 / 64 * 64 + 64);
}

static void an_arena_of_nothing_can_be_opened(void **state)
{
    (void)state;
    struct arena a = opened(0);
    assert_false(arena_measuring(&a));
    assert_non_null(arena_bytes(&a, 0));
    arena_close(&a);
}

static void closing_leaves_a_zeroed_arena_and_may_be_repeated(void **state)
{
    (void)state;
    struct arena a = opened(100);
    arena_close(&a);
    assert_null(a.base);
    assert_int_equal(a.capacity, 0);
    arena_close(&a);
}

static void a_refusal_names_the_purpose_and_the_size(void **state)
{
    (void)state;
    struct arena a;
    struct error e = {0};
    assert_int_equal(arena_open(&a, SIZE_MAX / 2, "the UNet", &e), ERR_MEMORY);
    assert_non_null(strstr(e.message, "the UNet"));
    assert_non_null(strstr(e.message, "9223372036.85 GB"));
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(a_release_gives_back_what_came_after_the_mark),
        cmocka_unit_test(the_peak_outlives_a_release),
        cmocka_unit_test(what_was_measured_is_enough_to_the_byte),
        cmocka_unit_test(more_than_measured_is_told_and_measures_on),
        cmocka_unit_test(a_computation_that_exceeds_its_measure_fails),
        cmocka_unit_test(measuring_takes_no_memory),
        cmocka_unit_test(an_arena_of_nothing_can_be_opened),
        cmocka_unit_test(closing_leaves_a_zeroed_arena_and_may_be_repeated),
        cmocka_unit_test(a_refusal_names_the_purpose_and_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
