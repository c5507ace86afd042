#include "storydiff/comic/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* RssAnon and VmSwap of /proc/self/status (man 5 proc), which are in units of 1024 bytes. */
static size_t anonymous_bytes(void)
{
    char line[256];
    size_t sum = 0, kilobytes;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "RssAnon: %zu kB", &kilobytes) == 1 || sscanf(line, "VmSwap: %zu kB", &kilobytes) == 1)
            sum += kilobytes * 1024;
    fclose(f);
    return sum;
}

void memory_look(struct memory_watch *w)
{
    size_t now = w != NULL ? anonymous_bytes() : 0;
    if (w != NULL && now > w->most)
        w->most = now;
}

/* A field of a file of lines "Name:  123 kB", in bytes; 0 if it is not there. */
static size_t kilobytes_of(const char *path, const char *name)
{
    char line[256];
    size_t kilobytes, bytes = 0, length = strlen(name);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, length) == 0 && sscanf(line + length, " %zu kB", &kilobytes) == 1)
            bytes = kilobytes * 1024;
    if (f != NULL)
        fclose(f);
    return bytes;
}

/* The number in a file of a control group, SIZE_MAX without one ("max"). */
static size_t group_number(const char *path, const char *name)
{
    char file[4352];
    size_t value;
    snprintf(file, sizeof file, "/sys/fs/cgroup%s/%s", path, name);
    FILE *f = fopen(file, "r");
    if (f == NULL || fscanf(f, "%zu", &value) != 1)
        value = SIZE_MAX;
    if (f != NULL)
        fclose(f);
    return value;
}

/* What is left in the control groups above this process (version 2): the least of them. What the group holds of files
 * can be dropped, so its anonymous memory alone counts. */
static size_t left_in_groups(void)
{
    char line[4200], path[4200] = "";
    size_t least = SIZE_MAX;
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "0::", 3) == 0)
            snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f != NULL)
        fclose(f);
    for (char *slash = path + strlen(path); slash != NULL; slash = strrchr(path, '/')) {
        *slash = '\0';
        char stat[4352];
        size_t most = group_number(path, "memory.max"), anonymous = 0;
        snprintf(stat, sizeof stat, "/sys/fs/cgroup%s/memory.stat", path);
        f = most != SIZE_MAX ? fopen(stat, "r") : NULL;
        while (f != NULL && fgets(line, sizeof line, f) != NULL)
            if (sscanf(line, "anon %zu", &anonymous) == 1)
                break;
        if (f != NULL)
            fclose(f);
        if (most != SIZE_MAX && (most > anonymous ? most - anonymous : 0) < least)
            least = most > anonymous ? most - anonymous : 0;
    }
    return least;
}

static size_t left_of(int resource, const char *used)
{
    struct rlimit limit;
    size_t taken = kilobytes_of("/proc/self/status", used);
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur > taken ? (size_t)limit.rlim_cur - taken : 0;
}

struct memory_limit memory_left(void)
{
    static const char meminfo[] = "/proc/meminfo";
    size_t available = kilobytes_of(meminfo, "MemAvailable:"), swap = kilobytes_of(meminfo, "SwapFree:");
    struct memory_limit limit = {.hard = SIZE_MAX, .soft = available > 0 ? available : SIZE_MAX, .why = ""};
    const struct {
        size_t left;
        const char *why;
    } all[] = {{available > 0 ? available + swap : SIZE_MAX, "all memory and swap of this machine"},
               {left_in_groups(), "the limit of its control group"},
               {left_of(RLIMIT_AS, "VmSize:"), "ulimit -v"},
               {left_of(RLIMIT_DATA, "VmData:"), "ulimit -d"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].left < limit.hard)
            limit.hard = all[i].left, limit.why = all[i].why;
    return limit;
}

size_t memory_of_weights(const struct model *m)
{
    const struct weights *const parts[] = {&m->text_encoder.weights, &m->text_encoder_2.weights, &m->unet.weights,
                                           &m->vae.weights};
    size_t bytes = 0;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (size_t i = 0; i < parts[p]->bound_count; i++) {
            const struct tensor *t = &parts[p]->bound[i].tensor;
            bytes += (size_t)tensor_count(t) * dtype_size(t->dtype);
        }
    return bytes;
}
