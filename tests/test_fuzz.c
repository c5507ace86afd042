/* The corpus of tests/fuzz: inputs that once broke something, and small ones of every kind. Each must be refused in
 * one line or read; a target that finds otherwise ends the process. */
#include <dirent.h>

#include "tests/fuzz/fuzz.h"

#include "tests/check.h"
#include "tests/folder.h"

static int run_corpus(const struct fuzz_target *target)
{
    char folder[256];
    int count = 0;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", target->name);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[600];
        size_t size;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *bytes = read_bytes(path, &size);
        target->run((const uint8_t *)bytes, size);
        free(bytes);
        count++;
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void every_target_stands_its_corpus(void **state)
{
    (void)state;
    for (const struct fuzz_target *target = fuzz_targets; target->name != NULL; target++)
        if (run_corpus(target) == 0)
            fail_msg("tests/fuzz/corpus/%s is empty", target->name);
}

/* Every target also stands what the others were made for, cut anywhere. */
static void every_target_stands_what_is_for_others(void **state)
{
    (void)state;
    static const char *const files[] = {
        "tests/golden/single-file/vae_legacy.pt",     "tests/golden/single-file/vae_original.ckpt",
        "tests/golden/single-file/io.safetensors",    "tests/golden/pipeline/unet/config.json",
        "tests/golden/pipeline/tokenizer/vocab.json", "storydiff/examples/demo.story",
    };
    for (const struct fuzz_target *target = fuzz_targets; target->name != NULL; target++)
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            size_t size;
            char *bytes = read_bytes(files[i], &size);
            target->run((const uint8_t *)bytes, size);
            for (size_t cut = size; cut > 0; cut = cut * 2 / 3)
                target->run((const uint8_t *)bytes, cut);
            target->run((const uint8_t *)"", 0);
            free(bytes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_target_stands_its_corpus),
        cmocka_unit_test(every_target_stands_what_is_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
