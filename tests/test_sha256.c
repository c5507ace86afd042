/* SHA-256 against the examples of FIPS 180-4 and NIST's test vectors. */
#include "tests/check.h"
#include "tests/sha256.h"

static struct sha256_text sum(const void *data, size_t size, size_t piece)
{
    struct sha256 h = sha256_start();
    for (size_t at = 0; at < size; at += piece)
        sha256_add(&h, (const char *)data + at, piece < size - at ? piece : size - at);
    return sha256_finish(&h);
}

static void known_texts_have_their_sums(void **state)
{
    (void)state;
    static const char *const known[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrst"
         "nopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t piece = 1; piece < 130; piece++)
            assert_string_equal(sum(known[i][0], strlen(known[i][0]), piece).hex, known[i][1]);
}

static void a_million_letters_have_theirs(void **state)
{
    (void)state;
    char *letters = room(1000000, 1);
    memset(letters, 'a', 1000000);
    for (size_t piece = 63; piece <= 65; piece++)
        assert_string_equal(sum(letters, 1000000, piece).hex,
                            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_have_their_sums),
        cmocka_unit_test(a_million_letters_have_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
