/* The door through which libFuzzer comes: the target is the one that the program is called after. */
#include <errno.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct fuzz_target *target;
    if (target == NULL)
        for (target = fuzz_targets; target->name != NULL; target++) {
            const char *name = strrchr(program_invocation_name, '/');
            if (strcmp(name != NULL ? name + 1 : program_invocation_name, target->name) == 0)
                break;
        }
    fuzz_expect(target->name != NULL, "the program is called after a target");
    target->run(bytes, size);
    return 0;
}
