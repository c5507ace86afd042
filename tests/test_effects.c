/* Nothing is silent: whatever a person gives has its effect, or is refused, or a note says that it has none. One
 * table for every setting there is, and what configs and the environment may say. */
#include "storydiff/comic/settings.h"
#include "tensor/safetensors.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#define LONG_PROMPT                                                                                                  \
    "-p 'a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a " \
    "a "                                                                                                             \
    "a a a a a a a a a a a a a a a a a a a a a a a a a'"

/* `given` on a command line says nothing `without`, and something `with`; NULL: it never does. */
static const struct row {
    const char *key, *given, *without, *with, *because;
} rows[] = {
    {"general_prompt", "", "-p '[NC] a'", "-p b -p '[NC] a'", "no panel shows a character"},
    {"negative_prompt", "-p a --negative_prompt x", "--guidance_scale 1", "--guidance_scale 2",
     "nothing is compared with it"},
    {"id_length", "-p a -p b --id_length 1", "--csa off", "--csa sampled", "--csa is off"},
    {"id_length", "--id_length 1", "-p '[NC] a' -p '[NC] b'", "-p a -p b", "no panel shows a character"},
    {"sa32", "-p a -p b --sa32 0.3", "--csa off", "--csa sampled", "--csa is off"},
    {"sa32", "--sa32 0.3", "-p a", "-p a -p b", "no panel has another one"},
    {"sa64", "-p a -p b --sa64 0.3", "--csa off", "--csa sampled", "--csa is off"},
    {"sa64", "--sa64 0.3", "-p a -p '[NC] b'", "-p a -p b", "no panel has another one"},
    {"csa_start", "-p a -p b --csa_start 2", "--csa off", "--csa sampled", "--csa is off"},
    {"csa", "--csa sampled", "-p '[NC] a' -p '[NC] b'", "-p a -p b", "no panel shows a character"},
    {"csa", "--csa sampled", "-p a", "-p a -p b", "no panel has another one"},
    {"noise", "--noise own", "-p a", "-p a -p b", "there is one panel"},
    {"long_prompt", "-p b --long_prompt truncate", "", LONG_PROMPT, "no prompt is longer"},
    {"prompt_weights", "--prompt_weights off", "-p a", "-p '(a:1.2)'", "no prompt has weights"},
    {"font", "-p a --font /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "--comic_type none", "--comic_type four",
     "draws no captions"},
    {"title", "-p a --title x", "--comic_type none", "--comic_type four", "there are no pages"},
    {"format", "-p a --format pdf", "--comic_type none", "--comic_type four", "there are no pages"},
    {"save_every_step", "-p a --save_every_step", "--no_save", "", "--no_save says otherwise"},
    {"preview_every", "-p a --preview_every 9", "--sampling_steps 8", "--sampling_steps 9", "there are fewer steps"},
    {"cache_dir", "-p a --cache_dir $F", "",
     "--model $F/single.safetensors --tokenizer tests/models/default/tokenizer_2", "is looked for there"},
    {"local_files_only", "-p a --local_files_only", "", NULL, "nothing is ever downloaded"},
    {"config", "-p a --config tests/models/default", "", "--model $F/single.safetensors", "which has its own"},
    {"lora", "-p a", "--lora $F/ink.safetensors:0", "--lora $F/ink.safetensors:0.5", "its weight is 0"},
    {"lora_dir", "--lora_dir $F", "-p a", "-p 'a <lora:ink:1>'", "no LoRA is named"},
    {"styles", "-p a --styles $F/styles.json", "", "--style_name mine", "one of the built-in styles"},
    {"guidance_interval", "-p a --guidance_interval 0-0.5", "--guidance_scale 1", "--guidance_scale 2",
     "there is no guidance"},
    {"guidance_interval", "-p a --guidance_interval 0-0.8", "--sampling_steps 4", "--sampling_steps 6",
     "every step is in it"},
    {"negative_prompt", "-p a --negative_prompt x --sampling_steps 4", "--guidance_interval 0.3-0.31",
     "--guidance_interval 0-0.3", "no step is in --guidance_interval"},
    {"fast", "-p a --fast --sampling_steps 4", "--precision float32", "", "given otherwise, or saves nothing here"},
    {"fast", "-p a --fast", "--precision int8 --cache_interval 2 --guidance_interval 0-0.5", "--precision int8",
     "each of what it stands for is given"},
};

/* These always have an effect, or are refused where they could have none: how many panels, which model, which size,
 * which files are read and written. */
static const char *const always[] = {
    "prompt",        "story",     "from",   "style_name", "sd_model_name", "model",          "vae",
    "text_encoders", "tokenizer", "draft",  "height",     "width",         "sampling_steps", "guidance_scale",
    "seed",          "sampler",   "eta",    "freeu",      "precision",     "cache_interval", "comic_type",
    "output_dir",    "threads",   "resume", "no_save",    "only",          "pages_only",     "overwrite",
    "taesd", /* test_taesd and the recordings: it has a note, and needs a file of its own */
};

static bool is_considered(const char *key)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].key, key) == 0)
            return true;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (strcmp(always[i], key) == 0)
            return true;
    return false;
}

static void every_setting_is_considered(void **state)
{
    (void)state;
    for (int i = 0; i < settings_count; i++)
        if (!is_considered(settings_table[i].key))
            fail_msg("%s: when has it no effect?", settings_table[i].key);
}

/* A LoRA of rank 1 for the tiny model, a file of styles, and the model as a single file. */
static void prepare_files(const struct folder *f)
{
    static const char styles[] = "[{\"name\": \"mine\", \"prompt\": \"{prompt}\", \"negative_prompt\": \"\"}]";
    float *down = some_floats(1, 16), *up = some_floats(2, 16);
    const struct named_tensor items[] = {
        {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v.lora_down.weight",
         {.data = down, .dtype = DTYPE_F32, .rank = 2, .shape = {1, 16}}},
        {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v.lora_up.weight",
         {.data = up, .dtype = DTYPE_F32, .rank = 2, .shape = {16, 1}}},
    };
    struct error e = {0};
    if (safetensors_write(folder_path(f, "ink.safetensors").text, items, 2, (const char *const[]){NULL}, &e) != OK)
        fail_msg("%s", e.message);
    free(down);
    free(up);
    write_bytes(folder_path(f, "styles.json").text, styles, strlen(styles));
    prepare(f, "\"$(dirname \"${STORYDIFF:-build/storydiff}\")/storydiff-convert\" tests/models/default "
               "$F/single.safetensors "
               ">/dev/null 2>&1");
}

static void what_has_no_effect_is_said(void **state)
{
    struct folder *f = *state;
    prepare_files(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        char words[1024], says[128];
        const char *general =
            strcmp(r->key, "fast") == 0 || strcmp(r->key, "noise") == 0 ? "" : "--general_prompt bob";
        snprintf(says, sizeof says, "--%s has no effect: ", r->key);
        snprintf(words, sizeof words, "%s --height 64 --width 64 --dry_run %s %s", general, r->given, r->without);
        assert_outcome(f, words, 0, SAYS(says, r->because));
        if (r->with == NULL)
            continue;
        snprintf(words, sizeof words, "%s --height 64 --width 64 --dry_run %s %s", general, r->given, r->with);
        struct outcome o = run_to(f, words, 0);
        if (strstr(o.err, says) != NULL)
            fail_msg("storydiff %s\n%s", words, o.err);
        outcome_free(&o);
    }
}

/* The same of the program's own options. */
static void a_dry_run_says_what_it_does_not_do(void **state)
{
    struct folder *f = *state;
    assert_outcome(f, BOB "--dry_run --dump $F/d", 0, SAYS("--dump has no effect: a dry run draws nothing"));
    assert_false(has(f, "d"));
    assert_outcome(f, BOB "--dry_run --verbose", 0, SAYS("unet: tests/models/default/unet/"));
}

/* A note of what lies in a folder is for who says it, not for who goes on with it. */
static void a_recipe_does_not_count_as_given(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB SMALL "--output_dir $F/o");
    struct outcome o = run_to(f, "--only 2 --output_dir $F/o", 0);
    assert_null(strstr(o.err, "has no effect"));
    outcome_free(&o);
}

/* "save_every_step false" is what no_save says. */
static void a_flag_may_be_given_as_false(void **state)
{
    struct folder *f = *state;
    struct outcome o = run_to(f, BOB "--dry_run --save_every_step=false --no_save", 0);
    assert_null(strstr(o.err, "has no effect"));
    outcome_free(&o);
    pid_t child = program_start(f, BOB SMALL "--sampling_steps 500 --save_every_step=false --output_dir $F/o");
    usleep(300000);
    kill(child, SIGINT);
    o = program_wait(f, child);
    assert_int_equal(o.status, 130);
    assert_false(has(f, "o/unfinished.safetensors"));
    outcome_free(&o);
}

/* DDIMScheduler of diffusers 0.25 clamps where its config does not say otherwise; its Stable Diffusion pipelines
 * warn. */
static void a_clamp_that_nobody_asked_for_is_said(void **state)
{
    static const struct {
        const char *clip, *words;
        bool said;
    } cases[] = {
        {"false", "--sampler ddim", false}, {"true", "--sampler ddim", false}, {NULL, "--sampler ddim", true},
        {"null", "--sampler ddim", true},   {NULL, "--sampler euler", false},  {NULL, "--sampler lcm", false},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char commands[512], words[256];
        snprintf(commands, sizeof commands,
                 "rm -rf $F/m && cp -rL tests/models/default $F/m && chmod -R u+w $F/m && "
                 "sed -i 's/\"clip_sample\": false/%s%s/' $F/m/scheduler/scheduler_config.json",
                 cases[i].clip != NULL ? "\"clip_sample\": " : "\"clip\": 0",
                 cases[i].clip != NULL ? cases[i].clip : "");
        prepare(f, commands);
        snprintf(words, sizeof words, BOB "--dry_run --model $F/m %s", cases[i].words);
        struct outcome o = run_to(f, words, 0);
        if ((strstr(o.err, "does not say \"clip_sample\": ddim then clamps") != NULL) != cases[i].said)
            fail_msg("%s, %s: %s", cases[i].clip, cases[i].words, o.err);
        outcome_free(&o);
    }
}

static void kernels_that_there_are_not_are_refused(void **state)
{
    struct folder *f = *state;
    static const char *const wrong[] = {"foo", "AVX2", "avx512 ", "sse2"}, *const right[] = {"portable", "openblas",
                                                                                             ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(setenv("STORYDIFF_CPU", wrong[i], 1), 0);
        assert_outcome(f, BOB "--dry_run", 2, SAYS("STORYDIFF_CPU is \"", "portable"));
        assert_outcome(f, "--version", 2, SAYS("STORYDIFF_CPU"));
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        assert_int_equal(setenv("STORYDIFF_CPU", right[i], 1), 0);
        assert_done(f, "--version");
    }
    assert_int_equal(unsetenv("STORYDIFF_CPU"), 0);
}

/* SDXL's second tokenizer pads with "!", so each that is typed is an id of its own: of 30 times "wow!!!" it cuts more
 * than the first does. */
static void what_the_second_tokenizer_cuts_is_said(void **state)
{
    struct folder *f = *state;
    assert_outcome(f,
                   "-p '!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!' "
                   "--style_name '(No style)' "
                   "--long_prompt truncate --dry_run",
                   0, SAYS("has 80 tokens, the last 5 are cut off", "80 tokens, 5 of them cut"));
}

/* Syntax of other programs is read as words, which is said; what is understood, and ordinary punctuation, is not. */
static void foreign_syntax_is_said(void **state)
{
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"-p 'a {red|blue} cat'", "panel 1: \"{red|blue}\" is read as words: no choice"},
        {"-p 'a cat' -p 'a __color__ cat'", "panel 2: \"__color__\" is read as words: no wildcard"},
        {"-p 'a cat++ runs'", "panel 1: \"t++\" is read"},
        {"-p 'a cat:1.3 runs'", "panel 1: \"cat:1.3 \" is read"},
        {"-p 'cat::2'", "panel 1: \"t::2\" is read"},
        {"-p 'a <hypernet:x:1> cat'", "panel 1: \"<hypernet:x:1>\" is read as words: only LoRAs"},
        {"-p 'embedding:EasyPose'", "panel 1: \"embedding:EasyPose\" is read"},
        {"-p 'a cat AND a dog'", "panel 1: \"AND \" is read"},
        {"-p 'a cat --ar 16:9'", "panel 1: \"--ar\" is read as words: settings"},
        {"-p 'a cat' -n '<lora:foo:1>'", "the negative prompt: \"<lora:foo:1>\" is read as words: only LoRAs"},
        {"-p 'a cat' -n '[cat:dog:0.5]'",
         "the negative prompt: \"[cat:dog:0.5]\" is read as words: words do not change"},
        {"--general_prompt '[A] a {tall|small} man' -p '[A] runs'", "panel 1: \"{tall|small}\" is read"},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[512];
        snprintf(words, sizeof words, "%s --dry_run", cases[i].words);
        assert_outcome(f, words, 0, SAYS(cases[i].says));
    }
    struct outcome o = run_to(f,
                              "-p 'a (cat:1.3), ((at 10:30)) BREAK -- well - 3+4, a_b: x; <3 & land' "
                              "-n '(bad:1.4), [ugly]' --dry_run",
                              0);
    assert_null(strstr(o.err, "is read as words"));
    outcome_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_is_considered),
        TEST(what_has_no_effect_is_said),
        TEST(a_dry_run_says_what_it_does_not_do),
        TEST(a_recipe_does_not_count_as_given),
        TEST(a_flag_may_be_given_as_false),
        TEST(a_clamp_that_nobody_asked_for_is_said),
        TEST(kernels_that_there_are_not_are_refused),
        TEST(what_the_second_tokenizer_cuts_is_said),
        TEST(foreign_syntax_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
