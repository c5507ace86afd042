/* storydiff-inspect: what is in a file (tools/inspection.h). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/settings.h"
#include "tools/inspection.h"

enum { EXIT_MISTAKE = 2 };

static const char usage[] =
    "usage: storydiff-inspect [options] FILE|FOLDER|PNG\n"
    "\n"
    "What a model is made of, what would not bind and what would not be used; what any other file of weights is; how\n"
    "a picture was made.\n"
    "\n"
    "  --tensors          every tensor with its format and shape\n"
    "  --json             all of it as JSON\n"
    "  --config DIR       for an unusual single file: a folder with its config.json files\n"
    "  --vae PATH, --text_encoders PATH   as for storydiff\n"
    "\n"
    "The exit status is 0 if the file can be used as it is, 1 if it is read but cannot, 2 if it cannot be read.\n";

/* Libraries name settings in backquotes; here they are options. */
static void print_error(const struct error *e)
{
    struct text message = {0};
    settings_spell(&message, e->message, "--");
    fprintf(stderr, "storydiff-inspect: %s\n", message.data != NULL ? message.data : e->message);
    text_free(&message);
}

int main(int argc, char **argv)
{
    enum { TENSORS = 256, JSON, CONFIG, VAE, TEXT_ENCODERS };
    static const struct option flags[] = {{"tensors", no_argument, NULL, TENSORS},
                                          {"json", no_argument, NULL, JSON},
                                          {"config", required_argument, NULL, CONFIG},
                                          {"vae", required_argument, NULL, VAE},
                                          {"text_encoders", required_argument, NULL, TEXT_ENCODERS},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct inspection how = {0};
    for (int flag; (flag = getopt_long(argc, argv, "h", flags, NULL)) != -1;)
        switch (flag) {
        case TENSORS: how.tensors = true; break;
        case JSON: how.form = INSPECTION_JSON; break;
        case CONFIG: how.sources.config = optarg; break;
        case VAE: how.sources.vae = optarg; break;
        case TEXT_ENCODERS: how.sources.text_encoders = optarg; break;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        default: fputs("storydiff-inspect: wrong option; see --help\n", stderr); return EXIT_MISTAKE;
        }
    if (argc - optind != 1) {
        fputs("storydiff-inspect: one FILE is wanted; see --help\n", stderr);
        return EXIT_MISTAKE;
    }
    how.path = argv[optind];
    struct text out = {0};
    struct error e = {0};
    bool whole;
    status s = inspect(&how, &out, &whole, &e);
    if (s == OK)
        fputs(out.data, stdout);
    else
        print_error(&e);
    text_free(&out);
    return s != OK ? EXIT_MISTAKE : whole ? EXIT_SUCCESS : EXIT_FAILURE;
}
