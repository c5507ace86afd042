/* LoRA files: names of every fashion, what is refused and by which word, what has no place. The numbers are for the
 * golden runner, and for test_low_rank. */
#include "sdxl/checkpoint/lora.h"
#include "storydiff/comic/loras.h"
#include "tensor/safetensors.h"
#include "storydiff/picture/png.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"
#include "tests/pictures.h"

static const float values[64] = {1, 2, 3};

/* One tensor of a file. Shapes: "NxM", two dimensions at least; "" is a number. */
struct item {
    const char *name;
    int64_t rows, columns; /* 0: a number */
};

static void write_file(const char *path, const struct item *items, size_t count)
{
    struct named_tensor tensors[16];
    struct error e = {0};
    for (size_t i = 0; i < count; i++) {
        struct tensor t = {.data = values, .dtype = DTYPE_F32, .rank = items[i].rows > 0 ? 2 : 0,
                           .shape = {items[i].rows, items[i].columns}};
        tensors[i] = (struct named_tensor){items[i].name, t};
    }
    if (safetensors_write(path, tensors, count, NULL, &e) != OK)
        fail_msg("%s", e.message);
}

static struct lora opened(const char *path)
{
    struct lora l;
    struct error e = {0};
    if (lora_open(&l, &(struct lora_source){path, 0.5}, &e) != OK)
        fail_msg("%s", e.message);
    return l;
}


static bool is_found(struct lora *l, enum checkpoint_part part, const char *name, float *scale)
{
    struct lora_part loras = {.items = l, .count = 1, .part = part};
    struct tensor weight = {.data = values, .rank = 2, .shape = {4, 6}};
    struct error e = {0};
    assert_int_equal(lora_add(&loras, name, &weight, &e), OK);
    if (weight.delta != NULL)
        *scale = weight.delta->scale;
    return weight.delta != NULL;
}

static void every_fashion_of_names_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *down, *up, *module;
        enum checkpoint_part part;
    } cases[] = {
        {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "mid_block.attentions.0.proj_in", PART_UNET},
        {"unet.mid_block.attentions.0.proj_in.lora_A.weight", "unet.mid_block.attentions.0.proj_in.lora_B.weight",
         "mid_block.attentions.0.proj_in", PART_UNET},
        {"base_model.model.mid_block.proj_in.lora_A.weight", "base_model.model.mid_block.proj_in.lora_B.weight",
         "mid_block.proj_in", PART_UNET},
        {"unet.a.attn1.processor.to_out_lora.down.weight", "unet.a.attn1.processor.to_out_lora.up.weight",
         "a.attn1.to_out.0", PART_UNET},
        {"a.attn2.processor.to_k_lora.down.weight", "a.attn2.processor.to_k_lora.up.weight", "a.attn2.to_k", PART_UNET},
        {"unet.a.attn1.to_q.lora.down.weight", "unet.a.attn1.to_q.lora.up.weight", "a.attn1.to_q", PART_UNET},
        {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "text_model.encoder.layers.0.mlp.fc1",
         PART_TEXT_ENCODER},
        {"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
         "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "text_model.encoder.layers.0.mlp.fc1",
         PART_TEXT_ENCODER},
        {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
         "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "text_model.encoder.layers.0.mlp.fc1",
         PART_TEXT_ENCODER_2},
        {"text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight",
         "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.up.weight",
         "text_model.encoder.layers.0.mlp.fc1", PART_TEXT_ENCODER_2},
    };
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "lora.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[128];
        float scale = 0;
        write_file(path.text, (struct item[]){{cases[i].down, 2, 6}, {cases[i].up, 4, 2}}, 2);
        struct lora l = opened(path.text);
        snprintf(name, sizeof name, "%s.weight", cases[i].module);
        for (int part = PART_UNET; part <= PART_TEXT_ENCODER_2; part++)
            if (is_found(&l, (enum checkpoint_part)part, name, &scale) != (part == (int)cases[i].part))
                fail_msg("%s in part %d", cases[i].down, part);
        assert_true(scale == 0.5f); /* no alpha */
        snprintf(name, sizeof name, "%s.bias", cases[i].module);
        assert_false(is_found(&l, cases[i].part, name, &scale));
        lora_close(&l);
    }
    folder_remove(&folder);
}

static void alpha_is_divided_by_the_rank(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "lora.safetensors");
    float scale = 0;
    write_file(path.text, (struct item[]){{"lora_unet_a.alpha", 0, 0}, {"lora_unet_a.lora_down.weight", 2, 6},
                                          {"lora_unet_a.lora_up.weight", 4, 2}}, 3);
    struct lora l = opened(path.text);
    assert_true(is_found(&l, PART_UNET, "a.weight", &scale));
    assert_true(scale == 0.25f); /* weight 0.5, alpha 1 (values[0]), rank 2 */
    lora_close(&l);
    folder_remove(&folder);
}

static void what_is_no_plain_lora_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct item items[3];
        const char *text;
    } cases[] = {
        {{{"lora_unet_a.hada_w1_a", 4, 2}, {"lora_unet_a.hada_w1_b", 2, 6}}, "a LoHa"},
        {{{"lora_unet_a.lokr_w1", 2, 2}}, "a LoKr"},
        {{{"lora_unet_a.lora_down.weight", 2, 6},
          {"lora_unet_a.lora_up.weight", 4, 2},
          {"lora_unet_a.dora_scale", 1, 4}},
         "a DoRA"},
        {{{"lora_unet_a.lora_mid.weight", 2, 2}}, "Tucker"},
        {{{"lora_unet_a.diff", 4, 6}}, "differences"},
        {{{"model.diffusion_model.out.0.weight", 4, 6}}, "not a LoRA"},
        {{{"lora_unet_a.lora_down.weight", 2, 6}}, "the up matrix"},
        {{{"lora_unet_a.lora_down.weight", 2, 6}, {"lora_unet_a.lora_up.weight", 4, 3}}, "do not belong together"},
        {{{"lora_unet_a.lora_down.weight", 2, 6},
          {"lora_unet_a.lora_up.weight", 4, 2},
          {"unet.a.lora_A.weight", 2, 6}},
         "is there twice"},
    };
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "lora.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lora l;
        struct error e = {0};
        size_t count = 0;
        while (count < 3 && cases[i].items[count].name != NULL)
            count++;
        write_file(path.text, cases[i].items, count);
        assert_int_equal(lora_open(&l, &(struct lora_source){path.text, 1}, &e), ERR_FORMAT);
        if (strstr(e.message, cases[i].text) == NULL || strstr(e.message, path.text) == NULL)
            fail_msg("\"%s\" is not in: %s", cases[i].text, e.message);
        lora_close(&l);
    }
    folder_remove(&folder);
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "lora.safetensors");
    struct error e = {0};
    struct text notes = {0};
    float scale;
    write_file(path.text, (struct item[]){{"lora_unet_a.lora_down.weight", 2, 6}, {"lora_unet_a.lora_up.weight", 4, 2},
                                          {"lora_unet_b.lora_down.weight", 2, 6}, {"lora_unet_b.lora_up.weight", 4, 2}},
               4);
    struct lora l = opened(path.text);
    assert_int_equal(lora_finish(&l, NULL, &e), ERR_FORMAT); /* nothing was bound */
    assert_non_null(strstr(e.message, "another kind of model"));
    assert_true(is_found(&l, PART_UNET, "a.weight", &scale));
    assert_int_equal(lora_finish(&l, &notes, NULL), OK);
    assert_non_null(strstr(notes.data, "1 of 2 modules"));
    assert_non_null(strstr(notes.data, "lora_unet_b.lora_"));
    text_free(&notes);

    struct lora_part loras = {.items = &l, .count = 1, .part = PART_UNET};
    struct tensor wide = {.data = values, .rank = 2, .shape = {4, 7}};
    e = (struct error){0};
    assert_int_equal(lora_add(&loras, "b.weight", &wide, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, "down [2, 6] for [4, 7]"));
    lora_close(&l);
    folder_remove(&folder);
}

static void two_loras_add_up(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "lora.safetensors");
    struct error e = {0};
    write_file(path.text, (struct item[]){{"lora_unet_a.lora_down.weight", 2, 6}, {"lora_unet_a.lora_up.weight", 4, 2}},
               2);
    struct lora both[2] = {opened(path.text), opened(path.text)};
    struct lora_part loras = {.items = both, .count = 2, .part = PART_UNET};
    struct tensor weight = {.data = values, .rank = 2, .shape = {4, 6}};
    assert_int_equal(lora_add(&loras, "a.weight", &weight, &e), OK);
    assert_non_null(weight.delta);
    assert_non_null(weight.delta->next);
    assert_null(weight.delta->next->next);
    lora_close(&both[0]);
    lora_close(&both[1]);
    folder_remove(&folder);
}

/* ------------------------------------------------------------------------------------------ which files are meant */

static void tags_are_cut_out_and_looked_up(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "ink.safetensors");
    struct loras l = {0};
    struct error e = {0};
    int count = 0;
    write_file(path.text, (struct item[]){{"a", 1, 1}}, 1);
    char prompt[] = "a <lora:ink:0.8>man<lora:ink:0.8>, <lora", caption[] = "Hi <lora:ink> there <lora:ink:1>";
    assert_int_equal(loras_take(&l, prompt, folder.path, &count, &e), OK);
    assert_string_equal(prompt, "a man, <lora");
    assert_int_equal(count, 2);
    assert_int_equal(l.count, 1);
    assert_true(l.items[0].weight == 0.8);
    assert_string_equal(l.items[0].name, "ink");
    assert_string_equal(l.items[0].path, path.text);
    loras_cut(caption);
    assert_string_equal(caption, "Hi there");

    assert_int_equal(loras_add(&l, path.text, NULL, &e), ERR_ARGUMENT); /* weight 1 */
    assert_non_null(strstr(e.message, "two weights"));
    static const char *const wrong[] = {"<lora:>", "<lora:ink:x>", "<lora:ink:1:2>", "<lora:other:1>", "<lora::1>"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[32];
        strcpy(text, wrong[i]);
        e = (struct error){0};
        if (loras_take(&l, text, folder.path, &count, &e) == OK)
            fail_msg("%s was taken", wrong[i]);
    }
    folder_remove(&folder);
}

/* -------------------------------------------------------------------------------------------- as a person uses it */

/* A LoRA of rank 2 for a layer of tests/models/default of that width, large enough to be seen. */
static void write_lora(const struct folder *f, const char *name, const char *module, int64_t width)
{
    char down_name[160], up_name[160];
    float down[2 * 32], up[32 * 2];
    struct error e = {0};
    for (int i = 0; i < 64; i++) {
        down[i] = (float)(i * 7 % 11 - 5) / 2;
        up[i] = (float)(i * 5 % 13 - 6) / 2;
    }
    snprintf(down_name, sizeof down_name, "%s.lora_down.weight", module);
    snprintf(up_name, sizeof up_name, "%s.lora_up.weight", module);
    struct named_tensor items[] = {
        {down_name, {.data = down, .dtype = DTYPE_F32, .rank = 2, .shape = {2, width}}},
        {up_name, {.data = up, .dtype = DTYPE_F32, .rank = 2, .shape = {width, 2}}}};
    if (safetensors_write(folder_path(f, name).text, items, 2, NULL, &e) != OK)
        fail_msg("%s", e.message);
}

/* Two files, ink for the UNet and tone for the second text encoder; `folder` is the state of the test. */
static struct folder *with_two_loras(void **state)
{
    struct folder *f = *state;
    write_lora(f, "ink.safetensors", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v", 16);
    write_lora(f, "tone.safetensors", "lora_te2_text_model_encoder_layers_0_self_attn_v_proj", 32);
    return f;
}

#define RUN SMALL "--no_save -t 1 "
#define INK "--lora $F/ink.safetensors:0.5 "
#define TONE "--lora $F/tone.safetensors "

static void every_way_to_name_a_lora_means_the_same(void **state)
{
    struct folder *f = with_two_loras(state);
    prepare(f,
            "printf 'lora: ink:0.5\\nlora: tone\\nlora_dir: %s\\n[Bob] a man\\n---\\n[Bob] runs\\n' $F >$F/two.story;"
            "printf '[Bob] a man\\n---\\n[Bob] runs\\n' >$F/none.story;"
            "printf '[Bob] a man\\n---\\n[Bob] <lora:ink:0.5>runs<lora:tone>\\n' >$F/tags.story");
    assert_done(f, "--story $F/none.story --output_dir $F/none" RUN);
    assert_done(f, "--story $F/none.story --output_dir $F/ink " INK RUN);
    assert_done(f, "--story $F/none.story --output_dir $F/tone " TONE RUN);
    assert_done(f, "--story $F/none.story --output_dir $F/both " INK TONE RUN);
    assert_done(f, "--story $F/two.story --output_dir $F/settings" RUN);
    assert_done(f, "--story $F/tags.story --lora_dir $F --output_dir $F/tags" RUN);
    assert_int_equal(difference(f, "both/panel-01.png", "settings/panel-01.png"),
                     0); /* the recipes quote the stories */
    assert_int_equal(difference(f, "both/panel-01.png", "tags/panel-01.png"), 0);
    static const char *const folders[] = {"none", "ink", "tone", "both"};
    for (int i = 0; i < 4; i++) /* each has an effect of its own: the text encoder's, too */
        for (int j = 0; j < i; j++) {
            char one[32], other[32];
            snprintf(one, sizeof one, "%s/panel-01.png", folders[i]);
            snprintf(other, sizeof other, "%s/panel-01.png", folders[j]);
            assert_true(difference(f, one, other) > 0);
        }
    assert_outcome(f, "--story $F/two.story --dry_run", 0, SAYS("LoRA ink, weight 0.5", "LoRA tone, weight 1"));
}

/* W + weight * up . down, which the converter writes (test_convert compares it with a sum by hand), draws the picture
 * that the sum made while packing draws. */
static void merged_by_the_converter_is_the_same_picture(void **state)
{
    struct folder *f = with_two_loras(state);
    prepare(f, "\"$(dirname \"${STORYDIFF:-build/storydiff}\")/storydiff-convert\" tests/models/default $F/merged "
               "--dtype f32 " INK TONE ">$F/log 2>&1");
    assert_done(f, BOB "--output_dir $F/a " INK TONE RUN);
    assert_done(f, BOB "--output_dir $F/b --model $F/merged " RUN);
    assert_done(f, BOB "--output_dir $F/c " RUN);
    assert_in_range(difference_of(f, "a/panel-01.png", "b/panel-01.png").worst, 0, 1);
    assert_true(difference_of(f, "a/panel-01.png", "c/panel-01.png").worst > 8);
}

/* The tensors of a LoRA are part of what makes a picture: its recipe names them, and a run goes on with the same ones,
 * found again without being said. */
static void a_run_goes_on_with_the_loras_it_began_with(void **state)
{
    struct folder *f = with_two_loras(state);
#define LATER BOB "--height 64 --width 64 --sampling_steps 300 --comic_type none -t 1 --output_dir $F/o "
    assert_done(f, BOB
                "--height 64 --width 64 --sampling_steps 300 --comic_type none -t 1 --output_dir $F/whole " INK TONE);
    pid_t child = program_start(f, LATER INK TONE);
    while (!has(f, "o/unfinished.safetensors"))
        usleep(1000);
    usleep(50000);
    kill(child, SIGKILL);
    struct outcome killed = program_wait(f, child);
    outcome_free(&killed);
    assert_outcome(f, LATER "--resume", 2, SAYS("another lora (then: ink:0.5 ", "now: not given"));
    assert_outcome(f, LATER INK "--resume", 2, SAYS("another lora (then: ink:0.5 "));
    assert_outcome(f, LATER "--lora $F/ink.safetensors:0.25 " TONE "--resume", 2,
                   SAYS("another lora", "now: ink:0.25 "));
    write_lora(f, "ink.safetensors", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", 16);
    assert_outcome(f, LATER INK TONE "--resume", 2, SAYS("another "));
    prepare(f, "rm $F/ink.safetensors");
    assert_outcome(f, "--output_dir $F/o --resume", 2, SAYS("ink.safetensors"));
    with_two_loras(state);
    prepare(f, "mkdir $F/moved && mv $F/ink.safetensors $F/moved"); /* where it lies does not matter */
    assert_done(f, LATER "--lora $F/moved/ink.safetensors:0.5 " TONE "--resume");
    assert_same_pictures(f, "o", "whole");
    char *recipe = NULL;
    assert_int_equal(png_read_text(folder_path(f, "o/panel-01.png").text, "storydiff", &recipe, NULL), OK);
    assert_non_null(strstr(recipe, "\"lora\": \"ink:0.5 "));
    assert_non_null(strstr(recipe, "tone:1 "));
    assert_null(strstr(recipe, f->path));
    free(recipe);
}

/* A run that was killed says where its LoRAs lie. */
static void going_on_needs_no_lora(void **state)
{
    struct folder *f = with_two_loras(state);
    assert_done(f, BOB
                "--height 64 --width 64 --sampling_steps 300 --comic_type none -t 1 --output_dir $F/whole " INK TONE);
    pid_t child = program_start(f, LATER INK TONE);
    while (!has(f, "o/unfinished.safetensors"))
        usleep(1000);
    kill(child, SIGKILL);
    struct outcome killed = program_wait(f, child);
    outcome_free(&killed);
    assert_done(f, "--output_dir $F/o --resume");
    assert_same_pictures(f, "o", "whole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fashion_of_names_is_understood),
        cmocka_unit_test(alpha_is_divided_by_the_rank),
        cmocka_unit_test(what_is_no_plain_lora_is_refused_by_name),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(two_loras_add_up),
        cmocka_unit_test(tags_are_cut_out_and_looked_up),
        TEST(every_way_to_name_a_lora_means_the_same),
        TEST(merged_by_the_converter_is_the_same_picture),
        TEST(a_run_goes_on_with_the_loras_it_began_with),
        TEST(going_on_needs_no_lora),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
