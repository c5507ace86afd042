#include "storydiff/cli/say.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <zlib.h>

#include "storydiff/comic/settings.h"
#include "tensor/blas.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/peak.h"

void say_line(const char *prefix, const char *line)
{
    struct text spelt = {0};
    settings_spell(&spelt, line, "--");
    fputs(prefix, stderr);
    for (const char *p = spelt.data != NULL ? spelt.data : ""; *p != '\0'; p++)
        fputc((unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p, stderr);
    fputc('\n', stderr);
    text_free(&spelt);
}

void say_lines(const char *prefix, const struct text *lines)
{
    for (const char *line = lines->data; line != NULL && *line != '\0';) {
        struct text one = {0};
        size_t length = strcspn(line, "\n");
        text_append_bytes(&one, line, length);
        say_line(prefix, one.data);
        text_free(&one);
        line += length + (line[length] == '\n');
    }
}

void say_version(void)
{
    struct cpu cpu = cpu_detect();
    struct error e = {0};
    bool blas = blas_load(&e) == OK;
    printf("storydiff %s\n", STORYDIFF_VERSION);
    printf("CPU       %s, %d cores (%d threads), %s\n", cpu.name, cpu.physical_cores, cpu.logical_cores,
           cpu.avx512 ? "AVX-512" : cpu.avx2_fma ? "AVX2 and FMA" : "no AVX2");
    printf("memory    %.1f GB, %.1f GB available\n", (double)cpu.memory / 1e9, (double)cpu.memory_available / 1e9);
    printf("kernels   %s\n", gemm_kernel_name());
    printf("threads   %d, unless --threads says another number\n", cpu.physical_cores);
    printf("OpenBLAS  %s%s%s\n", blas ? blas_config() : e.message, blas ? "; its kernels: " : "",
           blas ? blas_core() : "");
    printf("zlib      %s\n", zlibVersion());
}

static void print_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("peak resident memory %.0f MB, mapped weights included\n", (double)usage.ru_maxrss * 1024 / 1e6);
}

void say_profile(const struct profile *profile, int threads)
{
    double peak = peak_flops_mean(threads);
    printf("%-12s %8s %9s %9s %9s %9s %9s\n", "operation", "calls", "seconds", "GFLOP", "GFLOP/s", "% of peak",
           "GB/s");
    for (enum op op = 0; op < OP_COUNT; op++) {
        const struct profile_row *row = &profile->rows[op];
        double seconds = row->seconds > 0 ? row->seconds : 1e-9;
        printf("%-12s %8lld %9.2f %9.2f %9.1f %9.1f %9.1f\n", op_name(op), (long long)row->calls, row->seconds,
               row->flops / 1e9, row->flops / seconds / 1e9, 100 * row->flops / seconds / peak,
               row->bytes / seconds / 1e9);
    }
    print_memory();
}
