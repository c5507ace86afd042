#include "storydiff/comic/memory.h"

#include <stdio.h>

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
