#include "bench/report.h"

#include <string.h>

#include "bench/roofline.h"
#include "tensor/file.h"
#include "tensor/text.h"

static bool is_norm(const struct measurement *m)
{
    return m->c->kind == CASE_GROUP_NORM || m->c->kind == CASE_LAYER_NORM;
}

double measurement_percent(const struct measurement *m)
{
    return is_norm(m) ? 100 * m->size.bytes / m->seconds / m->copy_bytes
                      : 100 * m->size.flops / m->seconds / m->peak_flops;
}

double measurement_best_peer(const struct measurement *m)
{
    double best = 0;
    for (int i = 0; i < m->peer_count; i++)
        if (best == 0 || m->peers[i].seconds < best)
            best = m->peers[i].seconds;
    return best;
}

static const char *kind_name(enum case_kind kind)
{
    switch (kind) {
    case CASE_LINEAR: return "linear";
    case CASE_CONV: return "convolution";
    case CASE_ATTENTION: return "attention";
    case CASE_GROUP_NORM: return "group norm";
    case CASE_LAYER_NORM: break;
    }
    return "layer norm";
}

/* ------------------------------------------------------------------------------------------------------- lines */

/* "M x N x K", or what the kind has instead. */
static void shape(const struct measurement *m, char *text, size_t size)
{
    const struct bench_case *c = m->c;
    long long rows = (long long)m->size.rows, K = (long long)c->K, N = (long long)c->N;
    switch (c->kind) {
    case CASE_LINEAR:
        snprintf(text, size, "%lld x %lld x %lld", rows, c->activation == ACT_GEGLU ? 2 * N : N, K);
        break;
    case CASE_CONV: snprintf(text, size, "%lld^2, %lld to %lld", (long long)m->size.h, K, N); break;
    case CASE_ATTENTION:
        snprintf(text, size, "%lld x %lld, %lld x %lld", rows, (long long)m->size.keys, (long long)c->heads,
                 K / (long long)c->heads);
        break;
    case CASE_GROUP_NORM:
    case CASE_LAYER_NORM: snprintf(text, size, "%lld x %lld", rows, K); break;
    }
}

void report_print_head(FILE *out)
{
    fprintf(out, "%4s %-11s %-26s %-22s %9s %8s %7s %5s %7s %7s %8s  %s\n", "px", "kernel", "case", "shape", "ms",
            "GFLOP/s", "% peak", "bar", "GB/s", "threads", "x peer", "peers (GFLOP/s; norms GB/s)");
}

void report_print_line(FILE *out, const struct measurement *m)
{
    char text[64], px[16] = "-";
    double percent = measurement_percent(m), best = measurement_best_peer(m);
    shape(m, text, sizeof text);
    if (m->c->stride > 0)
        snprintf(px, sizeof px, "%lld", (long long)m->px);
    fprintf(out, "%4s %-11s %-26s %-22s %9.3f %8.1f %6.1f%c", px, kind_name(m->c->kind), m->c->name, text,
            1e3 * m->seconds, m->size.flops / m->seconds / 1e9, percent, percent < m->bar ? '!' : ' ');
    if (m->bar > 0)
        fprintf(out, " %5.0f", m->bar);
    else
        fprintf(out, " %5s", "");
    fprintf(out, " %7.1f %6.2fx", m->size.bytes / m->seconds / 1e9, m->one_thread / m->seconds);
    if (best > 0)
        fprintf(out, " %8.2f ", best / m->seconds);
    for (int i = 0; i < m->peer_count; i++)
        fprintf(out, " %s %.0f;", m->peers[i].name,
                (is_norm(m) ? m->size.bytes : m->size.flops) / m->peers[i].seconds / 1e9);
    fprintf(out, "\n");
    fflush(out);
}

/* -------------------------------------------------------------------------------------------------------- sums */

/* The kernels of one network at one size. */
struct sum {
    int measured; /* cases */
    double seconds, flops, peak_seconds; /* peak_seconds: the same arithmetic at the peak of each case's rounds */
};

static struct sum add_up(const struct report *r, const char *network, int64_t px)
{
    struct sum s = {0};
    for (const struct measurement *m = r->items; m < r->items + r->count; m++)
        if (strncmp(m->c->name, network, strlen(network)) == 0 && (m->c->stride == 0 || m->px == px)) {
            s.measured++;
            s.seconds += m->c->calls * m->seconds;
            s.flops += m->c->calls * m->size.flops;
            s.peak_seconds += m->c->calls * m->size.flops / m->peak_flops;
        }
    return s;
}

static int case_count(const char *network)
{
    int count = 0;
    for (int i = 0; i < bench_case_count; i++)
        count += strncmp(bench_cases[i].name, network, strlen(network)) == 0;
    return count;
}

void report_print_sums(FILE *out, const struct report *r)
{
    static const char *const networks[][2] = {{"unet", "one UNet forward, kernels only"},
                                              {"vae", "one VAE decoding, kernels only"},
                                              {"clip", "text, kernels only"}};
    int64_t last = -1;
    for (int i = 0; i < r->count; i++) {
        if (r->items[i].px == last)
            continue;
        last = r->items[i].px;
        for (size_t n = 0; n < sizeof networks / sizeof *networks; n++) {
            struct sum s = add_up(r, networks[n][0], last);
            if (s.measured == case_count(networks[n][0]))
                fprintf(out, "%4lld px, %-30s %8.2f s, %7.2f TFLOP, %5.1f %% of peak\n", (long long)last,
                        networks[n][1], s.seconds, s.flops / 1e12, 100 * s.peak_seconds / s.seconds);
        }
    }
    int bars = 0, missed = 0;
    for (const struct measurement *m = r->items; m < r->items + r->count; m++) {
        bars += m->bar > 0;
        missed += measurement_percent(m) < m->bar;
    }
    if (bars > 0)
        fprintf(out, "%d of %d cases miss their bar (marked !)\n", missed, bars);
}

/* -------------------------------------------------------------------------------------------------------- JSON */

static void append_measurement(struct text *t, const struct measurement *m)
{
    text_append(t, "{\"kernel\": \"%s\", \"case\": ", kind_name(m->c->kind));
    text_append_json_string(t, m->c->name);
    text_append(t, ", \"px\": %lld, \"rows\": %lld, \"in\": %lld, \"out\": %lld, \"keys\": %lld, \"calls\": %d",
                (long long)m->px, (long long)m->size.rows, (long long)m->c->K, (long long)m->c->N,
                (long long)m->size.keys, m->c->calls);
    text_append(
        t, ", \"flops\": %.0f, \"bytes\": %.0f, \"seconds\": %.9f, \"percent\": %.2f, \"bar\": %.0f, \"error\": %.3g",
        m->size.flops, m->size.bytes, m->seconds, measurement_percent(m), m->bar, m->error);
    text_append(t, ", \"one_thread\": %.9f, \"peak_flops\": %.0f, \"copy_bytes\": %.0f, \"peers\": {", m->one_thread,
                m->peak_flops, m->copy_bytes);
    for (int i = 0; i < m->peer_count; i++)
        text_append(t, "%s\"%s\": %.9f", i > 0 ? ", " : "", m->peers[i].name, m->peers[i].seconds);
    text_append(t, "}}");
}

/* Writes a text and frees it. */
static status write_text(struct text *t, const char *path, struct error *e)
{
    status s = t->failed ? fail(e, ERR_MEMORY, "%s: no memory for the report", path)
                         : file_write(path, t->data, t->length, e);
    text_free(t);
    return s;
}

status report_write_json(const struct report *r, const char *path, struct error *e)
{
    struct text t = {0};
    text_append(&t, "{\"machine\": ");
    text_append_json_string(&t, r->machine);
    text_append(&t, ", \"threads\": %d, \"kernels\": [\n", r->threads);
    for (int i = 0; i < r->count; i++) {
        append_measurement(&t, &r->items[i]);
        text_append(&t, i + 1 < r->count ? ",\n" : "\n");
    }
    text_append(&t, "]}\n");
    return write_text(&t, path, e);
}

status report_write_svg(const struct report *r, const char *path, struct error *e)
{
    struct text t = {0};
    roofline_append(&t, r);
    return write_text(&t, path, e);
}
