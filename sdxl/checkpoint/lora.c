#include "sdxl/checkpoint/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODULE = 256 };

/* --------------------------------------------------------------------------------------------------------- names */

enum role { ROLE_NONE, ROLE_UP, ROLE_DOWN, ROLE_ALPHA };

/* What a name ends in. "_lora.": within an attention processor, where the module is to_q_lora. */
static const struct {
    const char *suffix;
    enum role role;
} suffixes[] = {
    {".lora_down.weight", ROLE_DOWN},          {".lora_up.weight", ROLE_UP},
    {".lora_A.weight", ROLE_DOWN},             {".lora_B.weight", ROLE_UP},
    {".lora_A.default.weight", ROLE_DOWN},     {".lora_B.default.weight", ROLE_UP},
    {".lora_A.default_0.weight", ROLE_DOWN},   {".lora_B.default_0.weight", ROLE_UP},
    {".lora.down.weight", ROLE_DOWN},          {".lora.up.weight", ROLE_UP},
    {".lora_linear_layer.down.weight", ROLE_DOWN}, {".lora_linear_layer.up.weight", ROLE_UP},
    {"_lora.down.weight", ROLE_DOWN},          {"_lora.up.weight", ROLE_UP},
    {"_lora.alpha", ROLE_ALPHA},               {".alpha", ROLE_ALPHA},
};

/* What a name begins with. Nothing of these: the UNet. */
static const struct {
    const char *prefix;
    enum checkpoint_part part;
} prefixes[] = {
    {"lora_unet_", PART_UNET},
    {"lora_te1_", PART_TEXT_ENCODER},
    {"lora_te2_", PART_TEXT_ENCODER_2},
    {"lora_te_", PART_TEXT_ENCODER},
    {"unet.", PART_UNET},
    {"text_encoder.", PART_TEXT_ENCODER},
    {"text_encoder_2.", PART_TEXT_ENCODER_2},
    {"model.diffusion_model.", PART_UNET},
    {"diffusion_model.", PART_UNET},
};

/* Other things that come in such files, by a piece of a name with a dot put behind it. */
static const struct {
    const char *piece, *what;
} refusals[] = {
    {".hada_", "a LoHa (Hadamard products, LyCORIS)"},
    {".lokr_", "a LoKr (Kronecker products, LyCORIS)"},
    {".dora_scale", "a DoRA (with magnitudes)"},
    {".lora_magnitude_vector", "a DoRA (with magnitudes)"},
    {".lora_mid.", "a LoCon with a Tucker decomposition"},
    {".oft_", "an OFT (orthogonal finetuning)"},
    {".diff.", "a file of differences of whole weights"},
    {".diff_b.", "a file of differences of whole weights"},
};

static bool ends_with(const char *text, size_t length, const char *end)
{
    size_t n = strlen(end);
    return length >= n && memcmp(text + length - n, end, n) == 0;
}

/* Writes underscores for dots. */
static void underscore(char *out, size_t size, const char *name, size_t length)
{
    length = length < size - 1 ? length : size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = name[i] == '.' ? '_' : name[i];
    out[length] = '\0';
}

/* The module of "attn1.processor.to_out_lora" is attn1_to_out_0. */
static void leave_processor(char *module)
{
    static const char processor[] = "_processor_";
    char *at = strstr(module, processor);
    if (at != NULL)
        memmove(at + 1, at + sizeof processor - 1, strlen(at + sizeof processor - 1) + 1);
    if (at != NULL && ends_with(module, strlen(module), "to_out"))
        strcat(module, "_0");
}

static enum role read_name(const char *name, enum checkpoint_part *part, char module[MODULE])
{
    size_t length = strlen(name);
    enum role role = ROLE_NONE;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && role == ROLE_NONE; i++)
        if (ends_with(name, length, suffixes[i].suffix)) {
            role = suffixes[i].role;
            length -= strlen(suffixes[i].suffix);
        }
    static const char peft[] = "base_model.model.";
    if (strncmp(name, peft, sizeof peft - 1) == 0 && length >= sizeof peft - 1) {
        name += sizeof peft - 1;
        length -= sizeof peft - 1;
    }
    *part = PART_UNET;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i].prefix);
        if (length >= n && strncmp(name, prefixes[i].prefix, n) == 0) {
            *part = prefixes[i].part;
            name += n;
            length -= n;
            break;
        }
    }
    underscore(module, MODULE - 2, name, length); /* room for "_0" */
    leave_processor(module);
    return role;
}

/* -------------------------------------------------------------------------------------------------------- opening */

static int compare(enum checkpoint_part part, const char *module, const struct lora_entry *entry)
{
    return part != entry->part ? (int)part - (int)entry->part : strcmp(module, entry->module);
}

static int compare_entries(const void *a, const void *b)
{
    const struct lora_entry *left = a;
    return compare(left->part, left->module, b);
}

static struct lora_entry *find(const struct lora *l, enum checkpoint_part part, const char *module)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(part, module, &l->entries[middle]);
        if (order == 0)
            return &l->entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static status refuse_others(const struct lora *l, struct error *e)
{
    for (size_t i = 0; i < l->file.count; i++)
        for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
            char name[MODULE];
            snprintf(name, sizeof name, "%.*s.", MODULE - 2, l->file.items[i].name);
            if (strstr(name, refusals[k].piece) != NULL)
                return fail(e, ERR_FORMAT, "%s: this is %s (tensor \"%s\"); only LoRA is supported", l->file.path,
                            refusals[k].what, l->file.items[i].name);
        }
    return OK;
}

/* One entry per tensor, then one per module. */
static status collect(struct lora *l, struct error *e)
{
    l->entries = calloc(l->file.count + 1, sizeof *l->entries);
    if (l->entries == NULL)
        return fail(e, ERR_MEMORY, "%s: out of memory", l->file.path);
    for (size_t i = 0; i < l->file.count; i++) {
        const struct named_tensor *item = &l->file.items[i];
        char module[MODULE];
        struct lora_entry *entry = &l->entries[l->count];
        enum role role = read_name(item->name, &entry->part, module);
        if (role == ROLE_NONE)
            continue;
        *(role == ROLE_UP ? &entry->up : role == ROLE_DOWN ? &entry->down : &entry->alpha) = &item->tensor;
        entry->key = item->name;
        entry->module = strdup(module);
        if (entry->module == NULL)
            return fail(e, ERR_MEMORY, "%s: out of memory", l->file.path);
        l->count++;
    }
    qsort(l->entries, l->count, sizeof *l->entries, compare_entries);
    return OK;
}

/* Two tensors may claim one role of a module: a file that mixes names. */
static status join_role(const struct lora *l, const struct tensor **place, const struct tensor *found,
                        const char *key, struct error *e)
{
    if (found == NULL)
        return OK;
    if (*place != NULL)
        return fail(e, ERR_FORMAT, "%s: \"%s\" is there twice, under different names", l->file.path, key);
    *place = found;
    return OK;
}

static status join(struct lora *l, struct error *e)
{
    size_t kept = 0;
    status s = OK;
    for (size_t i = 0; i < l->count; i++) {
        struct lora_entry *entry = &l->entries[i], *last = kept > 0 ? &l->entries[kept - 1] : NULL;
        if (last == NULL || compare_entries(last, entry) != 0) {
            l->entries[kept++] = *entry;
            continue;
        }
        if (s == OK)
            s = join_role(l, &last->up, entry->up, entry->key, e);
        if (s == OK)
            s = join_role(l, &last->down, entry->down, entry->key, e);
        if (s == OK)
            s = join_role(l, &last->alpha, entry->alpha, entry->key, e);
        free(entry->module);
    }
    l->count = kept;
    return s;
}

static bool is_float(const struct tensor *t)
{
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
}

/* What can be said of an entry without the weight it belongs to. */
static status check_entry(const struct lora *l, struct lora_entry *entry, struct error *e)
{
    const struct tensor *up = entry->up, *down = entry->down;
    if (up == NULL || down == NULL)
        return fail(e, ERR_FORMAT, "%s: \"%s\" is there, but the %s matrix of that module is not", l->file.path,
                    entry->key, up == NULL ? "up" : "down");
    if (!is_float(up) || !is_float(down) || (entry->alpha != NULL && !is_float(entry->alpha)))
        return fail(e, ERR_FORMAT, "%s: the module of \"%s\" is not stored as F32, F16 or BF16", l->file.path,
                    entry->key);
    char shapes[2][96];
    bool thin = up->rank >= 2 && down->rank >= 2 && up->shape[1] == down->shape[0] && down->shape[0] > 0 &&
                tensor_count(down) > 0;
    for (int i = 2; i < up->rank; i++)
        thin = thin && up->shape[i] == 1;
    if (!thin)
        return fail(e, ERR_FORMAT, "%s: the matrices of \"%s\" do not belong together: up %s, down %s", l->file.path,
                    entry->key, shape_text(up->rank, up->shape, shapes[0], sizeof shapes[0]),
                    shape_text(down->rank, down->shape, shapes[1], sizeof shapes[1]));
    float alpha = (float)down->shape[0];
    if (entry->alpha != NULL && tensor_count(entry->alpha) == 1)
        tensor_read(entry->alpha, 0, 1, &alpha);
    float scale = (float)(l->weight * alpha / (double)down->shape[0]);
    if (!isfinite(scale) || (entry->alpha != NULL && tensor_count(entry->alpha) != 1))
        return fail(e, ERR_FORMAT, "%s: the alpha of \"%s\" is not one number", l->file.path, entry->key);
    entry->delta = (struct low_rank){.up = *up, .down = *down, .scale = scale};
    return OK;
}

status lora_open(struct lora *l, const struct lora_source *source, struct error *e)
{
    *l = (struct lora){.weight = source->weight};
    TRY(tensor_file_open(source->path, &l->file, e));
    status s = refuse_others(l, e);
    if (s == OK)
        s = collect(l, e);
    if (s == OK)
        s = join(l, e);
    for (size_t i = 0; i < l->count && s == OK; i++)
        s = check_entry(l, &l->entries[i], e);
    if (s == OK && l->count == 0)
        s = fail(e, ERR_FORMAT, "%s: not a LoRA: no tensor is called like a half of one (\"...lora_down.weight\", "
                                "\"...lora_A.weight\")", source->path);
    if (s != OK)
        lora_close(l);
    return s;
}

void lora_close(struct lora *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->entries[i].module);
    free(l->entries);
    tensor_file_close(&l->file);
    *l = (struct lora){0};
}

/* -------------------------------------------------------------------------------------------------------- binding */

/* Under diffusers' name, or else the original one. */
static struct lora_entry *find_for(const struct lora *l, const struct lora_part *part, const char *name,
                                   size_t length)
{
    char module[MODULE];
    struct original_tensor original;
    underscore(module, sizeof module, name, length);
    struct lora_entry *entry = find(l, part->part, module);
    if (entry != NULL || part->original.part == PART_NONE || !original_name(&part->original, name, &original))
        return entry;
    size_t prefix = strlen(part->original.prefix), end = strlen(original.name) - strlen(".weight");
    underscore(module, sizeof module, original.name + prefix, end - prefix);
    return find(l, part->part, module);
}

status lora_add(const struct lora_part *loras, const char *name, struct tensor *weight, struct error *e)
{
    size_t length = strlen(name);
    if (!ends_with(name, length, ".weight"))
        return OK;
    for (int i = 0; i < loras->count; i++) {
        struct lora *l = &loras->items[i];
        struct lora_entry *entry = find_for(l, loras, name, length - strlen(".weight"));
        if (entry == NULL)
            continue;
        const struct tensor *up = entry->up, *down = entry->down;
        int64_t rows = weight->rank > 0 ? weight->shape[0] : 0;
        if (weight->rank < 2 || up->shape[0] != rows ||
            tensor_count(down) / down->shape[0] != tensor_count(weight) / rows) {
            char shapes[3][96];
            return fail(e, ERR_FORMAT, "%s: \"%s\" does not fit the model's \"%s\": up %s and down %s for %s",
                        l->file.path, entry->key, name, shape_text(up->rank, up->shape, shapes[0], sizeof shapes[0]),
                        shape_text(down->rank, down->shape, shapes[1], sizeof shapes[1]),
                        shape_text(weight->rank, weight->shape, shapes[2], sizeof shapes[2]));
        }
        entry->used = true;
        entry->delta.next = weight->delta;
        weight->delta = &entry->delta;
    }
    return OK;
}

status lora_finish(const struct lora *l, struct text *notes, struct error *e)
{
    enum { NAMED = 4 };
    size_t unused = 0;
    struct text names = {0};
    for (size_t i = 0; i < l->count; i++)
        if (!l->entries[i].used && unused++ < NAMED)
            text_append(&names, "%s%s", names.length > 0 ? ", " : "", l->entries[i].key);
    if (unused == l->count) {
        status s = fail(e, ERR_FORMAT, "%s: a LoRA for another kind of model: none of its %zu modules has a place in "
                                       "this one (%s, ...)", l->file.path, l->count, names.data ? names.data : "");
        text_free(&names);
        return s;
    }
    if (unused > 0 && notes != NULL)
        text_append(notes, "%s%s: %zu of %zu modules have no place in this model: %s%s", notes->length ? "\n" : "",
                    l->file.path, unused, l->count, names.data ? names.data : "", unused > NAMED ? ", ..." : "");
    text_free(&names);
    return OK;
}
