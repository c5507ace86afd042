#include "storydiff/dump.h"

#include <stdio.h>
#include <string.h>

#include "tensor/safetensors.h"

status dump_start(struct dump *d, const char *folder, struct error *e)
{
    *d = (struct dump){.folder = folder};
    dump_part(d, "text");
    return file_make_directory(folder, e);
}

void dump_part(struct dump *d, const char *part)
{
    snprintf(d->part, sizeof d->part, "%s", part);
}

void dump_pass(struct dump *d, int step, int pass)
{
    snprintf(d->part, sizeof d->part, "step-%03d-pass-%d", step + 1, pass + 1);
}

static status write_tensor(const struct dump *d, const char *name, const struct tensor *tensor, struct error *e)
{
    char folder[4096], file[256], path[4400];
    TRY(path_join(folder, sizeof folder, d->folder, d->part, e));
    TRY(file_make_directory(folder, e));
    snprintf(file, sizeof file, "%s.safetensors", name);
    TRY(path_join(path, sizeof path, folder, file, e));
    for (int again = 2; file_exists(path); again++) {
        snprintf(file, sizeof file, "%s.%d.safetensors", name, again);
        TRY(path_join(path, sizeof path, folder, file, e));
    }
    return safetensors_write(path, &(struct named_tensor){name, *tensor}, 1, NULL, e);
}

static void see(void *self, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct dump *d = self;
    struct tensor tensor = {.data = data, .dtype = DTYPE_F32, .rank = rank};
    memcpy(tensor.shape, shape, (size_t)rank * sizeof *shape);
    if (d->error.code == OK)
        write_tensor(d, name, &tensor, &d->error);
}

struct observer dump_observer(struct dump *d)
{
    return (struct observer){see, d};
}
