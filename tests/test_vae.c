/* The autoencoder's properties; that its numbers are the reference's is for the golden runner to see. */
#include "sdxl/vae.h"
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
}

static void log_variances_are_clamped(void **state)
{
    (void)state;
    struct problem p = pose_encoding(1, 2, 2);
    float *biases = room(8, sizeof *biases);
    struct vae other = vae; /* with moments pushed far out: the means and two variances up, two variances down */
    for (int i = 0; i < 8; i++)
        biases[i] = i < 6 ? 1000 : -1000;
    other.quant_conv.bias = (struct tensor){biases, DTYPE_F32, 1, {8}};
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
    assert_null(other.file);
    vae_close(&other);
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
    };
    return cmocka_run_group_tests(tests, open_vae, close_vae);
}
