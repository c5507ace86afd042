/* The autoencoder's properties; that its numbers are the reference's is for the golden runner to see. */
#include "sdxl/vae/vae.h"
#include "tests/check.h"
#include "tests/folder.h"

static const char weights[] = "tests/golden/vae/diffusion_pytorch_model.safetensors";
static struct vae vae; /* the small recorded one, opened for the group */

static int open_vae(void **state)
{
    (void)state;
    struct vae_config config;
    struct error e = {0};
    if (vae_config_read("tests/golden/vae/config.json", &config, &e) == OK)
        vae_open(&vae, weights, &config, &e);
    if (e.code != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_vae(void **state)
{
    (void)state;
    vae_close(&vae);
    return 0;
}

struct problem {
    const struct vae *vae;
    struct features in; /* latents, or an image */
    float *image, *mean, *logvar;
};

static struct problem pose_decoding(int64_t n, int64_t h, int64_t w)
{
    return (struct problem){.vae = &vae,
                            .in = {some_floats(1, n * h * w * 4), n, h, w, 4},
                            .image = room(n * 8 * h * 8 * w * 3, sizeof(float))};
}

static struct problem pose_encoding(int64_t n, int64_t h, int64_t w)
{
    return (struct problem){.vae = &vae,
                            .in = {some_floats(2, n * 8 * h * 8 * w * 3), n, 8 * h, 8 * w, 3},
                            .mean = room(n * h * w * 4, sizeof(float)),
                            .logvar = room(n * h * w * 4, sizeof(float))};
}

static void dispose(struct problem *p)
{
    free(p->in.x);
    free(p->image);
    free(p->mean);
    free(p->logvar);
}

static void decode(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    vae_decode(ctx, p->vae, p->image, p->in);
}

static void encode(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    vae_encode(ctx, p->vae, p->mean, p->logvar, p->in);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem one = pose_decoding(1, 5, 3), more = pose_decoding(1, 5, 3);
    struct problem one_back = pose_encoding(1, 5, 3), more_back = pose_encoding(1, 5, 3);
    compute(1, decode, &one);
    compute(1, encode, &one_back);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, decode, &more);
        compute(threads, encode, &more_back);
        check_same("image", more.image, one.image, 5 * 3 * 64 * 3);
        check_same("mean", more_back.mean, one_back.mean, 60);
        check_same("logvar", more_back.logvar, one_back.logvar, 60);
    }
    dispose(&one);
    dispose(&more);
    dispose(&one_back);
    dispose(&more_back);
}

static void latents_of_any_size_become_pictures_and_back(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {1, 3}, {3, 1}, {2, 5}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t h = sizes[i][0], w = sizes[i][1];
        struct problem p = pose_decoding(1, h, w), back = pose_encoding(1, h, w);
        compute(1, decode, &p);
        compute(1, encode, &back);
        check_finite("image", p.image, h * w * 192);
        check_finite("mean", back.mean, h * w * 4);
        dispose(&p);
        dispose(&back);
    }
}

/* Beyond rounding: how many rows are multiplied together may decide in which order a sum is taken. */
static void samples_of_a_batch_do_not_meet(void **state)
{
    (void)state;
    struct problem both = pose_decoding(2, 3, 2), second = pose_decoding(1, 3, 2);
    double wanted[3 * 2 * 192];
    compute(1, decode, &both);
    memcpy(second.in.x, both.in.x + 24, 24 * sizeof(float));
    compute(1, decode, &second);
    for (int i = 0; i < 1152; i++)
        wanted[i] = both.image[1152 + i];
    check_close("the second picture", second.image, wanted, 1152, 2e-5);
    dispose(&both);
    dispose(&second);

    both = pose_encoding(2, 3, 2);
    second = pose_encoding(1, 3, 2);
    compute(1, encode, &both);
    memcpy(second.in.x, both.in.x + 1152, 1152 * sizeof(float));
    compute(1, encode, &second);
    for (int i = 0; i < 24; i++)
        wanted[i] = both.mean[24 + i];
    check_close("the second picture's mean", second.mean, wanted, 24, 2e-5);
    dispose(&both);
    dispose(&second);
}

static void log_variances_are_clamped(void **state)
{
    (void)state;
    struct problem p = pose_encoding(1, 2, 2);
    float *biases = room(8, sizeof *biases);
    struct vae other = vae; /* with moments pushed far out: the means and two variances up, two variances down */
    for (int i = 0; i < 8; i++)
        biases[i] = i < 6 ? 1000 : -1000;
    other.quant_conv.bias = (struct tensor){.data = biases, .dtype = DTYPE_F32, .rank = 1, .shape = {8}};
    p.vae = &other;
    compute(1, encode, &p);
    for (int i = 0; i < 16; i++) {
        assert_true(p.mean[i] > 500);
        assert_true(p.logvar[i] == (i % 4 < 2 ? 20.0f : -30.0f));
    }
    free(biases);
    dispose(&p);
}

static void latents_are_divided_by_the_scaling_factor(void **state)
{
    (void)state;
    struct problem p = pose_decoding(1, 2, 2), scaled = pose_decoding(1, 2, 2);
    struct vae other = vae;
    other.config.scaling_factor = 4 * vae.config.scaling_factor;
    for (int i = 0; i < 16; i++)
        scaled.in.x[i] *= 4;
    scaled.vae = &other;
    compute(1, decode, &p);
    compute(1, decode, &scaled);
    check_same("scaled", scaled.image, p.image, 768);
    dispose(&p);
    dispose(&scaled);
}

/* The names before diffusers 0.14. */
static void rename_attention(const char *name, char *out, size_t size)
{
    static const char *const names[][2] = {
        {"to_q.", "query."}, {"to_k.", "key."}, {"to_v.", "value."}, {"to_out.0.", "proj_attn."}};
    snprintf(out, size, "%s", name);
    for (int i = 0; i < 4; i++) {
        const char *at = strstr(name, names[i][0]);
        if (at != NULL)
            snprintf(out, size, "%.*s%s%s", (int)(at - name), name, names[i][1], at + strlen(names[i][0]));
    }
}

static void older_names_of_the_attention_are_understood(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "old.safetensors");
    struct safetensors file;
    struct vae old;
    struct error e = {0};
    assert_int_equal(safetensors_open(weights, &file, &e), OK);
    struct named_tensor *items = room((int64_t)file.count, sizeof *items);
    char(*names)[128] = room((int64_t)file.count, sizeof *names);
    int renamed = 0;
    for (size_t i = 0; i < file.count; i++) {
        rename_attention(file.items[i].name, names[i], sizeof *names);
        renamed += strcmp(names[i], file.items[i].name) != 0;
        items[i] = (struct named_tensor){names[i], file.items[i].tensor};
    }
    assert_int_equal(renamed, 16); /* four projections, with bias, in encoder and decoder */
    assert_int_equal(safetensors_write(path.text, items, file.count, NULL, &e), OK);
    if (vae_open(&old, path.text, &vae.config, &e) != OK)
        fail_msg("%s", e.message);
    struct problem p = pose_decoding(1, 2, 2), with_old = pose_decoding(1, 2, 2);
    with_old.vae = &old;
    compute(1, decode, &p);
    compute(1, decode, &with_old);
    check_same("the same weights", with_old.image, p.image, 768);
    dispose(&p);
    dispose(&with_old);
    free(items);
    free(names);
    safetensors_close(&file);
    vae_close(&old);
    folder_remove(&folder);
}

static void weights_of_another_config_are_refused(void **state)
{
    (void)state;
    struct vae_config config = vae.config;
    struct vae other;
    struct error e = {0};
    config.latent_channels = 16;
    assert_int_equal(vae_open(&other, weights, &config, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "encoder.conv_out.weight"));
    assert_null(other.weights.file);
    vae_close(&other);
}

/* ------------------------------------------------------------------------------------------------------- memory */

/* A model whose layers are wide enough to be cut into bands. On the way to the picture its levels widen, stay and
 * narrow. */
static const struct vae_config wide_config = {.in_channels = 3,
                                              .out_channels = 3,
                                              .latent_channels = 4,
                                              .levels = 3,
                                              .layers_per_block = 1,
                                              .block_out_channels = {64, 96, 64},
                                              .norm_num_groups = 32,
                                              .scaling_factor = 0.13025};

struct list {
    struct named_tensor items[256];
    size_t count;
};

/* The tensors that a config asks for, without data. */
static void list_tensor(void *self, const char *name, int rank, const int64_t *shape)
{
    struct list *list = self;
    assert_true(list->count < sizeof list->items / sizeof *list->items);
    struct named_tensor *item = &list->items[list->count++];
    *item = (struct named_tensor){strdup(name), {.dtype = DTYPE_F32, .rank = rank}};
    memcpy(item->tensor.shape, shape, (size_t)rank * sizeof *shape);
}

static struct list list_new(const struct vae_config *config)
{
    struct list list = {0};
    assert_int_equal(vae_list(config, &(struct tensor_visitor){list_tensor, &list}, NULL), OK);
    return list;
}

static void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((char *)list->items[i].name);
        free((void *)list->items[i].tensor.data);
    }
}

/* The caller closes it; its file is gone already, but not its memory. */
static struct vae open_list(const struct vae_config *config, const char *path)
{
    struct vae v;
    struct error e = {0};
    if (vae_open(&v, path, config, &e) != OK)
        fail_msg("%s", e.message);
    return v;
}

static struct vae open_wide(void)
{
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "wide.safetensors");
    struct list list = list_new(&wide_config);
    for (size_t i = 0; i < list.count; i++) {
        struct tensor *t = &list.items[i].tensor;
        int64_t count = tensor_count(t);
        float *x = some_floats(i, count), scale = 1 / sqrtf((float)(count / t->shape[0]));
        for (int64_t j = 0; j < count; j++)
            x[j] *= scale;
        t->data = x;
    }
    assert_int_equal(safetensors_write(path.text, list.items, list.count, NULL, NULL), OK);
    struct vae v = open_list(&wide_config, path.text);
    list_free(&list);
    folder_remove(&folder);
    return v;
}

/* The decoder as it is drawn, every feature map as a whole. The attention is left to the model: it is seen there. */
struct plain {
    const struct vae *vae;
    float *image;
    struct features attended; /* what follows the attention of the middle */
};

static void resnet(const struct context *ctx, const struct resnet *r, struct features *x)
{
    struct features out = features_new(ctx->arena, 1, x->h, x->w, r->out_channels);
    resnet_forward(ctx, r, out, *x, NULL, NULL);
    *x = out;
}

static void decode_plainly(const struct context *ctx, void *arg)
{
    const struct plain *p = arg;
    const struct vae_coder *d = &p->vae->decoder;
    size_t mark = arena_mark(ctx->arena);
    struct features x = p->attended;
    resnet(ctx, &d->mid_resnets[1], &x);
    for (int i = 0; i < wide_config.levels; i++) {
        for (int j = 0; j < d->levels[i].layers; j++)
            resnet(ctx, &d->levels[i].resnets[j], &x);
        if (i == wide_config.levels - 1)
            break;
        struct features larger = features_new(ctx->arena, 1, 2 * x.h, 2 * x.w, x.c);
        conv3x3(ctx, larger, x, &d->levels[i].sampler, CONV_UP, (struct conv_options){0});
        x = larger;
    }
    group_norm(ctx, x.x, x, NULL, &d->conv_norm_out, wide_config.norm_num_groups, 1e-6f, ACT_SILU);
    conv3x3(ctx, (struct features){p->image, 1, x.h, x.w, 3}, x, &d->conv_out, CONV_SAME, (struct conv_options){0});
    arena_release(ctx->arena, mark);
}

/* What an observer was shown. */
struct seen {
    int count;
    struct {
        char name[MODULE_NAME];
        float *x;
        int64_t size;
    } items[64];
};

static void see(void *self, const char *name, const float *x, int rank, const int64_t *shape)
{
    struct seen *seen = self;
    assert_true(seen->count < 64 && rank == 4);
    int64_t size = shape[0] * shape[1] * shape[2] * shape[3];
    snprintf(seen->items[seen->count].name, MODULE_NAME, "%s", name);
    seen->items[seen->count].x = room(size, sizeof *x);
    memcpy(seen->items[seen->count].x, x, (size_t)size * sizeof *x);
    seen->items[seen->count++].size = size;
}

static void seen_free(struct seen *seen)
{
    for (int i = 0; i < seen->count; i++)
        free(seen->items[i].x);
}

struct watched {
    struct problem p;
    struct seen *seen;
};

static void decode_watched(const struct context *ctx, void *arg)
{
    struct watched *w = arg;
    struct observer observer = {see, w->seen};
    struct context own = *ctx;
    own.observer = &observer;
    decode(&own, &w->p);
}

/* OpenBLAS may add in another order when it has other rows to multiply. */
static void check_equal(const char *what, const float *found, const float *wanted, int64_t n)
{
    if (cpu_family() != CPU_OPENBLAS) {
        check_same(what, found, wanted, n);
        return;
    }
    double *values = room(n, sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = wanted[i];
    check_close(what, found, values, n, 1e-5);
    free(values);
}

static size_t memory_of(const struct vae *v, int64_t h, int64_t w, struct profile *cost)
{
    struct arena arena = arena_measure();
    struct context ctx = {.arena = &arena, .threads = 2, .profile = cost};
    vae_decode(&ctx, v, NULL, (struct features){NULL, 1, h, w, v->config.latent_channels});
    return arena.peak;
}

static struct problem pose_wide(const struct vae *v, int64_t h, int64_t w)
{
    return (struct problem){
        .vae = v, .in = {some_floats(3, h * w * 4), 1, h, w, 4}, .image = room(h * 4 * w * 4 * 3, sizeof(float))};
}

/* Of 12 x 11 latents the maps have 12 x 11, 24 x 22 and 48 x 44 pixels; h is as large as the result of its resnet. */
enum {
    KEEP_NOTHING = 0,
    KEEP_SOME = 48 * 44 * 64 * 4, /* the last level's other resnets' x, its first one's is half as large again */
    KEEP_INPUTS = 48 * 44 * 96 * 4,
    KEEP_ALL = 1 << 30,
};

/* Images too small for minimal filtering: there a convolution whose result is added to what is there already is
 * rounded in another order. */
static void check_plain(const float *found, const float *plain, int64_t n, bool large)
{
    double *values = room(n, sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = plain[i];
    check_close("beside the plain blocks", found, values, n, 1e-5);
    if (large)
        check_same("beside the plain blocks", found, plain, n);
    free(values);
}

static void a_decoding_in_bands_is_the_one_without(void **state)
{
    (void)state;
    static const int64_t whole[] = {KEEP_NOTHING, KEEP_SOME, KEEP_INPUTS, KEEP_ALL};
    static const int64_t bands[] = {1, 8 * 44 * 96 * 4, 12 * 44 * 96 * 4,
                                    1 << 30}; /* 4, 8, 12, all rows at the end */
    static const int64_t sizes[][2] = {{12, 11}, {5, 7}, {1, 2}};
    struct vae v = open_wide();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t h = sizes[i][0], w = sizes[i][1], count = h * 4 * w * 4 * 3;
        struct problem p = pose_wide(&v, h, w);
        struct seen seen = {0};
        struct plain plain = {&v, room(count, sizeof(float)), {NULL, 1, h, w, 64}};
        compute(1, decode_watched, &(struct watched){p, &seen});
        for (int k = 0; k < seen.count; k++)
            if (strcmp(seen.items[k].name, "decoder.mid_block.attentions.0") == 0)
                plain.attended.x = seen.items[k].x;
        assert_non_null(plain.attended.x);
        compute(1, decode_plainly, &plain);
        check_plain(p.image, plain.image, count, i == 0);
        memcpy(plain.image, p.image, (size_t)count * sizeof(float));
        for (int k = 0; k < 4; k++)
            for (int b = 0; b < 4; b++) {
                v.memory = (struct vae_memory){whole[k], bands[b]};
                memset(p.image, 0, (size_t)count * sizeof(float));
                compute(1 + k, decode, &p);
                check_equal("in bands", p.image, plain.image, count);
            }
        v.memory = vae_memory_default;
        seen_free(&seen);
        free(plain.image);
        dispose(&p);
    }
    vae_close(&v);
}

struct making {
    struct features out, x, small;
    bool keep_x;
    int64_t band;
};

/* Row r of a map that lies at `at`. */
static int64_t row_at(int64_t at, struct features f, int64_t r)
{
    return at + r * f.w * f.c;
}

/* Follows the sweeps of vae_bands.h in their order. What a band writes must end before whatever is still to be read,
 * by itself or later, begins. Returns the least room that was left between the two. */
static int64_t follow(const struct making *m, struct vae_layout l)
{
    int64_t h = m->out.h, least = INT64_MAX;
    bool enlarged = m->x.h != m->small.h;
    for (int64_t begin = 0; enlarged && m->keep_x && begin < h; begin += m->band) {
        int64_t end = begin + m->band < h ? begin + m->band : h;
        int64_t first = begin > 0 ? (begin - 1) / 2 : 0; /* of the window around row `begin` */
        int64_t left = row_at(l.small, m->small, first) - row_at(l.x, m->x, end);
        least = left < least ? left : least;
    }
    for (int64_t begin = 0; begin < h; begin += m->band) {
        int64_t end = begin + m->band < h ? begin + m->band : h, left;
        int64_t made = end + 2 * CONV_BAND; /* rows of x when this band is written, where they do not stay */
        if (m->keep_x)
            left = row_at(enlarged ? l.x : l.small, m->x, end) - row_at(0, m->out, end);
        else if (made < h)
            left = row_at(l.small, m->small, (made - 1) / 2) - row_at(0, m->out, end);
        else
            break;
        least = left < least ? left : least;
    }
    return least;
}

static void check_layout(const struct making *m)
{
    struct vae_layout l = vae_layout(m->out, m->x, m->small, m->keep_x, m->band);
    int64_t out = features_count(m->out), x = features_count(m->x), small = features_count(m->small);
    assert_true(out <= l.size && l.small >= 0 && l.small + small <= l.size);
    assert_true(!m->keep_x || (l.x >= 0 && l.x + x <= l.size));
    int64_t least = follow(m, l);
    assert_true(least >= 0);
    /* With whole bands there is no room to spare, unless one band is all there is or nothing ever grows. */
    if (m->small.h != m->x.h && m->keep_x && m->out.h % m->band == 0 && m->band < m->out.h)
        assert_int_equal(least, 0);
    if (!m->keep_x || m->small.h == m->x.h)
        assert_int_equal(l.size, out > small ? out : small);
}

static void no_row_is_overwritten_before_it_was_read_whatever_the_size(void **state)
{
    (void)state;
    static const int64_t widths[][2] = {{64, 64}, {64, 96}, {96, 64}, {64, 512}, {512, 64}}; /* channels of x, out */
    for (int64_t h = 1; h <= 40; h++)
        for (int64_t w = 1; w <= 3; w++)
            for (int i = 0; i < 5; i++)
                for (int scale = 1; scale <= 2; scale++) {
                    struct features small = {NULL, 1, h, w, widths[i][0]}, x = small, out;
                    x.h = scale * h;
                    x.w = scale * w;
                    out = x;
                    out.c = widths[i][1];
                    for (int64_t band = CONV_BAND; band < x.h + CONV_BAND; band += CONV_BAND)
                        for (int keep_x = scale == 1; keep_x < 2; keep_x++)
                            check_layout(&(struct making){out, x, small, keep_x, band < x.h ? band : x.h});
                }
}

static void less_memory_costs_more_arithmetic(void **state)
{
    (void)state;
    static const int64_t whole[] = {KEEP_ALL, KEEP_INPUTS, KEEP_SOME, KEEP_NOTHING};
    struct vae v = open_wide();
    struct profile first = {0}, before = {0};
    v.memory = (struct vae_memory){KEEP_ALL, 1 << 30};
    size_t plain = memory_of(&v, 12, 11, &first);
    for (int i = 0; i < 4; i++) {
        struct profile cost = {0};
        v.memory = (struct vae_memory){whole[i], 1};
        assert_true(memory_of(&v, 12, 11, &cost) < plain);
        if (i == 0)
            assert_true(cost.rows[OP_CONV].flops == first.rows[OP_CONV].flops);
        else
            assert_true(cost.rows[OP_CONV].flops > before.rows[OP_CONV].flops);
        before = cost;
    }
    vae_close(&v);
}

static void an_observer_sees_the_same_however_little_memory_there_is(void **state)
{
    (void)state;
    struct vae v = open_wide();
    struct problem p = pose_wide(&v, 5, 7);
    struct seen much = {0}, little = {0};
    compute(2, decode_watched, &(struct watched){p, &much});
    v.memory = (struct vae_memory){0, 1};
    compute(2, decode_watched, &(struct watched){p, &little});
    assert_int_equal(much.count, 6 + 3 * 3 + 1); /* up to the middle, the levels, the end */
    assert_int_equal(little.count, much.count);
    for (int i = 0; i < much.count; i++) {
        assert_string_equal(little.items[i].name, much.items[i].name);
        assert_int_equal(little.items[i].size, much.items[i].size);
        check_equal(much.items[i].name, little.items[i].x, much.items[i].x, much.items[i].size);
    }
    seen_free(&much);
    seen_free(&little);
    dispose(&p);
    vae_close(&v);
}

/* SDXL's decoder, its weights a hole in a file. */
static struct vae open_published(void)
{
    struct vae_config config;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "hole.safetensors");
    struct file_writer writer;
    struct error e = {0};
    assert_int_equal(vae_config_read("tools/blueprints/sdxl/vae/config.json", &config, &e), OK);
    struct list list = list_new(&config);
    int64_t bytes = 0;
    for (size_t i = 0; i < list.count; i++)
        bytes += tensor_count(&list.items[i].tensor) * (int64_t)sizeof(float);
    assert_int_equal(safetensors_create(path.text, list.items, list.count, NULL, &writer, &e), OK);
    assert_int_equal(file_commit(&writer, &e), OK);
    size_t header;
    free(read_bytes(path.text, &header));
    assert_int_equal(truncate(path.text, (off_t)header + bytes), 0);
    struct vae v = open_list(&config, path.text);
    list_free(&list);
    folder_remove(&folder);
    return v;
}

static void a_picture_of_1024_px_takes_less_than_0_7_gb(void **state)
{
    (void)state;
    struct vae v = open_published();
    struct profile cost = {0}, least = {0};
    assert_true(memory_of(&v, 128, 128, &cost) < 700000000);
    assert_true(memory_of(&v, 144, 112, NULL) < 700000000);
    v.memory.whole = INT64_MAX;
    assert_true(memory_of(&v, 128, 128, &least) > 1500000000);
    assert_true(cost.rows[OP_CONV].flops < 1.45 * least.rows[OP_CONV].flops);
    vae_close(&v);
}

static void a_picture_of_512_px_has_nothing_computed_twice(void **state)
{
    (void)state;
    struct vae v = open_published();
    struct profile cost = {0}, least = {0};
    assert_true(memory_of(&v, 64, 64, &cost) < 500000000);
    v.memory = (struct vae_memory){INT64_MAX, INT64_MAX};
    memory_of(&v, 64, 64, &least);
    assert_true(cost.rows[OP_CONV].flops == least.rows[OP_CONV].flops);
    vae_close(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(latents_of_any_size_become_pictures_and_back),
        cmocka_unit_test(samples_of_a_batch_do_not_meet),
        cmocka_unit_test(log_variances_are_clamped),
        cmocka_unit_test(latents_are_divided_by_the_scaling_factor),
        cmocka_unit_test(older_names_of_the_attention_are_understood),
        cmocka_unit_test(weights_of_another_config_are_refused),
        cmocka_unit_test(a_decoding_in_bands_is_the_one_without),
        cmocka_unit_test(no_row_is_overwritten_before_it_was_read_whatever_the_size),
        cmocka_unit_test(less_memory_costs_more_arithmetic),
        cmocka_unit_test(an_observer_sees_the_same_however_little_memory_there_is),
        cmocka_unit_test(a_picture_of_1024_px_takes_less_than_0_7_gb),
        cmocka_unit_test(a_picture_of_512_px_has_nothing_computed_twice),
    };
    return cmocka_run_group_tests(tests, open_vae, close_vae);
}
