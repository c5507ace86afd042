/* Random numbers: the published vectors of MT19937, and what must hold of any generator of ours. That the draws are
 * torch's and Python's is for the golden runner to see. */
#include "tensor/rng.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* ISO C++ 2011, 26.5.5: the 10000th word of a default-constructed std::mt19937, whose seed is 5489. */
static void ten_thousandth_word_is_the_one_the_cpp_standard_requires(void **state)
{
    (void)state;
    struct mt19937 mt;
    mt19937_seed(&mt, 5489);
    for (int i = 1; i < 10000; i++)
        mt19937_next(&mt);
    assert_int_equal(mt19937_next(&mt), 4123659995u);
}

/* mt19937ar.out, published with the authors' mt19937ar.c. */
static void seeding_by_array_gives_the_authors_words(void **state)
{
    (void)state;
    struct mt19937 mt;
    mt19937_seed_array(&mt, (const uint32_t[]){0x123, 0x234, 0x345, 0x456}, 4);
    static const uint32_t words[] = {1067595299u, 955945823u, 477289528u, 4107218783u, 4228976476u};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_int_equal(mt19937_next(&mt), words[i]);
}

static void keys_longer_than_the_state_are_used_to_their_end(void **state)
{
    (void)state;
    uint32_t key[1000] = {0};
    struct mt19937 a, b;
    mt19937_seed_array(&a, key, 1000);
    key[999] = 1;
    mt19937_seed_array(&b, key, 1000);
    assert_int_not_equal(mt19937_next(&a), mt19937_next(&b));
}

static void torch_uses_the_low_32_bits_of_a_seed(void **state)
{
    (void)state;
    struct torch_rng a, b;
    float x[40], y[40];
    torch_seed(&a, 3407);
    torch_seed(&b, 3407 + (UINT64_C(5) << 32));
    torch_randn(&a, x, 40);
    torch_randn(&b, y, 40);
    assert_memory_equal(x, y, sizeof x);
}

static void python_seeds_with_the_absolute_value(void **state)
{
    (void)state;
    static const int64_t seeds[] = {1, 3407, INT64_C(1) << 32, INT64_MAX};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        struct python_rng a, b;
        python_seed(&a, seeds[i]);
        python_seed(&b, -seeds[i]);
        assert_memory_equal(&a, &b, sizeof a);
    }
    struct python_rng lowest;
    struct mt19937 expected;
    python_seed(&lowest, INT64_MIN);
    mt19937_seed_array(&expected, (const uint32_t[]){0, 0x80000000u}, 2);
    assert_memory_equal(&lowest.mt, &expected, sizeof expected);
}

static void uniform_draws_do_not_depend_on_how_they_are_split(void **state)
{
    (void)state;
    struct torch_rng a, b;
    float whole[2000], parts[2000];
    torch_seed(&a, 7);
    torch_seed(&b, 7);
    torch_rand(&a, whole, 2000);
    for (int64_t done = 0; done < 2000; done += 20) {
        torch_rand(&b, parts + done, 1);
        torch_rand(&b, parts + done + 1, 2);
        torch_rand(&b, parts + done + 3, 17);
    }
    assert_memory_equal(whole, parts, sizeof whole);
}

static void a_copied_state_goes_on_with_the_same_numbers(void **state)
{
    (void)state;
    struct torch_rng g;
    float before[3], x[5], y[5], x16[33], y16[33];
    torch_seed(&g, 11);
    torch_randn(&g, before, 3); /* leaves a normal over */
    struct torch_rng saved = g;
    torch_randn(&g, x16, 33);
    torch_randn(&g, x, 5);
    torch_randn(&saved, y16, 33);
    torch_randn(&saved, y, 5);
    assert_memory_equal(x16, y16, sizeof x16);
    assert_memory_equal(x, y, sizeof x);
}

static void drawing_nothing_leaves_the_state_alone(void **state)
{
    (void)state;
    struct torch_rng g, before;
    torch_seed(&g, 5);
    before = g;
    torch_rand(&g, NULL, 0);
    torch_randn(&g, NULL, 0);
    assert_memory_equal(&g.mt, &before.mt, sizeof g.mt);
    assert_false(g.has_next_normal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousandth_word_is_the_one_the_cpp_standard_requires),
        cmocka_unit_test(seeding_by_array_gives_the_authors_words),
        cmocka_unit_test(keys_longer_than_the_state_are_used_to_their_end),
        cmocka_unit_test(torch_uses_the_low_32_bits_of_a_seed),
        cmocka_unit_test(python_seeds_with_the_absolute_value),
        cmocka_unit_test(uniform_draws_do_not_depend_on_how_they_are_split),
        cmocka_unit_test(a_copied_state_goes_on_with_the_same_numbers),
        cmocka_unit_test(drawing_nothing_leaves_the_state_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
