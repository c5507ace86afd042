/* bench_pipeline: the three networks as a whole, at their full size, on any SDXL folder; build/synthesize makes one.
 *
 * Each network runs once at a small size first, so that its weights are mapped and in memory, then as often as asked
 * for. Percentages are of the multiply-add peak measured right before and right after (tensor/peak.h), counting the
 * plain algorithm's flops. The sum of the kinds of operation is less than the whole by what happens between them. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/flags.h"
#include "sdxl/model.h"
#include "tensor/cpu.h"
#include "tensor/parallel.h"
#include "tensor/peak.h"
#include "tensor/rng.h"

enum { EXIT_MISTAKE = 2, SMALL_PX = 128 };

static const char usage[] =
    "usage: bench_pipeline [options] MODEL\n"
    "\n"
    "  MODEL           an SDXL folder: `build/synthesize sdxl FOLDER` makes one (7 GB)\n"
    "  --px LIST       sizes of the picture (512,768,1024)\n"
    "  --only PART     text, unet or vae\n"
    "  --repeat N      runs of each; the shortest is printed (1)\n"
    "  --threads N     (physical cores)\n";

struct options {
    const char *model, *only;
    int64_t px[MOST_SIZES];
    int sizes, repeat, threads;
};

/* One network, its input and its output. */
struct job {
    const struct model *m;
    int64_t px;
    float *input, *text, *pooled, *output;
    int64_t input_count, output_count;
    int32_t ids[TOKEN_WINDOW];
};

struct part {
    const char *name, *what;
    void (*size)(struct job *job); /* input_count, output_count */
    void (*run)(const struct context *ctx, const struct job *job);
};

/* ---------------------------------------------------------------------------------------------------- the parts */

static void size_text(struct job *job)
{
    const struct clip *first = &job->m->text_encoder, *second = &job->m->text_encoder_2;
    job->input_count = 1;
    job->output_count = TOKEN_WINDOW * (first->config.hidden_size + second->config.hidden_size);
}

static void run_text(const struct context *ctx, const struct job *job)
{
    const struct clip *first = &job->m->text_encoder, *second = &job->m->text_encoder_2;
    clip_encode(ctx, first, job->ids, 1, job->output, NULL);
    clip_encode(ctx, second, job->ids, 1, job->output + TOKEN_WINDOW * first->config.hidden_size, job->pooled);
}

static int64_t latent_count(const struct job *job)
{
    int64_t side = job->px / vae_factor(&job->m->vae.config);
    return side * side * job->m->unet.config.in_channels;
}

static struct features latents(const struct job *job)
{
    int64_t side = job->px / vae_factor(&job->m->vae.config);
    return (struct features){job->input, 1, side, side, job->m->unet.config.in_channels};
}

static void size_unet(struct job *job)
{
    job->input_count = job->output_count = latent_count(job);
}

static void run_unet(const struct context *ctx, const struct job *job)
{
    const float sizes[] = {(float)job->px, (float)job->px, 0, 0, (float)job->px, (float)job->px};
    unet_forward(ctx, &job->m->unet, job->output,
                 &(struct unet_input){.sample = latents(job),
                                      .timestep = 500,
                                      .text = {.states = job->text, .tokens = TOKEN_WINDOW},
                                      .text_embeds = job->pooled,
                                      .time_ids = sizes},
                 (struct unet_options){0});
}

static void size_vae(struct job *job)
{
    job->input_count = latent_count(job);
    job->output_count = job->px * job->px * job->m->vae.config.out_channels;
}

static void run_vae(const struct context *ctx, const struct job *job)
{
    vae_decode(ctx, &job->m->vae, job->output, latents(job));
}

static const struct part parts[] = {
    {"text", "text encoding, one prompt", size_text, run_text},
    {"unet", "UNet forward, one sample", size_unet, run_unet},
    {"vae", "VAE decoding, one picture", size_vae, run_vae},
};

/* Whether it has more to do for a larger picture. */
static bool grows(const struct part *part)
{
    return part->run != run_text;
}

/* -------------------------------------------------------------------------------------------------------- timing */

static void job_close(struct job *job)
{
    free(job->input);
    free(job->text);
    free(job->pooled);
    free(job->output);
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

static status job_open(struct job *job, const struct model *m, const struct part *part, int64_t px, struct error *e)
{
    *job = (struct job){.m = m, .px = px};
    const struct unet_config *u = &m->unet.config;
    part->size(job);
    job->input = normal_floats(1, job->input_count);
    job->text = normal_floats(2, TOKEN_WINDOW * u->cross_attention_dim);
    job->pooled = normal_floats(3, u->projection_class_embeddings_input_dim - 6 * u->addition_time_embed_dim);
    job->output = malloc((size_t)job->output_count * sizeof *job->output);
    for (int i = 0; i < TOKEN_WINDOW; i++)
        job->ids[i] = i;
    if (job->input != NULL && job->text != NULL && job->pooled != NULL && job->output != NULL)
        return OK;
    job_close(job);
    return fail(e, ERR_MEMORY, "%s: no memory for input and output", part->name);
}

struct timing {
    double seconds;         /* of the shortest run */
    struct profile profile; /* of the same */
    double flops;           /* of the plain algorithm, which computes nothing twice to save memory */
    size_t memory;          /* working memory: bytes beside weights, input and output */
    double rms;             /* of the output: a network that overflows is fast and wrong */
};

/* With all the memory that it could use. */
static double plain_flops(const struct part *part, const struct job *job)
{
    struct model copy = *job->m;
    struct job plain = *job;
    struct arena arena = arena_measure();
    struct profile profile = {0};
    copy.vae.memory.whole = INT64_MAX / 2;
    plain.m = &copy;
    part->run(&(struct context){.arena = &arena, .threads = 1, .profile = &profile}, &plain);
    double flops = 0;
    for (enum op op = 0; op < OP_COUNT; op++)
        flops += profile.rows[op].flops;
    return flops;
}

static status run_part(const struct model *m, const struct part *part, int64_t px, int threads, int repeat,
                       struct timing *t, struct error *e)
{
    struct job job;
    struct arena arena = arena_measure();
    struct context ctx = {.arena = &arena, .threads = threads};
    TRY(job_open(&job, m, part, px, e));
    part->run(&ctx, &job);
    *t = (struct timing){.memory = arena.peak, .seconds = INFINITY, .flops = plain_flops(part, &job)};
    status s = arena_open(&arena, arena.peak, part->what, e);
    for (int i = 0; i < repeat && s == OK; i++) {
        struct profile profile = {0};
        ctx.profile = &profile;
        double start = seconds_now();
        part->run(&ctx, &job);
        double seconds = seconds_now() - start;
        if (seconds < t->seconds) {
            t->seconds = seconds;
            t->profile = profile;
        }
    }
    double squares = 0;
    for (int64_t i = 0; i < job.output_count && s == OK; i++)
        squares += (double)job.output[i] * job.output[i];
    t->rms = sqrt(squares / (double)job.output_count);
    if (s == OK && !isfinite(t->rms))
        s = fail(e, ERR_FORMAT, "%s: the result is not finite: these weights are of no use for timing", part->what);
    arena_close(&arena);
    job_close(&job);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- printing */

static void print_row(const char *name, int64_t calls, double seconds, double flops, double bytes, double peak)
{
    seconds = fmax(seconds, 1e-9);
    printf("    %-12s %7lld calls %9.3f s %9.1f GFLOP %8.1f GFLOP/s %6.1f %% of peak %7.1f GB/s\n", name,
           (long long)calls, seconds, flops / 1e9, flops / seconds / 1e9, 100 * flops / seconds / peak,
           bytes / seconds / 1e9);
}

static void print_timing(const struct part *part, int64_t px, const struct timing *t, double peak)
{
    double bytes = 0;
    int64_t calls = 0;
    printf("%s", part->what);
    if (grows(part))
        printf(", %lld px", (long long)px);
    printf(": %.3f s; working memory %.0f MB; result's root mean square %.3g\n", t->seconds, (double)t->memory / 1e6,
           t->rms);
    for (enum op op = 0; op < OP_COUNT; op++) {
        const struct profile_row *row = &t->profile.rows[op];
        if (row->calls > 0)
            print_row(op_name(op), row->calls, row->seconds, row->flops, row->bytes, peak);
        bytes += row->bytes;
        calls += row->calls;
    }
    print_row("whole", calls, t->seconds, t->flops, bytes, peak);
    fflush(stdout);
}

static status time_model(const struct model *m, const struct options *o, struct error *e)
{
    TRY(gemm_ready(e));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct part *part = &parts[i];
        struct timing t;
        if (o->only != NULL && strcmp(o->only, part->name) != 0)
            continue;
        TRY(run_part(m, part, SMALL_PX, o->threads, 1, &t, e)); /* brings the weights into memory */
        for (int s = 0; s < (grows(part) ? o->sizes : 1); s++) {
            double before = peak_flops_mean(o->threads);
            TRY(run_part(m, part, o->px[s], o->threads, o->repeat, &t, e));
            print_timing(part, o->px[s], &t, (before + peak_flops_mean(o->threads)) / 2);
        }
    }
    return OK;
}

/* As a team is handed it. */
struct task {
    const struct model *m;
    const struct options *o;
    struct error *e;
    status status;
};

static void run_task(void *arg)
{
    struct task *task = arg;
    task->status = time_model(task->m, task->o, task->e);
}

/* -------------------------------------------------------------------------------------------------------- options */

static bool known_part(const char *name)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, name) == 0)
            return true;
    return false;
}

static bool parse(int argc, char **argv, struct options *o)
{
    enum { PX = 1, ONLY, REPEAT, THREADS, HELP };
    static const struct option flags[] = {{"px", required_argument, NULL, PX},
                                          {"only", required_argument, NULL, ONLY},
                                          {"repeat", required_argument, NULL, REPEAT},
                                          {"threads", required_argument, NULL, THREADS},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        bool good = false;
        switch (flag) {
        case PX: good = parse_sizes(optarg, o->px, &o->sizes); break;
        case ONLY:
            o->only = optarg;
            good = known_part(optarg);
            break;
        case REPEAT: good = parse_number(optarg, 99, &o->repeat); break;
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
    struct options o = {.px = {512, 768, 1024}, .sizes = 3, .repeat = 1, .threads = cpu.physical_cores};
    struct error e = {0};
    struct model m;
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return EXIT_MISTAKE;
    }
    if (model_open(&m, o.model, &e) != OK) {
        fprintf(stderr, "bench_pipeline: %s\n", e.message);
        return EXIT_FAILURE;
    }
    printf("%s, %d of %d threads, %s multiply-adds at %.1f GFLOP/s\n", cpu.name, o.threads, cpu.logical_cores,
           peak_isa(), peak_flops(o.threads) / 1e9);
    struct task task = {&m, &o, &e, OK};
    parallel_team(o.threads, run_task, &task);
    model_close(&m);
    if (task.status != OK)
        fprintf(stderr, "bench_pipeline: %s\n", e.message);
    return task.status == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
