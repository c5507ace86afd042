/* The UNet with less arithmetic: how far 8-bit products are from float32 on a model of real widths, made up (its
 * residual arms weigh a fifth, as tools/synthetic_model.h says), and what kept features are. */
#include "sdxl/unet/unet.h"
#include "tools/synthetic_model.h"
#include "tests/check.h"
#include "tests/folder.h"

enum { TOKENS = 7, SIDE = 16 };

static const char config_text[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"act_fn\": \"silu\", \"addition_embed_type\": \"text_time\","
    "\"addition_time_embed_dim\": 32, \"attention_head_dim\": [2, 4, 8], \"block_out_channels\": [128, 256, 512],"
    "\"center_input_sample\": false, \"cross_attention_dim\": 256, \"down_block_types\": [\"DownBlock2D\","
    "\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\"], \"downsample_padding\": 1, \"flip_sin_to_cos\": true,"
    "\"freq_shift\": 0, \"in_channels\": 4, \"layers_per_block\": 2, \"mid_block_scale_factor\": 1, \"norm_eps\": "
    "1e-05,"
    "\"norm_num_groups\": 32, \"out_channels\": 4, \"projection_class_embeddings_input_dim\": 288, \"sample_size\": "
    "32,"
    "\"transformer_layers_per_block\": [1, 1, 2], \"up_block_types\": [\"CrossAttnUpBlock2D\", "
    "\"CrossAttnUpBlock2D\","
    "\"UpBlock2D\"], \"use_linear_projection\": true}";

static struct unet unet;
static struct folder folder;

static int open_unet(void **state)
{
    (void)state;
    struct unet_config config;
    struct error e = {0};
    folder = folder_new();
    struct file_path in = folder_path(&folder, "in"), out = folder_path(&folder, "out");
    struct file_path json = folder_path(&folder, "in/unet/config.json");
    struct file_path weights = folder_path(&folder, "out/unet/diffusion_pytorch_model.safetensors");
    char command[128];
    snprintf(command, sizeof command, "cp -r tests/golden/pipeline %s/in", folder.path);
    assert_int_equal(system(command), 0);
    write_bytes(json.text, config_text, strlen(config_text));
    struct synthetic_model made = {.blueprint = in.text, .out = out.text, .dtype = DTYPE_F16, .seed = 5};
    if (synthetic_model_write(&made, &e) == OK && unet_config_read(json.text, &config, &e) == OK)
        unet_open(&unet, weights.text, &config, &e);
    if (e.code != OK)
        print_error("%s\n", e.message);
    return e.code;
}

static int close_unet(void **state)
{
    (void)state;
    unet_close(&unet);
    folder_remove(&folder);
    return 0;
}

struct problem {
    struct unet_input in;
    struct unet_options options;
    float *out;
};

static struct problem pose(uint64_t seed)
{
    static const float sizes[] = {128, 128, 0, 0, 128, 128};
    return (struct problem){
        .in = {.sample = {some_floats(seed, SIDE * SIDE * 4), 1, SIDE, SIDE, 4},
               .timestep = 501,
               .text = {.states = some_floats(seed + 1, TOKENS * 256), .tokens = TOKENS},
               .text_embeds = some_floats(seed + 2, 288 - 6 * 32),
               .time_ids = sizes},
        .out = room(SIDE * SIDE * 4, sizeof(float)),
    };
}

static void dispose(struct problem *p)
{
    free(p->in.sample.x);
    free((void *)p->in.text.states);
    free((void *)p->in.text_embeds);
    free(p->out);
}

static void run_unet(const struct context *ctx, void *arg)
{
    struct problem *p = arg;
    unet_forward(ctx, &unet, p->out, &p->in, p->options);
}

static double distance(const float *found, const float *wanted, int64_t n)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        off += (found[i] - wanted[i]) * (found[i] - wanted[i]);
        size += wanted[i] * wanted[i];
    }
    return sqrt(off / size);
}

/* At most 1 %: what was promised. And not nothing, or the setting had no effect. */
static void a_forward_in_8_bits_is_near_float32(void **state)
{
    (void)state;
    struct problem exact = pose(1), rounded = pose(1);
    rounded.options.precision = PRECISION_INT8;
    compute(2, run_unet, &exact);
    compute(2, run_unet, &rounded);
    double off = distance(rounded.out, exact.out, SIDE * SIDE * 4);
    print_message("relative root mean square %.4f\n", off);
    assert_true(off > 1e-5 && off < 0.01);
    dispose(&exact);
    dispose(&rounded);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct problem one = pose(3), more = pose(3);
    one.options.precision = more.options.precision = PRECISION_INT8;
    compute(1, run_unet, &one);
    compute(5, run_unet, &more);
    check_same("5 threads", more.out, one.out, SIDE * SIDE * 4);
    dispose(&one);
    dispose(&more);
}

/* With the latent, the time and the text that made them, kept features give the same bits; with others, other ones.
 * FreeU works on the features, and must not spoil what is kept. */
static void kept_features_are_the_inner_blocks_result(void **state)
{
    (void)state;
    static const struct freeu freeu = {.s1 = 0.6f, .s2 = 0.4f, .b1 = 1.1f, .b2 = 1.2f};
    for (int with = 0; with < 2; with++) {
        struct problem whole = pose(7), kept = pose(7), other = pose(8);
        float *deep = room(SIDE * SIDE * unet_deep_channels(&unet.config), sizeof *deep);
        float *plain = room(SIDE * SIDE * 4, sizeof *plain);
        whole.options.freeu = kept.options.freeu = other.options.freeu = with ? &freeu : NULL;
        compute(1, run_unet, &whole);
        memcpy(plain, whole.out, SIDE * SIDE * 4 * sizeof *plain);
        whole.options.deep = kept.options.deep = other.options.deep = deep;
        whole.options.deep_use = DEEP_KEEP;
        kept.options.deep_use = other.options.deep_use = DEEP_USE;
        compute(1, run_unet, &whole);
        check_same("keeping", whole.out, plain, SIDE * SIDE * 4);
        compute(1, run_unet, &other);
        assert_true(distance(other.out, plain, SIDE * SIDE * 4) > 0.01);
        compute(1, run_unet, &kept);
        check_same("kept", kept.out, plain, SIDE * SIDE * 4);
        free(deep);
        free(plain);
        dispose(&whole);
        dispose(&kept);
        dispose(&other);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forward_in_8_bits_is_near_float32),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(kept_features_are_the_inner_blocks_result),
    };
    return cmocka_run_group_tests(tests, open_unet, close_unet);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
