#include "tensor/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static void read_name(struct cpu *cpu)
{
    struct utsname system;
    snprintf(cpu->name, sizeof cpu->name, "%.60s", uname(&system) == 0 ? system.machine : "unknown");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (f == NULL)
        return;
    char line[256];
    while (fgets(line, sizeof line, f) != NULL) {
        char *value = strchr(line, ':');
        if (value == NULL || strncmp(line, "model name", 10) != 0)
            continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = '\0';
        snprintf(cpu->name, sizeof cpu->name, "%.60s", value);
        break;
    }
    fclose(f);
}

/* A logical CPU is the first of its core if it leads the list of its siblings ("0,2" or "0-1"). */
static bool leads_its_core(int id)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", id);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return true;
    int first = id;
    bool known = fscanf(f, "%d", &first) == 1;
    fclose(f);
    return !known || first == id;
}

static void count_cores(struct cpu *cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int id = 0; id < CPU_SETSIZE; id++)
            if (CPU_ISSET(id, &set)) {
                cpu->logical_cores++;
                cpu->physical_cores += leads_its_core(id);
            }
    /* A container may be given only the second siblings; and nobody has no core at all. */
    if (cpu->logical_cores < 1)
        cpu->logical_cores = 1;
    if (cpu->physical_cores < 1)
        cpu->physical_cores = cpu->logical_cores;
}

static void read_memory(struct cpu *cpu)
{
    FILE *f = fopen("/proc/meminfo", "r");
    if (f == NULL)
        return;
    char line[128];
    unsigned long long kib;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "MemTotal: %llu kB", &kib) == 1)
            cpu->memory = (size_t)kib * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            cpu->memory_available = (size_t)kib * 1024;
    }
    fclose(f);
}

#if defined(__x86_64__)
/* Leaf 7, sub-leaf 1 (Intel SDM, CPUID): not every compiler's __builtin_cpu_supports knows AVX-VNNI. */
static bool has_avx_vnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a >> 4 & 1);
}
#endif

struct cpu cpu_detect(void)
{
    struct cpu cpu = {0};
#if defined(__x86_64__)
    __builtin_cpu_init();
    cpu.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    cpu.avx512 = cpu.avx2_fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    cpu.avx_vnni = cpu.avx2_fma && has_avx_vnni();
    cpu.avx512_vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
#endif
    read_name(&cpu);
    count_cores(&cpu);
    read_memory(&cpu);
    return cpu;
}

/* Facts about the process: constant once they are known. */
static pthread_once_t family_once = PTHREAD_ONCE_INIT;
static enum cpu_family family;
static enum cpu_bytes bytes;

struct form {
    const char *name;
    bool supported;
    enum cpu_family family;
    enum cpu_bytes bytes;
};
enum { FORMS = 5 };

static void list_forms(struct form forms[FORMS])
{
    struct cpu cpu = cpu_detect();
    const struct form all[FORMS] = { /* from best to worst */
        {"avx512", cpu.avx512, CPU_AVX512, cpu.avx512_vnni ? CPU_BYTES_AVX512_VNNI : CPU_BYTES_AVX2},
        {"avx-vnni", cpu.avx_vnni, CPU_AVX2, CPU_BYTES_AVX_VNNI},
        {"avx2", cpu.avx2_fma, CPU_AVX2, CPU_BYTES_AVX2},
        {"openblas", true, CPU_OPENBLAS, CPU_BYTES_PORTABLE},
        {"portable", true, CPU_PORTABLE, CPU_BYTES_PORTABLE},
    };
    memcpy(forms, all, sizeof all);
}

/* What STORYDIFF_CPU says; NULL: nothing. */
static const char *wanted_form(void)
{
    const char *wanted = getenv("STORYDIFF_CPU");
    return wanted != NULL && wanted[0] != '\0' ? wanted : NULL;
}

static void decide_family(void)
{
    struct form forms[FORMS];
    const char *wanted = wanted_form();
    const struct form *chosen = NULL;
    list_forms(forms);
    for (int i = 0; i < FORMS; i++)
        if (forms[i].supported && (chosen == NULL || (wanted != NULL && strcmp(wanted, forms[i].name) == 0)))
            chosen = &forms[i];
    family = chosen->family;
    bytes = chosen->bytes;
}

status cpu_check_wanted(struct error *e)
{
    struct form forms[FORMS];
    const char *wanted = wanted_form();
    char possible[64] = "";
    list_forms(forms);
    for (int i = 0; i < FORMS && wanted != NULL; i++) {
        size_t used = strlen(possible);
        if (forms[i].supported)
            snprintf(possible + used, sizeof possible - used, "%s%s", used > 0 ? ", " : "", forms[i].name);
        if (forms[i].supported && strcmp(wanted, forms[i].name) == 0)
            return OK;
    }
    return wanted == NULL
               ? OK
               : fail(e, ERR_ARGUMENT, "STORYDIFF_CPU is \"%.40s\": this CPU can run %s", wanted, possible);
}

enum cpu_family cpu_family(void)
{
    pthread_once(&family_once, decide_family);
    return family;
}

enum cpu_bytes cpu_bytes(void)
{
    pthread_once(&family_once, decide_family);
    return bytes;
}
