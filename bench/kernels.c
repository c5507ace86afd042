/* bench_kernels: every kernel of SDXL (bench/cases.h), checked and then timed beside other libraries and the
 * machine's own limits.
 *
 * Rounds are interleaved: in each, ours, every peer and both yardsticks (tensor/peak.h) run once, one after another,
 * so that a slow second hits all alike; medians over the rounds are printed. Threads of other libraries spin for a
 * while after their work and would disturb who comes next: hence a pause. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/flags.h"
#include "bench/peer.h"
#include "bench/report.h"
#include "tensor/blas.h"
#include "tensor/cpu.h"
#include "tensor/parallel.h"
#include "tensor/peak.h"

enum { EXIT_MISTAKE = 2, MOST_ROUNDS = 99 };

static const char usage[] =
    "usage: bench_kernels [options]\n"
    "\n"
    "  --px LIST       sizes of the picture (512,768,1024)\n"
    "  --filter TEXT   only cases with this in their name: \"unet 2\", \"conv\", \"read pass\"\n"
    "  --rounds N      measurements of each (7)\n"
    "  --quick         512 px, 3 rounds\n"
    "  --threads N     (physical cores)\n"
    "  --no-peers      only ours and the yardsticks\n"
    "  --precision P   float32, or int8: the layers that run in 8-bit integers, beside our float32 and, linear "
    "layers, oneDNN's u8s8 (float32)\n"
    "  --json FILE     (build/bench.json)\n"
    "  --svg FILE      the roofline plot (build/bench.svg)\n";

struct options {
    int64_t px[MOST_SIZES];
    int sizes, rounds, threads;
    const char *filter, *json, *svg;
    bool peers;
    enum precision precision;
};

/* ------------------------------------------------------------------------------------------------------ a clock */

static const double least_seconds =
    0.02; /* what one measurement should last: far above the clock and a thread's waking */

/* Seconds per call. */
static double time_calls(void (*run)(void *self), void *self)
{
    double start = seconds_now(), seconds = 0;
    int64_t calls = 0;
    while (seconds < least_seconds) {
        run(self);
        calls++;
        seconds = seconds_now() - start;
    }
    return seconds / (double)calls;
}

static void pause_for_spinning_threads(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* --------------------------------------------------------------------------------------------------------- a case */

static void run_ours(void *self)
{
    problem_run(self);
}

/* As in a run of the program: with a team at hand. */
struct ours {
    struct problem *p;
    double seconds;
};

static void time_team(void *self)
{
    struct ours *ours = self;
    ours->seconds = time_calls(run_ours, ours->p);
}

static double time_ours(struct problem *p, int threads)
{
    struct ours ours = {.p = p};
    int usual = p->threads;
    p->threads = threads;
    parallel_team(threads, time_team, &ours);
    p->threads = usual;
    return ours.seconds;
}

static void run_float32(void *self)
{
    struct problem p = *(const struct problem *)self;
    p.precision = PRECISION_FLOAT32;
    problem_run(&p);
}

static const float *float32_result(void *self)
{
    return ((const struct problem *)self)->y;
}

static void close_nothing(void *self)
{
    (void)self;
}

bool float32_open(struct peer *peer, const struct problem *p)
{
    if (p->precision == PRECISION_FLOAT32)
        return false;
    *peer = (struct peer){"our float32", (void *)p, run_float32, float32_result, RESULT_WHOLE, close_nothing};
    return true;
}

/* Opens the peers whose results are right. A wrong one is no peer, and worth a word. */
static int open_peers(struct peer *peers, const struct problem *p)
{
    static bool (*const openers[MOST_PEERS])(struct peer *peer, const struct problem *p) = {
        openblas_open, openblas_parts_open, onednn_open};
    static bool (*const int8_openers[MOST_PEERS])(struct peer *peer, const struct problem *p) = {float32_open,
                                                                                                onednn_open};
    bool int8 = p->precision == PRECISION_INT8;
    int count = 0;
    for (int i = 0; i < (int8 ? 2 : MOST_PEERS); i++) {
        struct peer *peer = &peers[count];
        struct error e = {0};
        double error;
        if (!(int8 ? int8_openers : openers)[i](peer, p))
            continue;
        peer->run(peer->self);
        if (problem_check(p, peer->name, peer->result(peer->self), peer->kind, &error, &e) == OK) {
            count++;
        } else {
            fprintf(stderr, "%s: %s\n", p->c->name, e.message);
            peer->close(peer->self);
        }
    }
    pause_for_spinning_threads();
    return count;
}

static void take_rounds(struct measurement *m, struct problem *p, struct peer *peers, const struct peak_copy *copy,
                        int rounds)
{
    double ours[MOST_ROUNDS], alone[MOST_ROUNDS], theirs[MOST_PEERS][MOST_ROUNDS];
    double flops[MOST_ROUNDS], bytes[MOST_ROUNDS];
    for (int r = 0; r < rounds; r++) {
        flops[r] = p->precision == PRECISION_INT8 && peak_int8_ops(1) > 0 ? peak_int8_ops(p->threads)
                                                                           : peak_flops(p->threads);
        bytes[r] = peak_copy_bytes(copy, p->threads);
        ours[r] = time_ours(p, p->threads);
        alone[r] = time_ours(p, 1);
        for (int i = 0; i < m->peer_count; i++) {
            theirs[i][r] = time_calls(peers[i].run, peers[i].self);
            pause_for_spinning_threads();
        }
    }
    m->seconds = median(ours, rounds);
    m->one_thread = median(alone, rounds);
    m->peak_flops = median(flops, rounds);
    m->copy_bytes = median(bytes, rounds);
    for (int i = 0; i < m->peer_count; i++) {
        m->peers[i].name = peers[i].name;
        m->peers[i].seconds = median(theirs[i], rounds);
    }
}

/* Fails if our result is wrong: then no time is worth taking. */
static status measure(struct measurement *m, const struct bench_case *c, int64_t px, const struct options *o,
                      const struct peak_copy *copy, struct error *e)
{
    struct problem p;
    struct peer peers[MOST_PEERS];
    *m = (struct measurement){.c = c, .px = px, .size = case_size(c, px)};
    m->bar = o->precision == PRECISION_FLOAT32 ? case_bar(c, &m->size) : 0;
    TRY(problem_open(&p, c, px, o->threads, e));
    p.precision = o->precision;
    problem_run(&p);
    status s = problem_check(&p, c->name, p.y, RESULT_WHOLE, &m->error, e);
    if (s == OK) {
        m->peer_count = o->peers ? open_peers(peers, &p) : 0;
        take_rounds(m, &p, peers, copy, o->rounds);
        for (int i = 0; i < m->peer_count; i++)
            peers[i].close(peers[i].self);
    }
    problem_close(&p);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- a run */

static void describe_machine(struct report *r)
{
    struct cpu cpu = cpu_detect();
    char onednn[64];
    double load[3] = {0};
    onednn_version(onednn, sizeof onednn);
    if (getloadavg(load, 3) < 1)
        load[0] = 0;
    snprintf(r->machine, sizeof r->machine,
             "%s, %d of %d threads, our kernels: %s; OpenBLAS %s; %s; load before the run %.1f", cpu.name, r->threads,
             cpu.logical_cores, gemm_kernel_name(), blas_core() ? blas_core() : "absent", onednn, load[0]);
}

static void print_yardsticks(const struct report *r, const struct peak_copy *copy)
{
    printf("%s\n", r->machine);
    if (peak_int8_ops(1) > 0)
        printf("8-bit products (%s): %.1f GOP/s on %d threads\n", gemm_int8_kernel_name(),
               peak_int8_ops(r->threads) / 1e9, r->threads);
    for (int threads = 1; threads <= r->threads; threads++)
        printf("%d thread%s: %.1f GFLOP/s of %s multiply-adds, copying %.1f GB/s\n", threads, threads > 1 ? "s" : "",
               peak_flops(threads) / 1e9, peak_isa(), peak_copy_bytes(copy, threads) / 1e9);
}

/* Layers that --precision int8 computes in 8 bits (sdxl/unet). */
static bool in_8_bits(const struct bench_case *c)
{
    bool inner = c->stride > 0 && c->name[0] == 'u';
    bool linear = c->kind == CASE_LINEAR && strstr(c->name, "shortcut") == NULL;
    return inner && (linear || (c->kind == CASE_CONV && c->conv == CONV_SAME && c->K >= 320 && c->N >= 320));
}

/* Measures all that is wanted; *wrong counts results that failed their check. */
static status run_cases(struct report *r, const struct options *o, const struct peak_copy *copy, int *wrong,
                        struct error *e)
{
    report_print_head(stdout);
    for (int s = 0; s < o->sizes; s++)
        for (const struct bench_case *c = bench_cases; c < bench_cases + bench_case_count; c++) {
            bool again = s > 0 && c->stride == 0; /* the text does not grow with the picture */
            if (again || (o->precision == PRECISION_INT8 && !in_8_bits(c)) ||
                (o->filter != NULL && strstr(c->name, o->filter) == NULL))
                continue;
            struct measurement *m = &r->items[r->count];
            struct error cause = {0};
            status result = measure(m, c, o->px[s], o, copy, &cause);
            if (result == ERR_FORMAT) {
                fprintf(stderr, "WRONG, not timed: %s\n", cause.message);
                ++*wrong;
                continue;
            }
            if (result != OK)
                return fail(e, result, "%s", cause.message);
            report_print_line(stdout, m);
            r->count++;
        }
    report_print_sums(stdout, r);
    return OK;
}

/* Where our kernels are held back, peers are, too. Both libraries look when they first compute. */
static void restrict_peers(void)
{
    if (cpu_family() != CPU_AVX2 || !cpu_detect().avx512)
        return;
    setenv("OPENBLAS_CORETYPE", "Haswell", 0);
    setenv("ONEDNN_MAX_CPU_ISA", cpu_bytes() == CPU_BYTES_AVX_VNNI ? "AVX2_VNNI" : "AVX2", 0);
}

static status run(const struct options *o, int *wrong, struct error *e)
{
    struct report r = {.threads = o->threads};
    struct peak_copy copy;
    restrict_peers();
    TRY(gemm_ready(e));
    if (blas_load(NULL) != OK)
        fprintf(stderr, "OpenBLAS is not installed: no such peer\n");
    TRY(peak_copy_open(&copy, e));
    r.items = calloc((size_t)(bench_case_count * o->sizes), sizeof *r.items);
    status s = r.items != NULL ? OK : fail(e, ERR_MEMORY, "no memory for the report");
    if (s == OK) {
        describe_machine(&r);
        print_yardsticks(&r, &copy);
        s = run_cases(&r, o, &copy, wrong, e);
    }
    if (s == OK)
        s = report_write_json(&r, o->json, e);
    if (s == OK)
        s = report_write_svg(&r, o->svg, e);
    free(r.items);
    peak_copy_close(&copy);
    return s;
}

/* ------------------------------------------------------------------------------------------------------ options */

static bool parse(int argc, char **argv, struct options *o)
{
    enum { PX = 1, FILTER, ROUNDS, QUICK, THREADS, NO_PEERS, PRECISION, JSON, SVG, HELP };
    static const struct option flags[] = {
        {"px", required_argument, NULL, PX},           {"filter", required_argument, NULL, FILTER},
        {"rounds", required_argument, NULL, ROUNDS},   {"quick", no_argument, NULL, QUICK},
        {"threads", required_argument, NULL, THREADS}, {"no-peers", no_argument, NULL, NO_PEERS},
        {"precision", required_argument, NULL, PRECISION},
        {"json", required_argument, NULL, JSON},       {"svg", required_argument, NULL, SVG},
        {"help", no_argument, NULL, HELP},             {0}};
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        bool good = true;
        switch (flag) {
        case PX: good = parse_sizes(optarg, o->px, &o->sizes); break;
        case FILTER: o->filter = optarg; break;
        case ROUNDS: good = parse_number(optarg, MOST_ROUNDS, &o->rounds); break;
        case QUICK:
            o->px[0] = 512;
            o->sizes = 1;
            o->rounds = 3;
            break;
        case THREADS: good = parse_number(optarg, 1024, &o->threads); break;
        case NO_PEERS: o->peers = false; break;
        case PRECISION:
            o->precision = strcmp(optarg, "int8") == 0 ? PRECISION_INT8 : PRECISION_FLOAT32;
            good = o->precision == PRECISION_INT8 || strcmp(optarg, "float32") == 0;
            break;
        case JSON: o->json = optarg; break;
        case SVG: o->svg = optarg; break;
        case HELP: fputs(usage, stdout); exit(EXIT_SUCCESS);
        default: good = false;
        }
        if (!good)
            return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options o = {.px = {512, 768, 1024},
                        .sizes = 3,
                        .rounds = 7,
                        .threads = cpu_detect().physical_cores,
                        .json = "build/bench.json",
                        .svg = "build/bench.svg",
                        .peers = true};
    struct error e = {0};
    int wrong = 0;
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return EXIT_MISTAKE;
    }
    if (run(&o, &wrong, &e) != OK) {
        fprintf(stderr, "bench_kernels: %s\n", e.message);
        return EXIT_FAILURE;
    }
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
