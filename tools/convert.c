/* storydiff-convert: weights from any form that storydiff reads to safetensors (tools/conversion.h). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storydiff/comic/settings.h"
#include "tools/conversion.h"

enum { EXIT_MISTAKE = 2, MAX_LORAS = 16 };

static const char usage[] =
    "usage: storydiff-convert [options] IN OUT\n"
    "\n"
    "  IN                 a model: a folder in the diffusers layout, or a single file; .safetensors, .bin, .ckpt, "
    ".pt;\n"
    "                     or any other file of tensors: a LoRA, a VAE, an embedding\n"
    "  OUT                NAME.safetensors: a single file in the original layout; anything else: a folder\n"
    "\n"
    "  --dtype FORMAT     f32, f16 or bf16 (default: each tensor as it is)\n"
    "  --vae PATH         another VAE instead of the model's, or for a model without\n"
    "  --text_encoders PATH  a model whose text encoders to take\n"
    "  --tokenizer DIR    the vocabulary for a folder\n"
    "  --lora FILE[:WEIGHT]  merge a LoRA in (WEIGHT: 1); may be given several times\n"
    "  --config DIR       for an unusual single file: a folder with its config.json files\n"
    "  -f, --overwrite    replace what is there\n"
    "  -q, --quiet        no progress\n"
    "\n"
    "What was written is read back and compared. Nothing that the model does not use is taken along.\n";

static int mistake(const char *what, const char *value)
{
    fprintf(stderr, "storydiff-convert: %s%s; see --help\n", what, value);
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

/* "FILE" or "FILE:0.8"; the text is cut at the colon if a number follows it. */
static struct lora_source lora_of(char *text)
{
    char *colon = strrchr(text, ':'), *end = text;
    double weight = colon != NULL ? strtod(colon + 1, &end) : 1;
    if (colon == NULL || end == colon + 1 || *end != '\0')
        return (struct lora_source){text, 1};
    *colon = '\0';
    return (struct lora_source){text, weight};
}

/* A bar of 40 characters, drawn anew for each percent. */
static void print_progress(void *self, uint64_t done, uint64_t all)
{
    int *last = self, percent = all > 0 ? (int)(done * 100 / all) : 100;
    if (percent == *last)
        return;
    *last = percent;
    fprintf(stderr, "\r[%.*s%*s] %3d %% of %.2f GB", percent * 2 / 5, "########################################",
            40 - percent * 2 / 5, "", percent, (double)all / 2e9);
}

static void print_notes(const struct text *notes)
{
    for (const char *line = notes->data; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        fprintf(stderr, "note: %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* Libraries name settings in backquotes; here they are options. */
static void print_error(const struct error *e)
{
    struct text message = {0};
    settings_spell(&message, e->message, "--");
    fprintf(stderr, "storydiff-convert: %s\n", message.data != NULL ? message.data : e->message);
    text_free(&message);
}

int main(int argc, char **argv)
{
    enum { VAE = 256, TEXT_ENCODERS, TOKENIZER, CONFIG, DTYPE, LORA };
    struct lora_source loras[MAX_LORAS];
    static const struct option flags[] = {{"dtype", required_argument, NULL, DTYPE},
                                          {"vae", required_argument, NULL, VAE},
                                          {"text_encoders", required_argument, NULL, TEXT_ENCODERS},
                                          {"tokenizer", required_argument, NULL, TOKENIZER},
                                          {"config", required_argument, NULL, CONFIG},
                                          {"lora", required_argument, NULL, LORA},
                                          {"overwrite", no_argument, NULL, 'f'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct conversion c = {.dtype = DTYPE_OTHER};
    int last = -1;
    bool quiet = !isatty(STDERR_FILENO);
    for (int flag; (flag = getopt_long(argc, argv, "fqh", flags, NULL)) != -1;)
        switch (flag) {
        case DTYPE:
            if (!parse_dtype(optarg, &c.dtype))
                return mistake("--dtype is f16, bf16 or f32, not ", optarg);
            break;
        case VAE: c.sources.vae = optarg; break;
        case TEXT_ENCODERS: c.sources.text_encoders = optarg; break;
        case TOKENIZER: c.sources.tokenizer = optarg; break;
        case CONFIG: c.sources.config = optarg; break;
        case LORA:
            if (c.sources.lora_count == MAX_LORAS)
                return mistake("too many LoRAs: ", optarg);
            loras[c.sources.lora_count++] = lora_of(optarg);
            c.sources.loras = loras;
            break;
        case 'f': c.overwrite = true; break;
        case 'q': quiet = true; break;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        default: return mistake("wrong option", "");
        }
    if (argc - optind != 2)
        return mistake("IN and OUT are wanted", "");
    c.in = argv[optind];
    c.out = argv[optind + 1];
    c.progress = quiet ? NULL : print_progress;
    c.self = &last;
    struct error e = {0};
    status s = convert(&c, &e);
    if (last >= 0)
        fputc('\n', stderr);
    print_notes(&c.notes);
    text_free(&c.notes);
    if (s != OK) {
        print_error(&e);
        return EXIT_MISTAKE;
    }
    printf("%s\n", c.out);
    return EXIT_SUCCESS;
}
