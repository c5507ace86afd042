/* bench_levers: one UNet forward with less arithmetic, beside float32: 8-bit products, features kept from an earlier
 * step, both. Any SDXL folder will do; build/synthesize makes one.
 *
 * Rounds are interleaved, and medians are printed. An error is the root mean square of the difference from float32,
 * over that of float32's result. From the forwards follow the steps: with a cache_interval of N one in N is whole. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/flags.h"
#include "sdxl/model.h"
#include "tensor/cpu.h"
#include "tensor/peak.h"
#include "tensor/profile.h"
#include "tensor/rng.h"

enum { EXIT_MISTAKE = 2, MOST_ROUNDS = 99 };

static const char usage[] = "usage: bench_levers [options] MODEL\n"
                            "\n"
                            "  MODEL           an SDXL folder: `build/synthesize sdxl FOLDER` makes one (7 GB)\n"
                            "  --px LIST       sizes of the picture (512,768)\n"
                            "  --rounds N      measurements of each (3)\n"
                            "  --threads N     (physical cores)\n";

struct options {
    const char *model;
    int64_t px[MOST_SIZES];
    int sizes, rounds, threads;
};

/* Float32 first: the others are compared with it. KEEP comes before those that use what it kept. */
enum lever { FLOAT32, INT8, FLOAT32_KEPT, INT8_KEPT, LEVERS };
static const struct {
    const char *name;
    enum precision precision;
    enum unet_deep deep_use;
} levers[LEVERS] = {
    [FLOAT32] = {"float32", PRECISION_FLOAT32, DEEP_KEEP},
    [INT8] = {"int8", PRECISION_INT8, DEEP_COMPUTE},
    [FLOAT32_KEPT] = {"float32, on kept features", PRECISION_FLOAT32, DEEP_USE},
    [INT8_KEPT] = {"int8, on kept features", PRECISION_INT8, DEEP_USE},
};

/* ------------------------------------------------------------------------------------------------------ a forward */

struct forward {
    const struct model *m;
    int64_t side, count; /* of the latent; its values */
    float *sample, *text, *keys, *pooled, *deep, *out[LEVERS]; /* keys: of the text, which a run computes once */
    float sizes[6];
    enum lever lever;
};

static void run(void *self, const struct context *ctx)
{
    struct forward *f = self;
    const struct unet *u = &f->m->unet;
    const float *keys = f->keys;
    const struct unet_input in = {
        .sample = {f->sample, 1, f->side, f->side, u->config.in_channels},
        .timestep = 500,
        .guidance_scale = 5,
        .text = {.states = f->text, .tokens = TOKEN_WINDOW, .keys = &keys},
        .text_embeds = f->pooled,
        .time_ids = f->sizes,
    };
    unet_forward(ctx, u, f->out[f->lever], &in,
                 (struct unet_options){.precision = levers[f->lever].precision,
                                       .deep_use = levers[f->lever].deep_use,
                                       .deep = f->deep});
}

static void make_keys(void *self, const struct context *ctx)
{
    struct forward *f = self;
    unet_text_keys(ctx, &f->m->unet, f->keys, f->text, TOKEN_WINDOW);
}

static float *normal_floats(uint64_t seed, int64_t count)
{
    struct torch_rng g;
    float *x = malloc((size_t)count * sizeof *x);
    torch_seed(&g, seed);
    if (x != NULL)
        torch_randn(&g, x, count);
    return x;
}

static void forward_close(struct forward *f)
{
    free(f->sample), free(f->text), free(f->keys), free(f->pooled), free(f->deep);
    for (int i = 0; i < LEVERS; i++)
        free(f->out[i]);
}

static status forward_open(struct forward *f, const struct model *m, int64_t px, struct error *e)
{
    const struct unet_config *u = &m->unet.config;
    int64_t side = px / vae_factor(&m->vae.config);
    int64_t pooled = u->text_time ? u->projection_class_embeddings_input_dim - 6 * u->addition_time_embed_dim : 1;
    *f = (struct forward){.m = m, .side = side, .count = side * side * u->in_channels};
    memcpy(f->sizes, (const float[]){(float)px, (float)px, 0, 0, (float)px, (float)px}, sizeof f->sizes);
    f->sample = normal_floats(1, f->count);
    f->text = normal_floats(2, TOKEN_WINDOW * u->cross_attention_dim);
    f->keys = malloc((size_t)unet_text_keys_size(&m->unet, TOKEN_WINDOW) * sizeof *f->keys);
    f->pooled = normal_floats(3, pooled);
    f->deep = malloc((size_t)(side * side * unet_deep_channels(u)) * sizeof *f->deep);
    bool failed = f->sample == NULL || f->text == NULL || f->keys == NULL || f->pooled == NULL || f->deep == NULL;
    for (int i = 0; i < LEVERS; i++) {
        f->out[i] = malloc((size_t)f->count * sizeof *f->out[i]);
        failed = failed || f->out[i] == NULL;
    }
    if (!failed)
        return OK;
    forward_close(f);
    return fail(e, ERR_MEMORY, "%lld px: no memory for input and output", (long long)px);
}

/* --------------------------------------------------------------------------------------------------------- timing */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static size_t largest(const size_t *values, int count)
{
    size_t most = 0;
    for (int i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most;
    return most;
}

static double error_of(const struct forward *f, enum lever lever)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < f->count; i++) {
        double wanted = f->out[FLOAT32][i], difference = f->out[lever][i] - wanted;
        off += difference * difference;
        size += wanted * wanted;
    }
    return sqrt(off / size);
}

/* What takes the time: means of the rounds. */
static void print_operations(const struct profile *p, int rounds)
{
    printf("   ");
    for (enum op op = 0; op < OP_OTHER; op++)
        printf(" %s %.3f s", op_name(op), p->rows[op].seconds / rounds);
    printf("\n");
}

static void print_steps(const char *name, double whole, double kept, double float32)
{
    for (int interval = 2; interval <= 5; interval++) {
        double mean = (whole + (interval - 1) * kept) / interval;
        printf("    %s, cache_interval %d: %.3f s a step, %.2f x\n", name, interval, mean, float32 / mean);
    }
}

static status measure(const struct model *m, int64_t px, const struct options *o, struct error *e)
{
    struct forward f;
    double seconds[LEVERS][MOST_ROUNDS], middle[LEVERS];
    size_t memory[LEVERS];
    TRY(forward_open(&f, m, px, e));
    struct profile profiles[LEVERS] = {0};
    struct arena arena; /* one for all, as in a drawing: its pages are there */
    struct context ctx = {.threads = o->threads};
    status s = work_run(&ctx, (struct work){make_keys, &f, "the keys of the text"}, e);
    for (f.lever = 0; f.lever < LEVERS; f.lever++)
        memory[f.lever] = work_measure(&ctx, (struct work){run, &f, NULL});
    if (s == OK)
        s = arena_open(&arena, largest(memory, LEVERS), "the UNet", e);
    if (s != OK) {
        forward_close(&f);
        return s;
    }
    ctx.arena = &arena;
    for (int round = -1; round < o->rounds; round++) /* one more, which brings the weights into memory */
        for (f.lever = 0; f.lever < LEVERS; f.lever++) {
            ctx.profile = round >= 0 ? &profiles[f.lever] : NULL;
            double start = seconds_now();
            run(&f, &ctx);
            if (round >= 0)
                seconds[f.lever][round] = seconds_now() - start;
        }
    arena_close(&arena);
    printf("%lld px\n", (long long)px);
    for (int i = 0; i < LEVERS; i++) {
        middle[i] = median(seconds[i], o->rounds);
        printf("  %-26s %8.3f s %6.2f x, working memory %.1f MB, error %.4f\n", levers[i].name, middle[i],
               middle[0] / middle[i], (double)memory[i] / 1e6, error_of(&f, i));
        print_operations(&profiles[i], o->rounds);
    }
    print_steps("float32", middle[FLOAT32], middle[FLOAT32_KEPT], middle[FLOAT32]);
    print_steps("int8", middle[INT8], middle[INT8_KEPT], middle[FLOAT32]);
    fflush(stdout);
    forward_close(&f);
    return OK;
}

/* -------------------------------------------------------------------------------------------------------- options */

static bool parse(int argc, char **argv, struct options *o)
{
    enum { PX = 1, ROUNDS, THREADS, HELP };
    static const struct option flags[] = {{"px", required_argument, NULL, PX},
                                          {"rounds", required_argument, NULL, ROUNDS},
                                          {"threads", required_argument, NULL, THREADS},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        bool good = false;
        switch (flag) {
        case PX: good = parse_sizes(optarg, o->px, &o->sizes); break;
        case ROUNDS: good = parse_number(optarg, MOST_ROUNDS, &o->rounds); break;
        case THREADS: good = parse_number(optarg, 1024, &o->threads); break;
        case HELP: fputs(usage, stdout); exit(EXIT_SUCCESS);
        default: break;
        }
        if (!good)
            return false;
    }
    o->model = argv[optind];
    return optind + 1 == argc;
}

int main(int argc, char **argv)
{
    struct cpu cpu = cpu_detect();
    struct options o = {.px = {512, 768}, .sizes = 2, .rounds = 3, .threads = cpu.physical_cores};
    struct error e = {0};
    struct model m;
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return EXIT_MISTAKE;
    }
    if (model_open(&m, o.model, &e) != OK) {
        fprintf(stderr, "bench_levers: %s\n", e.message);
        return EXIT_FAILURE;
    }
    status s = gemm_ready(&e);
    if (s == OK)
        printf("%s, %d of %d threads, %s and %s: %.0f GFLOP/s of multiply-adds, %.0f GOP/s of 8-bit ones\n", cpu.name,
               o.threads, cpu.logical_cores, gemm_kernel_name(), gemm_int8_kernel_name(),
               peak_flops(o.threads) / 1e9, peak_int8_ops(o.threads) / 1e9);
    for (int i = 0; i < o.sizes && s == OK; i++)
        s = measure(&m, o.px[i], &o, &e);
    model_close(&m);
    if (s != OK)
        fprintf(stderr, "bench_levers: %s\n", e.message);
    return s == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
