#include "storydiff/cli/dump.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tensor/safetensors.h"

static bool is_empty(const char *folder)
{
    int names = 0;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return true;
    while (readdir(entries) != NULL)
        names++;
    closedir(entries);
    return names <= 2; /* . and .. */
}

status dump_check(const char *folder, enum dump_start start, struct error *e)
{
    if (start == DUMP_ANEW && !is_empty(folder))
        return fail(e, ERR_ARGUMENT, "--dump %s: it is not empty: choose another folder, or replace what is there with "
                                     "--overwrite", folder);
    return OK;
}

status dump_start(struct dump *d, const char *folder, struct error *e)
{
    *d = (struct dump){.folder = folder};
    TRY(file_make_directory(folder, e));
    dump_part(d, "text");
    return OK;
}

void dump_part(struct dump *d, const char *part)
{
    static const char ending[] = ".safetensors";
    char folder[4096], path[4400];
    snprintf(d->part, sizeof d->part, "%s", part);
    DIR *entries = path_join(folder, sizeof folder, d->folder, part, NULL) == OK ? opendir(folder) : NULL;
    if (entries == NULL)
        return;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        size_t length = strlen(entry->d_name);
        bool ours = length > strlen(ending) && strcmp(entry->d_name + length - strlen(ending), ending) == 0;
        if (ours && path_join(path, sizeof path, folder, entry->d_name, NULL) == OK)
            unlink(path);
    }
    closedir(entries);
}

void dump_pass(struct dump *d, int step, int pass, int half)
{
    char part[64];
    snprintf(part, sizeof part, "step-%03d-pass-%d", step + 1, pass + 1);
    if (half == 0)
        dump_part(d, part);
    else
        snprintf(d->part, sizeof d->part, "%s", part);
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
