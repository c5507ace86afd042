/* synthesize: writes a model folder of full size with random weights (tools/synthetic_model.h). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/file.h"
#include "tools/synthetic_model.h"

enum { EXIT_MISTAKE = 2 };

static const char usage[] =
    "usage: synthesize [options] BLUEPRINT OUT\n"
    "\n"
    "Writes a model of random weights, in the diffusers layout, for timing: its pictures are noise.\n"
    "\n"
    "  BLUEPRINT          sdxl (3.5 billion parameters: 7 GB in f16), sd15 (2 GB; without safety checker),\n"
    "                     or any model folder: its configs count, its weights are not needed\n"
    "  OUT                a folder; or a file that ends in .safetensors, for a single file in the original layout,\n"
    "                     with the tokenizer in a folder beside it\n"
    "  --bin              the weights in a folder as PyTorch's .bin files\n"
    "  --dtype FORMAT     f16, bf16 or f32 (f16)\n"
    "  --seed N           other numbers (0)\n"
    "  --tokenizer FOLDER for a blueprint without its own (tests/models/default/tokenizer: small, it knows\n"
    "                     664 tokens of CLIP's 49408, which timing does not mind)\n"
    "  --blueprints PATH  where sdxl and sd15 are (tools/blueprints)\n";

static int mistake(const char *what, const char *value)
{
    fprintf(stderr, "synthesize: %s%s; see --help\n", what, value);
    return EXIT_MISTAKE;
}

static bool parse_dtype(const char *text, enum dtype *dtype)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } formats[] = {{"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}, {"f32", DTYPE_F32}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(text, formats[i].name) == 0) {
            *dtype = formats[i].dtype;
            return true;
        }
    return false;
}

static void print_part(void *self, const char *part, size_t tensors, int64_t parameters)
{
    const struct synthetic_model *m = self;
    printf("%-15s %5zu tensors %9.1f M parameters %6.2f GB\n", part, tensors, (double)parameters / 1e6,
           (double)parameters * (double)dtype_size(m->dtype) / 1e9);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct option flags[] = {{"dtype", required_argument, NULL, 'd'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"tokenizer", required_argument, NULL, 't'},
                                          {"blueprints", required_argument, NULL, 'b'},
                                          {"bin", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *blueprints = "tools/blueprints";
    struct synthetic_model m = {
        .tokenizer = "tests/models/default/tokenizer", .dtype = DTYPE_F16, .begins = print_part, .self = &m};
    for (int flag; (flag = getopt_long(argc, argv, "h", flags, NULL)) != -1;) {
        char *end = "";
        switch (flag) {
        case 'd':
            if (!parse_dtype(optarg, &m.dtype))
                return mistake("--dtype is f16, bf16 or f32, not ", optarg);
            break;
        case 's': m.seed = strtoull(optarg, &end, 10); break;
        case 't': m.tokenizer = optarg; break;
        case 'b': blueprints = optarg; break;
        case 'p': m.form = SYNTHETIC_BIN; break;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        default: return mistake("wrong option", "");
        }
        if (*end != '\0')
            return mistake("--seed is a whole number, not ", optarg);
    }
    if (argc - optind != 2)
        return mistake("BLUEPRINT and OUT are wanted", "");
    struct error e = {0};
    char known[4096];
    m.blueprint = argv[optind];
    m.out = argv[optind + 1];
    const char *dot = strrchr(m.out, '.');
    if (dot != NULL && strcmp(dot, ".safetensors") == 0)
        m.form = SYNTHETIC_SINGLE;
    if (path_join(known, sizeof known, blueprints, m.blueprint, &e) == OK && file_is_directory(known))
        m.blueprint = known;
    if (synthetic_model_write(&m, &e) != OK) {
        fprintf(stderr, "synthesize: %s\n", e.message);
        return EXIT_FAILURE;
    }
    printf("%s\n", m.out);
    return EXIT_SUCCESS;
}
