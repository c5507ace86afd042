/* The command line, as a user meets it: what is drawn, what is said, what is refused, and what is never touched. */
#include "sdxl/sampling/sampler.h"
#include "storydiff/picture/png.h"
#include "storydiff/comic/recipe.h"
#include "tensor/json.h"
#include "tensor/safetensors.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"
#include "tests/pictures.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

/* What is drawn here is not drawn again: without the state after every step it goes faster. */
#define QUICK SMALL "--no_save -t 1 "

/* Two characters with two id panels each, both together, and nobody. */
static const char two_friends[] = "title: Two friends\n"
                                  "style: Line art\n"
                                  "seed: 11\n"
                                  "sampling_steps: 6\n"
                                  "negative-prompt: crowd\n"
                                  "// who they are\n"
                                  "[Max] a boy, green shirt\n"
                                  "[Pip] an orange cat\n"
                                  "---\n"
                                  "[Max] in the park #Max goes out.\n"
                                  "[Pip] in the rain\n"
                                  "[NC] the city at night #Meanwhile ...\n"
                                  "[Max] at home\n"
                                  "[Pip] on the roof\n"
                                  "[Max] and [Pip] at home #Both.\n";

static void put(const struct folder *f, const char *name, const char *text)
{
    write_bytes(folder_path(f, name).text, text, strlen(text));
}

static int lines(const char *text)
{
    int count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static int occurrences(const char *text, const char *word)
{
    int count = 0;
    for (const char *p = strstr(text, word); p != NULL; p = strstr(p + 1, word))
        count++;
    return count;
}

/* Exit status 2, one line that says `says`, nothing on standard output, no folder o. */
static void assert_mistake(const struct folder *f, const char *words, const char *says)
{
    struct outcome o = run(f, words);
    if (o.status != 2 || lines(o.err) != 1 || o.out[0] != '\0' || strstr(o.err, says) == NULL ||
        strncmp(o.err, "storydiff: ", 11) != 0 || o.err[strlen(o.err) - 1] != '\n')
        fail_msg("storydiff %s\nexit status %d; it should say \"%s\":\n%s%s", words, o.status, says, o.out, o.err);
    if (has(f, "o"))
        fail_msg("storydiff %s: a mistake, and yet it made an output folder", words);
    outcome_free(&o);
}

/* The recipe in a picture; the caller frees it. */
static char *recipe_of(const struct folder *f, const char *picture)
{
    struct error e = {0};
    char *text = NULL;
    if (png_read_text(folder_path(f, picture).text, RECIPE_KEY, &text, &e) != OK || text == NULL)
        fail_msg("%s: no recipe: %s", picture, e.message);
    return text;
}

/* -------------------------------------------------------------------------------------------------- what it says */

static void tells_its_version_and_what_it_runs_on(void **state)
{
    assert_outcome(*state, "--version", 0, SAYS("storydiff 0.", "CPU", "kernels", "threads", "OpenBLAS", "zlib"));
}

static void help_lists_every_option_with_its_default(void **state)
{
    static const char *const texts[] = {
        "--general_prompt", "--style_name NAME", "-p, --prompt", "--story", "--styles", "--sd_model_name",
        "-m, --model",
        "--cache_dir", "--local_files_only", "--height", "--width", "--sampling_steps", "--guidance_scale", "--seed",
        "default: 3407", "--sampler", "--eta", "--long_prompt", "default: windows", "--noise", "default: reference",
        "--csa", "default: masked", "--id_length", "--sa32", "default: 0.5", "--sa64", "--csa_start", "--freeu",
        "--fast", "--precision TYPE", "--cache_interval N", "--guidance_interval FROM-TO",
        "--comic_type", "default: four", "--font", "--format", "--from PNG", "--pages_only", "--output_dir",
        "default: outputs", "-t, --threads", "--resume",
        "--save_every_step", "--no_save", "--only", "--preview_every", "--overwrite", "--dry_run", "--consistency",
        "--profile", "--dump", "--progress_fd", "-v, --verbose", "-h, --help", "default: Comic book", NULL};
    assert_outcome(*state, "--help", 0, texts);
    assert_outcome(*state, "-h", 0, texts);
    assert_outcome(*state, "", 0, texts);
}

static void dashes_and_underscores_and_equals_signs_are_the_same(void **state)
{
    assert_done(*state, BOB QUICK "--output_dir $F/a --guidance_scale 3 --negative_prompt crowd");
    assert_done(*state, "--general-prompt='a man, black suit' --prompt='in the park' -p 'at home' --output-dir=$F/b "
                        "--height=64 --width=64 --sampling-steps=6 --comic-type=none --guidance-scale=3 -n crowd "
                        "--save-every-step --local-files-only");
    assert_same_pictures(*state, "a", "b");
}

static void says_when_standard_output_cannot_be_written(void **state)
{
    assert_outcome(*state, "--help >/dev/full", 1, SAYS("standard output cannot be written"));
}

/* Every line is one JSON object; every step, picture and page has its own. */
static void a_descriptor_is_told_in_lines_of_json_what_is_done(void **state)
{
    assert_done(*state, BOB QUICK "--comic_type four --preview_every 2 --output_dir $F/a --progress_fd 5 5>$F/lines");
    size_t size;
    int steps = 0, previews = 0, written = 0, finished = 0;
    char *all = read_bytes(folder_path(*state, "lines").text, &size), *next;
    for (char *line = all; *line != '\0'; line = next + 1) {
        const struct json *event = NULL;
        struct error e = {0};
        next = strchr(line, '\n');
        assert_non_null(next);
        if (json_parse("event", line, (size_t)(next - line), &event, &e) != OK)
            fail_msg("%s", e.message);
        const char *kind = json_string(json_get(event, "event"), "");
        const char *file = json_string(json_get(event, "file"), "");
        if (strcmp(kind, "step") == 0)
            assert_int_equal(json_int(json_get(event, "step"), 0), ++steps);
        previews += strcmp(kind, "preview") == 0 && strcmp(file, "preview.png") == 0;
        written += strcmp(kind, "written") == 0 && has(*state, "a/panel-01.png");
        finished += strcmp(kind, "finished") == 0 && next[1] == '\0';
        json_free(event);
    }
    free(all);
    assert_int_equal(steps, 6);
    assert_int_equal(previews, 3);
    assert_int_equal(written, 3); /* two panels, a page */
    assert_int_equal(finished, 1);
    assert_outcome(*state, BOB QUICK "--output_dir $F/b --progress_fd 9", 2, SAYS("not open for writing"));
    assert_outcome(*state, BOB QUICK "--output_dir $F/c --progress_fd 5 5>/dev/full", 0, SAYS("2 panels"));
}

/* ----------------------------------------------------------------------------------------------- again, and pages */

static void a_picture_of_ours_is_drawn_again_from_itself(void **state)
{
    put(*state, "s", two_friends);
    assert_done(*state, "--story $F/s  --height 64 --width 64 --comic_type classic --output_dir $F/a --csa_start 2 "
                        "--guidance_scale 3.3");
    assert_done(*state, "--from $F/a/panel-04.png --output_dir $F/b");
    assert_same_pictures(*state, "a", "b");
    assert_done(*state, "--from $F/a/page-01.png --output_dir $F/c");
    assert_same_pictures(*state, "a", "c");
    assert_done(*state, BOB QUICK "--output_dir $F/d"); /* a character without brackets */
    assert_done(*state, "--from $F/d/panel-02.png --output_dir $F/e");
    assert_same_pictures(*state, "d", "e");
    assert_done(*state, "--from $F/d/panel-02.png --output_dir $F/f --seed 9");
    assert_true(difference(*state, "d/panel-01.png", "f/panel-01.png") > 0);
    assert_mistake(*state, "--from $F/a/panel-01.png --story $F/s --output_dir $F/o", "--from excludes --story");
    assert_mistake(*state, "--from $F/s --output_dir $F/o", "s");
    assert_outcome(*state, "--from $F/d/panel-01.png --model storydiff/models/world --output_dir $F/g", 0,
                   SAYS("drawn with another model"));
}

/* The same captions give the same pages, whether they were there before the panels or after. */
static void captions_change_without_drawing(void **state)
{
    put(*state, "s", two_friends);
    assert_done(*state,
                "--story $F/s  --height 64 --width 64 --comic_type four --output_dir $F/a --format png,pdf,cbz");
    prepare(*state, "sed 's/goes out/stays in/' $F/s >$F/t");
    assert_done(
        *state,
        "--story $F/t  --height 64 --width 64 --comic_type four --output_dir $F/a --pages_only --format png,pdf,cbz");
    assert_done(*state,
                "--story $F/t  --height 64 --width 64 --comic_type four --output_dir $F/b --format png,pdf,cbz");
    struct listing a = listing_of(*state, "a"), b = listing_of(*state, "b");
    for (int i = 0; i < b.count; i++) {
        int found = listing_find(&a, b.files[i].name);
        assert_true(found >= 0);
        if (strncmp(b.files[i].name, "panel-", 6) != 0) /* their recipe is that of the drawing */
            assert_true(a.files[found].content == b.files[i].content);
    }
    assert_true(listing_find(&a, "page-01.before-1.png") >= 0);
    assert_true(listing_find(&a, "comic.before-1.pdf") >= 0);
    prepare(*state, "sed s/roof/moon/ $F/s >$F/t");
    assert_outcome(*state, "--story $F/t  --height 64 --width 64 --comic_type four --output_dir $F/a --pages_only", 2,
                   SAYS("panel-05.png was made with another story"));
    assert_mistake(*state, "--story $F/t --output_dir $F/o --format jpg", "png, pdf, cbz");
}

/* ------------------------------------------------------------------------------------------------------ mistakes */

static void wrong_options_are_refused_in_one_line(void **state)
{
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"--stile_name x", "did you mean style_name?"},
        {"--sampling-step 3", "did you mean sampling_steps?"},
        {"--qqqqqqqq", "--qqqqqqqq is not an option"},
        {"-q", "-q is not an option"},
        {"-pq", "-pq is not an option"},
        {"a man", "\"a\" stands alone"},
        {"--seed", "--seed needs a value"},
        {"-p", "--prompt needs a value"},
        {"--freeu=maybe", "--freeu \"maybe\": it takes no value, or true or false"},
        {"--csa some", "--csa \"some\": it takes one of off, masked, sampled"},
        {"--noise white", "reference, shared, own"},
        {"--long_prompt cut", "truncate, windows"},
        {"--comic_type manga", "four, classic, none"},
        {"--comic_type FOUR", "four, classic, none"},
        {"--precision half", "--precision \"half\": it takes one of float32, int8"},
        {"--seed '1\n2'", "--seed \"1 2\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_mistake(*state, cases[i].words, cases[i].says);
}

/* An option is accepted if the complaint is about what comes after it. */
static void numbers_have_ranges(void **state)
{
    static const struct {
        const char *option, *least, *most, *below, *above;
    } cases[] = {
        {"height", "8", "8192", "7", "8193"},
        {"width", "8", "8192", "7", "8193"},
        {"sampling_steps", "1", "1000", "0", "1001"},
        {"guidance_scale", "0", "100", "-0.1", "100.5"},
        {"seed", "-1", "9223372036854775807", "-2", "9223372036854775808"},
        {"eta", "0", "1", "-1e-9", "1.01"},
        {"id_length", "1", "16", "0", "17"},
        {"sa32", "0", "1", "-0.5", "1.5"},
        {"sa64", "0", "1", "-0.5", "1.5"},
        {"csa_start", "1", "1000", "0", "1001"},
        {"cache_interval", "1", "1000", "0", "1001"},
        {"threads", "1", "1024", "0", "1025"},
        {"preview_every", "1", "1000", "0", "1001"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *fine[] = {cases[i].least, cases[i].most};
        const char *wrong[] = {cases[i].below, cases[i].above, "x", "''", "3x", "nan", "99999999999999999999"};
        char words[256], says[64];
        for (size_t j = 0; j < sizeof fine / sizeof *fine; j++) {
            snprintf(words, sizeof words, "--%s %s --what", cases[i].option, fine[j]);
            assert_mistake(*state, words, "--what is not an option");
        }
        snprintf(says, sizeof says, "--%s \"", cases[i].option);
        for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++) {
            snprintf(words, sizeof words, "--%s %s --what", cases[i].option, wrong[j]);
            assert_mistake(*state, words, says);
        }
    }
}

static void what_cannot_be_drawn_is_refused_before_anything_is_written(void **state)
{
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"--seed 3", "nothing to draw"},
        {"--general_prompt '[Bob] a man'", "the panels must say who is in them"},
        {BOB "--story $F/x", "--story excludes --general_prompt and --prompt"},
        {BOB "--height 100", "--height 100 --width 192: this model needs multiples of 32, for instance 96 and 192"},
        {BOB "--height 64 --width 8", "for instance 64 and 32"},
        {BOB "--height 32 --width 512", "at most 8 : 1"},
        {BOB "--style_name 'Comik book'", "Comic book"},
        {BOB "--style_name ''", "style"},
        {BOB "--styles $F/none.json", "none.json: cannot open it"},
        {BOB "--sampler ddimm", "there is no sampler \"ddimm\"; there are ddim, ddim_trailing, euler, "},
        {BOB "--sampler euler --eta 0.5", "only the sampler ddim has an eta"},
        {BOB "--sampler lcm --sampling_steps 999", "steps"},
        {BOB "--font $F/none.ttf", "none.ttf"},
        {BOB "--font storydiff/cli/main.c", "storydiff/cli/main.c"},
        {BOB "--only 3", "--only \"3\": it takes panel numbers from 1 to 2"},
        {BOB "--only 0", "--only"},
        {BOB "--only 1-", "--only"},
        {BOB "--only 2-1", "--only"},
        {BOB "--only ''", "--only"},
        {BOB "--only 1 --consistency", "--consistency and --only exclude each other"},
        {BOB "--id_length 3", "general_prompt"},
        {BOB "--resume --overwrite", "exclude each other"},
        {"-p 'no [Bob] here' --general_prompt '[Rob] a man'", "did you mean"},
        {"--general_prompt '[Bob] a man' -p ''", "panels:1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[1024];
        snprintf(words, sizeof words, "%s --output_dir $F/o", cases[i].words);
        assert_mistake(*state, words, cases[i].says);
    }
}

static void an_unknown_style_lists_all(void **state)
{
    assert_outcome(*state, BOB "--style_name none --output_dir $F/o", 2,
                   SAYS("(No style)", "Comic book", "Line art", "Watercolor"));
}

static void mistakes_in_a_story_have_line_and_column(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[Bob] a man\n---\n[Bob] runs\n[Tom] sits\n", "story:4:1: there is no character [Tom]"},
        {"[Bob] a man\n[Bob] runs\n", "---"},
        {"seed: x\n[Bob] a man\n---\n[Bob] runs\n", "story:1:1: seed \"x\": it takes a whole number"},
        {"[Bob] a man\n  style_nam: x\n---\n[Bob] runs\n",
         "story:2:3: style_nam is not a setting; did you mean style_name?"},
        {"seed: 1\n  seed: 2\n[Bob] a man\n---\n[Bob] runs\n", "story:2:3: seed is set already, in line 1"},
        {"csa-start: 1\ncsa_start: 2\n[Bob] a man\n---\n[Bob] runs\n",
         "story:2:1: csa_start is set already, in line 1"},
        {"style: Line art\nstyle_name: Comic book\n[Bob] a man\n---\n[Bob] runs\n",
         "story:2:1: style_name is set already, in line 1"},
        {"threads: 3\n[Bob] a man\n---\n[Bob] runs\n", "story:1:1: threads cannot be set in a story file"},
        {"prompt: x\n[Bob] a man\n---\n[Bob] runs\n", "story:1:1: prompt cannot be set in a story file"},
        {"[Bob] a man\n---\n[Bob runs\n", "story:3:1: "},
        {"[Bob] a man\n---\n[Bob] \xff\n", "story:3:7: "},
        {"", "story"},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(f, "story", cases[i].text);
        assert_mistake(f, "--story $F/story --output_dir $F/o", cases[i].says);
    }
    assert_mistake(f, "--story $F/missing --output_dir $F/o", "missing: cannot open it: No such file");
    assert_mistake(f, "--story $F --output_dir $F/o", "is a directory");
}

static void models_that_are_not_there_or_not_whole_are_refused(void **state)
{
    static const struct {
        const char *prepare, *words, *says;
    } cases[] = {
        {"true", "--model $F/none", "none: there is no such file or folder"},
        {"true", "--model $F", "no model_index.json there"},
        {"echo x > $F/x.safetensors", "--model $F/x.safetensors", "too few for a safetensors file"},
        {"true", "--model $F --sd_model_name SDXL", "--model and --sd_model_name exclude each other"},
        {"true", "--sd_model_name sdx", "did you mean SDXL?"},
        {"true", "--sd_model_name Dall-E", "there are SDXL, RealVision, Juggernaut and Unstable"},
        {"rm $F/m/unet/config.json", "--model $F/m", "download also unet/config.json"},
        {"rm $F/m/vae/*.safetensors", "--model $F/m", "vae/diffusion_pytorch_model.safetensors"},
        {"truncate -s 1000 $F/m/unet/*.safetensors", "--model $F/m", "unet/diffusion_pytorch_model.safetensors"},
        {"truncate -s -4 $F/m/vae/*.safetensors", "--model $F/m", "vae/diffusion_pytorch_model.safetensors"},
        {"echo '{' > $F/m/model_index.json", "--model $F/m", "model_index.json:2:1"},
        {"cp $F/m/vae/config.json $F/m/unet/", "--model $F/m", "unet/config.json"},
        {"rm $F/m/tokenizer/merges.txt", "--model $F/m", "tokenizer"},
        {"rm $F/m/scheduler/*", "--model $F/m", "scheduler_config.json"},
        {"cp $F/m/text_encoder/*.safetensors $F/m/text_encoder_2/", "--model $F/m",
         "text_encoder_2/model.safetensors"},
        {"rm -r $F/m/unet $F/m/tokenizer_2", "--model $F/m",
         "download also tokenizer_2/vocab.json, tokenizer_2/merges.txt, unet/config.json, "
         "unet/diffusion_pytorch_model.safetensors "
         "(weights"},
        {"ln -sf /nowhere $F/m/vae/diffusion_pytorch_model.safetensors", "--model $F/m",
         "vae/diffusion_pytorch_model.safetensors (there is a link that leads nowhere)"},
        {"mv $F/m/tokenizer/vocab.json $F/m/tokenizer/tokenizer.json", "--model $F/m",
         "tokenizer/vocab.json (tokenizer.json, which is there, is not read)"},
        {"mkdir -p $F/hub/models--Some--Thing-XL $F/hub/models--Other--x", "--model $F/hub",
         "a cache of models: name it with --cache_dir, and one of its models with --sd_model_name: Other/x, "
         "Some/Thing-XL"},
        {"mkdir -p $F/hub/models--Some--Thing-XL/snapshots/1; cp $F/m/model_index.json "
         "$F/hub/models--Some--Thing-XL/snapshots/1",
         "--sd_model_name Some/Thing-XL --cache_dir $F/hub", ": huggingface-cli download Some/Thing-XL --include"},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[512];
        prepare(f, "rm -rf $F/m; cp -r tests/models/default $F/m");
        prepare(f, cases[i].prepare);
        snprintf(words, sizeof words, BOB "--output_dir $F/o %s", cases[i].words);
        assert_mistake(f, words, cases[i].says);
    }
}

static void a_model_that_is_not_downloaded_comes_with_directions(void **state)
{
    static const struct {
        const char *name, *repository, *folder;
    } cases[] = {
        {"SDXL", "stabilityai/stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base-1.0"},
        {"RealVision", "SG161222/RealVisXL_V4.0", "RealVisXL_V4.0"},
        {"juggernaut", "RunDiffusion/Juggernaut-XL-v8", "Juggernaut-XL-v8"},
        {"Unstable", "stablediffusionapi/sdxl-unstable-diffusers-y", "sdxl-unstable-diffusers-y"},
        {"some/model", "some/model", "model"},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[256], from[256], to[256];
        snprintf(words, sizeof words, BOB "--output_dir $F/o --cache_dir $F/hub --sd_model_name %s", cases[i].name);
        snprintf(from, sizeof from, "get https://huggingface.co/%s,", cases[i].repository);
        snprintf(to, sizeof to, "into %s/hub/%s,", f->path, cases[i].folder);
        assert_mistake(f, words, from);
        assert_mistake(f, words, to);
    }
}

static void an_output_folder_that_cannot_be_is_told(void **state)
{
    struct folder *f = *state;
    put(f, "file", "");
    assert_mistake(f, BOB QUICK "--output_dir $F/file", "file is not a folder");
    assert_mistake(f, BOB QUICK "--output_dir $F/file/below/it", "file is not a folder");
    assert_mistake(f, BOB QUICK "--output_dir ''", "a folder needs a name");
}

/* A full disk, as far as a test can have one: no file may grow beyond 2 KB. */
static void a_full_disk_is_told_in_one_line_and_leaves_no_halves(void **state)
{
    struct folder *f = *state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){2048, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    pid_t child = program_start(f, BOB QUICK "--output_dir $F/o --no_save");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 2);
    assert_int_equal(occurrences(o.err, "storydiff: "), 1);
    assert_non_null(strstr(o.err, "o/panel-01.png: cannot write it: File too large"));
    struct listing left = listing_of(f, "o");
    assert_int_equal(left.count, 0);
    assert_null(strstr(o.err, "go on with"));
    outcome_free(&o);
    small.rlim_cur = 8192; /* enough for the state */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    child = program_start(f, BOB SMALL "--output_dir $F/saved");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    o = program_wait(f, child);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, "saved/panel-01.png: cannot write it: File too large"));
    assert_non_null(strstr(o.err, "what was done is saved; go on with:\n"));
    assert_non_null(strstr(o.err, " --resume\n"));
    outcome_free(&o);
    assert_done(f, "--output_dir $F/saved --resume");
}

/* ------------------------------------------------------------------------------------------------------- drawing */

static void draws_panels_and_prints_seed_and_folder(void **state)
{
    struct folder *f = *state;
    assert_outcome(f, BOB QUICK "--output_dir $F/o --seed 42", 0, SAYS("2 panels and 0 pages in ", "/o, seed 42"));
    struct listing l = listing_of(f, "o");
    assert_int_equal(l.count, 2);
    struct image one = picture(f, "o/panel-01.png");
    assert_int_equal(one.width, 64);
    assert_int_equal(one.height, 64);
    image_free(&one);
}

static void without_panels_it_draws_the_default_story_and_says_so(void **state)
{
    assert_outcome(*state, "--general_prompt 'a man with a black suit'" QUICK "--output_dir $F/o --sampling_steps 1",
                   0, SAYS("no panels given: drawing the default story", "6 panels"));
}

static void the_bundled_model_is_announced_as_random(void **state)
{
    assert_outcome(*state, BOB QUICK "--output_dir $F/o", 0, SAYS("note: model default: random weights"));
}

static void the_general_prompt_is_in_every_panel(void **state)
{
    assert_outcome(*state, BOB "--style_name '(No style)' --dry-run", 0,
                   SAYS("prompt:  a man, black suit, in the park\n", "prompt:  a man, black suit, at home\n"));
}

static void a_story_file_sets_options_and_the_command_line_wins(void **state)
{
    struct folder *f = *state;
    put(f, "story", two_friends);
    assert_outcome(f, "--story $F/story --dry-run", 0, SAYS("seed 11", "6 steps", "negative prompt: ", "crowd"));
    assert_outcome(f, "--story $F/story --dry-run --seed 12 --sampling-steps=7", 0, SAYS("seed 12", "7 steps"));
    put(f, "other", "sd_model_name: RealVision\n[Bob] a man\n---\n[Bob] runs\n");
    assert_outcome(f, "--story $F/other --dry-run --cache_dir $F", 2, SAYS("RealVision is not on this machine"));
    assert_outcome(f, "--story $F/other --dry-run --model tests/models/default", 0, SAYS("model default"));
}

static void a_dry_run_tells_everything_and_writes_nothing(void **state)
{
    struct folder *f = *state;
    put(f, "story", two_friends);
    assert_outcome(f, "--story $F/story --dry-run --output_dir $F/o --dump $F/d --style_name '(No style)'", 0,
                   SAYS("panel 1: id panel 1 of 2; characters: Max; ", "panel 5: id panel 2 of 2; characters: Pip; ",
                        "panel 3: story panel; characters: none; ", "panel 6: story panel; characters: Max Pip; ",
                        " tokens\n", "prompt:   a boy, green shirt  in the park ", "caption: Max goes out.",
                        "caption: on the roof", "MB to sample", "MB to decode", "MB of mapped weights",
                        "estimated time on "));
    assert_false(has(f, "o"));
    assert_false(has(f, "d"));
}

static void two_characters_and_nobody_with_any_number_of_threads(void **state)
{
    struct folder *f = *state;
    put(f, "story", two_friends);
    assert_done(f, "--story $F/story" QUICK "--comic_type four -t 1 --output_dir $F/one");
    assert_done(f, "--story $F/story" QUICK "--comic_type four -t 2 --output_dir $F/two");
    assert_done(f, "--story $F/story" QUICK "--comic_type four -t 7 --output_dir $F/seven");
    struct listing l = listing_of(f, "one");
    assert_int_equal(l.count, 6 + 2);
    assert_same_pictures(f, "one", "two");
    assert_same_pictures(f, "one", "seven");
}

static void every_sampler_draws(void **state)
{
    struct folder *f = *state;
    for (int i = 0; sampler_name_at(i) != NULL; i++) {
        char words[512], recipe[64];
        snprintf(words, sizeof words, BOB QUICK "--sampling_steps 3 --sampler %s --output_dir $F/%d",
                 sampler_name_at(i), i);
        assert_done(f, words);
        snprintf(words, sizeof words, "%d/panel-01.png", i);
        snprintf(recipe, sizeof recipe, "\"sampler\": \"%s\"", sampler_name_at(i));
        char *text = recipe_of(f, words);
        assert_non_null(strstr(text, recipe));
        free(text);
    }
    assert_true(difference(f, "0/panel-01.png", "1/panel-01.png") > 0);
}

static void consistency_changes_story_panels(void **state)
{
    struct folder *f = *state;
#define STORY BOB "-p 'on a boat' --id_length 2" QUICK
    assert_done(f, STORY "--output_dir $F/off --csa off");
    assert_done(f, STORY "--output_dir $F/masked --csa masked");
    assert_done(f, STORY "--output_dir $F/sampled --csa sampled --sa32 0.7 --sa64 0.3 --csa_start 2");
    assert_true(difference(f, "off/panel-03.png", "masked/panel-03.png") > 0);
    assert_true(difference(f, "off/panel-03.png", "sampled/panel-03.png") > 0);
    assert_true(difference(f, "masked/panel-03.png", "sampled/panel-03.png") > 0);
    assert_done(f, STORY "--output_dir $F/never --csa sampled --sa32 0 --sa64 0"); /* nobody is looked at */
    assert_int_equal(difference(f, "off/panel-03.png", "never/panel-03.png"), 0);
    assert_outcome(f, STORY "--output_dir $F/late --sampling_steps 5 --csa_start 5", 0,
                   SAYS("5 steps end before consistency starts"));
}

static void guidance_freeu_noise_and_eta_change_the_picture(void **state)
{
    static const char *const settings[] = {"", "--guidance_scale 1", "--freeu", "--noise shared", "--noise own",
                                           "--eta 1", "--seed 1", "-n red", "--height 96"};
    struct folder *f = *state;
    struct listing all[sizeof settings / sizeof *settings];
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char words[512], name[16];
        snprintf(words, sizeof words, BOB QUICK "--output_dir $F/%zu %s", i, settings[i]);
        assert_done(f, words);
        snprintf(name, sizeof name, "%zu", i);
        all[i] = listing_of(f, name);
        assert_int_equal(all[i].count, 2);
        for (size_t j = 0; j < i; j++)
            if (all[i].files[1].content == all[j].files[1].content)
                fail_msg("\"%s\" and \"%s\" draw the same", settings[i], settings[j]);
    }
}

static void shared_noise_makes_panels_of_one_prompt_the_same(void **state)
{
    struct folder *f = *state;
#define TWICE "--general_prompt bob -p runs -p runs --csa off" QUICK
    assert_done(f, TWICE "--noise shared --output_dir $F/shared");
    assert_done(f, TWICE "--noise own --output_dir $F/own");
    assert_int_equal(difference(f, "shared/panel-01.png", "shared/panel-02.png"), 0);
    assert_true(difference(f, "own/panel-01.png", "own/panel-02.png") > 0);
    assert_int_equal(difference(f, "own/panel-01.png", "shared/panel-01.png"), 0);
}

static void comic_types_have_their_pages(void **state)
{
    struct folder *f = *state;
#define FIVE "--general_prompt bob -p 1 -p 2 -p 3 -p 4 -p 5" QUICK "--sampling_steps 1 "
    assert_outcome(f, FIVE "--output_dir $F/four --comic_type four", 0,
                   SAYS("5 panels and 2 pages", "four/page-01.png"));
    assert_outcome(f, FIVE "--output_dir $F/classic --comic_type classic", 0, SAYS("5 panels and 1 page"));
    assert_outcome(f, FIVE "--output_dir $F/none --comic_type none", 0, SAYS("5 panels and 0 pages"));
    struct image page = picture(f, "classic/page-01.png");
    assert_true(page.height > page.width);
    image_free(&page);
    assert_true(has(f, "four/page-02.png"));
    assert_false(has(f, "none/page-01.png"));
}

static void each_missing_script_is_reported_once_with_a_package(void **state)
{
    /* code points that Unicode has not assigned, so no font has them */
    struct outcome o = run(*state, "--general_prompt bob -p 'x #\u2FD6' -p 'y #\u2FD7 \u0E7F' --dry-run");
    assert_int_equal(o.status, 0);
    assert_int_equal(occurrences(o.err, "no font has "), 2);
    assert_non_null(
        strstr(o.err, "(first U+2FD6, in the caption of panel 1): install fonts-noto-cjk, or give --font "));
    assert_non_null(strstr(o.err, "no font has Thai (first U+0E7F, in the caption of panel 2)"));
    outcome_free(&o);
}

static void a_caption_that_is_cut_is_announced(void **state)
{
    char words[8192] = "--general_prompt bob --dry-run --comic_type four -p 'x #";
    for (int i = 0; i < 800; i++)
        strcat(words, "and ");
    strcat(words, "'");
    words[4000] = '\0'; /* a line has limits */
    words[3999] = '\'';
    assert_outcome(*state, words, 0, SAYS("panel 1: the caption is too long for the page"));
}

static void long_prompts_go_on_or_are_cut_and_that_is_announced(void **state)
{
    struct folder *f = *state;
    char words[4096] = "--general_prompt bob --style_name '(No style)' --dry-run -p '";
    for (int i = 0; i < 200; i++)
        strcat(words, "a ");
    strcat(words, "'");
    struct outcome o = run(f, words);
    assert_int_equal(o.status, 0);
    assert_null(strstr(o.err, "cut off"));
    outcome_free(&o);
    strcat(words, " --long_prompt truncate");
    assert_outcome(f, words, 0,
                   SAYS("panel 1: the prompt has ", "are cut off; --long_prompt windows keeps them", " of them cut"));
    assert_outcome(f, BOB "--dry-run --long_prompt truncate -n \"$(yes word | head -n 90 | tr '\\n' ' ')\"", 0,
                   SAYS("the negative prompt has "));
}

static void long_prompts_are_drawn(void **state)
{
    struct folder *f = *state;
    char words[4096] = BOB QUICK "--output_dir $F/o -p '";
    for (int i = 0; i < 200; i++)
        strcat(words, "a ");
    strcat(words, "'");
    assert_done(f, words);
    assert_true(has(f, "o/panel-03.png"));
}

/* One word for three settings, any of which may be given itself; it has its price printed. Few steps keep nothing. */
static void fast_is_three_settings_at_once(void **state)
{
    struct folder *f = *state;
    const char *many = BOB "--height 64 --width 64 --comic_type none --no_save -t 1 --sampling_steps ";
    char words[512];
    assert_done(f, BOB QUICK "--output_dir $F/plain");
    assert_outcome(f, BOB QUICK "--fast --output_dir $F/fast", 0, SAYS("note: fast: 8-bit products, guidance "));
    assert_done(f, BOB QUICK "--precision int8 --guidance_interval 0-0.8 --output_dir $F/two");
    assert_same_pictures(f, "fast", "two");
    assert_true(difference(f, "plain/panel-01.png", "fast/panel-01.png") > 0);
    snprintf(words, sizeof words, "%s 26 --fast --output_dir $F/faster", many);
    assert_outcome(f, words, 0, SAYS("note: fast: 8-bit products, the inner blocks of the UNet in one step of 2, "));
    snprintf(words, sizeof words, "%s 26 --precision int8 --cache_interval 2 --guidance_interval 0-0.8 "
                                  "--output_dir $F/three", many);
    assert_done(f, words);
    assert_same_pictures(f, "faster", "three");
    snprintf(words, sizeof words, "%s 39 --fast --dry-run", many);
    assert_outcome(f, words, 0, SAYS("precision int8, cache interval 3, guidance interval 0-0.8",
                                     "kept features have "));
    assert_done(f, BOB QUICK
                "--fast --precision float32 --cache_interval 1 --guidance_interval 0-1 --output_dir $F/none");
    assert_same_pictures(f, "plain", "none");
    assert_done(f, "--from $F/faster/panel-01.png --output_dir $F/again");
    assert_same_pictures(f, "faster", "again");
    assert_outcome(f, BOB QUICK "--fast --cache_interval 2 --dry-run", 0, /* which nobody has measured */
                   SAYS("one step of 2, guidance from 0 to 0.8 of the steps. bench/RESULTS.md has"));
    assert_outcome(f, BOB QUICK "--guidance_interval 0.3-0.31 --dry-run", 0,
                   SAYS("--guidance_interval 0.3-0.31: none of 6 steps is in it, so nothing is guided"));
    assert_outcome(f, BOB QUICK "--fast --precision int8 --cache_interval 2 --guidance_interval 0-1 --dry-run", 0,
                   SAYS("--fast has no effect"));
    assert_outcome(f, BOB QUICK "--guidance_scale 1 --guidance_interval 0-0.5 --dry-run", 0,
                   SAYS("--guidance_interval has no effect"));
    assert_outcome(f, BOB QUICK "--sampling_steps 1 --cache_interval 2 --dry-run", 0,
                   SAYS("--cache_interval has no effect"));
}

static void guidance_intervals_are_checked(void **state)
{
    static const char *const wrong[] = {"''", "0.2", "0.5-0.5", "0.7-0.2", "-0.1-1", "0-1.1", "0-x", "0-0.5x", "nan-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char words[200];
        snprintf(words, sizeof words, BOB QUICK "--guidance_interval=%s --output_dir $F/o", wrong[i]);
        assert_mistake(*state, words, "FROM-TO");
    }
}

/* A few-step model's own number of steps is none for a sampler that takes many: then it is the reference's 50. */
static void steps_follow_the_sampler(void **state)
{
#define WORLD "--model storydiff/models/world -p 'a cat' --dry_run "
    assert_outcome(*state, WORLD, 0, SAYS("12 steps of lcm"));
    assert_outcome(*state, WORLD "--sampler ddim", 0, SAYS("50 steps of ddim"));
    assert_outcome(*state, WORLD "--sampler ddim --sampling_steps 7", 0, SAYS("7 steps of ddim"));
}

static void a_file_of_styles_is_used(void **state)
{
    struct folder *f = *state;
    put(f, "styles.json",
        "[{\"name\": \"Mine\", \"prompt\": \"chalk, {prompt}, dust\", \"negative_prompt\": \"ink\"}]");
    assert_outcome(f, BOB "--styles $F/styles.json --style_name mine --dry-run", 0,
                   SAYS("prompt:  chalk, a man, black suit, in the park, dust\n", "negative prompt: ink"));
}

static void fewer_id_panels_than_usual_are_announced(void **state)
{
    assert_outcome(*state, BOB "--dry-run", 0, SAYS("note: ", "id panel 2 of 2"));
}

/* -------------------------------------------------------------------------------------------------------- models */

/* The bundled model as the Hugging Face cache has them: snapshots of links to blobs, here with fp16 names. */
static void a_model_is_found_in_the_cache_of_the_hub(void **state)
{
    struct folder *f = *state;
    prepare(f, "R=$F/hub/models--SG161222--RealVisXL_V4.0; mkdir -p $R/blobs $R/refs $R/snapshots/0000 && "
               "printf abcd > $R/refs/main && (cd tests/models/default && find . -type f) | while read p; do "
               "d=$R/snapshots/abcd/$(dirname $p); n=$(basename $p .safetensors); [ $n = $(basename $p) ] || "
               "n=$n.fp16.safetensors; b=$(echo $p | tr / _); mkdir -p $d; cp tests/models/default/$p "
               "$R/blobs/$b; ln -s $R/blobs/$b $d/$n; done");
    prepare(f, "[ -h $F/hub/*/snapshots/abcd/unet/diffusion_pytorch_model.fp16.safetensors ]");
    assert_done(f, BOB QUICK "--output_dir $F/default");
    assert_done(f, BOB QUICK "--output_dir $F/named --sd_model_name RealVision --cache_dir $F/hub");
    assert_done(f, BOB QUICK "--output_dir $F/full --sd_model_name SG161222/RealVisXL_V4.0 --cache_dir $F/hub/");
    assert_int_equal(difference(f, "default/panel-02.png", "named/panel-02.png"), 0);
    assert_int_equal(difference(f, "default/panel-02.png", "full/panel-02.png"), 0);
    assert_int_equal(setenv("HF_HOME", f->path, 1), 0);
    assert_done(f, BOB QUICK "--output_dir $F/home --sd_model_name RealVision");
    unsetenv("HF_HOME");
    assert_same_pictures(f, "named", "home");

    assert_done(f, BOB QUICK "--output_dir $F/name --model SG161222/RealVisXL_V4.0 --cache_dir $F/hub");
    assert_done(f, BOB QUICK "--output_dir $F/folder --model $F/hub/models--SG161222--RealVisXL_V4.0");
    assert_int_equal(difference(f, "default/panel-02.png", "name/panel-02.png"), 0);
    assert_int_equal(difference(f, "default/panel-02.png", "folder/panel-02.png"), 0);

    /* what is gone is named at once, a link that leads nowhere among it */
    prepare(f, "rm $F/hub/*/blobs/._unet_config.json $F/hub/*/blobs/._tokenizer_2_merges.txt "
               "$F/hub/*/snapshots/abcd/vae/*.safetensors");
    assert_mistake(
        f, BOB "--output_dir $F/o --sd_model_name RealVision --cache_dir $F/hub",
        "download also tokenizer_2/merges.txt (there is a link that leads nowhere), unet/config.json (there is a "
        "link that leads nowhere), vae/diffusion_pytorch_model.safetensors");
}

/* The small model as a single file: the same pictures, with a tokenizer from each place where one may be. */
static void a_single_file_draws_what_its_folder_draws(void **state)
{
    struct folder *f = *state;
    prepare(f, "${STORYDIFF}-convert tests/models/default $F/default.safetensors");
    assert_mistake(f, BOB QUICK "--output_dir $F/o --model $F/default.safetensors --cache_dir $F/none",
                   "single files have no tokenizer in them");
    assert_done(f, BOB QUICK "--output_dir $F/d-default --model tests/models/default");
    assert_done(f, BOB QUICK "--output_dir $F/d-named --model $F/default.safetensors --tokenizer tests/models/default");
    assert_same_pictures(f, "d-default", "d-named");
    prepare(f, "mkdir $F/default; cp -r tests/models/default/tokenizer $F/default/");
    assert_done(f, BOB QUICK "--output_dir $F/d-beside --model $F/default.safetensors");
    assert_same_pictures(f, "d-default", "d-beside");
    prepare(f, "mv $F/default/tokenizer $F/tokenizer");
    assert_done(f, BOB QUICK "--output_dir $F/d-next --model $F/default.safetensors");
    assert_same_pictures(f, "d-default", "d-next");
    prepare(f, "H=$F/hub/models--openai--clip-vit-large-patch14/snapshots/1; mkdir -p $H; mv $F/tokenizer/* $H/");
    assert_done(f, BOB QUICK "--output_dir $F/d-cached --model $F/default.safetensors --cache_dir $F/hub");
    assert_same_pictures(f, "d-default", "d-cached");
    prepare(f, "truncate -s -100 $F/default.safetensors");
    assert_mistake(f, BOB QUICK "--output_dir $F/cut --model $F/default.safetensors --cache_dir $F/hub",
                   "default.safetensors: tensor");
    prepare(f, "[ ! -e $F/cut ]");
}

static void a_model_is_found_as_a_plain_folder(void **state)
{
    struct folder *f = *state;
    prepare(f, "mkdir -p $F/hub $F/stabilityai && cp -r tests/models/default $F/hub/Juggernaut-XL-v8 && "
               "cp -r tests/models/default $F/stabilityai/stable-diffusion-xl-base-1.0");
    assert_outcome(f, BOB "--dry-run --sd_model_name Juggernaut --cache_dir $F/hub", 0, SAYS("model Juggernaut, "));
    assert_outcome(f, BOB "--dry-run --sd_model_name SDXL --cache_dir $F", 0, SAYS("model SDXL, "));
}

static void the_recipe_is_in_every_picture_and_names_no_place(void **state)
{
    static const char *const wanted[] = {"\"program\": \"storydiff ", "\"model\": \"my model\"", "a man, black suit",
                                         "in the park", "\"seed\": \"77\"", "\"sampling_steps\": \"6\"",
                                         "\"width\": \"64\"", "\"guidance_scale\": \"5\"", "\"sampler\": \"ddim\"",
                                         "\"csa\": \"masked\"",
                                         "\"style_name\": \"Mine\"", "\"font\": \"DejaVuSans.ttf\""};
    static const char *const pictures[] = {"o/panel-01.png", "o/panel-02.png", "o/page-01.png"};
    struct folder *f = *state;
    prepare(f, "mkdir -p $F/private && cp -r tests/models/default \"$F/private/my model\"");
    put(f, "styles.json", "[{\"name\": \"Mine\", \"prompt\": \"{prompt}\"}]");
    assert_done(f, BOB QUICK "--comic_type four --model \"$F/private/my model/\" --seed 77 --styles $F/styles.json "
                             "--style_name Mine --font /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf "
                             "--output_dir $F/o");
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        char *text = recipe_of(f, pictures[i]);
        for (size_t j = 0; j < sizeof wanted / sizeof *wanted; j++)
            if (strstr(text, wanted[j]) == NULL)
                fail_msg("%s: the recipe has no %s:\n%s", pictures[i], wanted[j], text);
        assert_null(strchr(text, '/')); /* no path at all */
        free(text);
    }
}

/* ------------------------------------------------------------------------------------------------ earlier results */

static void results_are_kept_safe(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB QUICK "--output_dir $F/o");
    struct listing before = listing_of(f, "o");
    assert_outcome(f, BOB QUICK "--output_dir $F/o --seed 8", 2,
                   SAYS("has results already (panel-01.png ..): replace them with --overwrite"));
    struct listing after = listing_of(f, "o");
    assert_same_folder(&before, &after);
}

static void overwriting_replaces_the_results_and_nothing_else(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB QUICK "-p third --output_dir $F/o");
    put(f, "o/panel-mine.png", "drawn by hand");
    put(f, "o/panel-01.before-1.png", "an older one");
    put(f, "o/notes.txt", "buy milk");
    assert_done(f, BOB QUICK "--output_dir $F/o --overwrite --seed 8");
    assert_false(has(f, "o/panel-03.png"));
    char *text = recipe_of(f, "o/panel-01.png");
    assert_non_null(strstr(text, "\"seed\": \"8\""));
    free(text);
    struct listing l = listing_of(f, "o");
    assert_int_equal(l.count, 2 + 3);
}

static void redrawing_some_panels_draws_the_same_bytes_and_keeps_the_old(void **state)
{
    struct folder *f = *state;
#define SIX "--general_prompt 'a man'" QUICK "--comic_type four "
    assert_done(f, SIX "--output_dir $F/full");
    prepare(f, "cp -r $F/full $F/some && cp $F/some/panel-01.png $F/some/panel-03.png && "
               "echo broken > $F/some/panel-05.png && echo x > $F/some/page-01.png");
    struct listing before = listing_of(f, "some"), full = listing_of(f, "full");
    assert_outcome(f, SIX "--output_dir $F/some --only 3,5", 0, SAYS("2 panels and 2 pages"));
    struct listing after = listing_of(f, "some");
    for (int i = 0; i < full.count; i++) { /* the panels, and the pages laid anew */
        int at = listing_find(&after, full.files[i].name);
        assert_true(at >= 0);
        assert_true(after.files[at].content == full.files[i].content);
    }
    static const char *const kept[][2] = {{"panel-03.png", "panel-03.before-1.png"},
                                          {"panel-05.png", "panel-05.before-1.png"},
                                          {"page-01.png", "page-01.before-1.png"},
                                          {"page-02.png", "page-02.before-1.png"}};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        int old = listing_find(&before, kept[i][0]), now = listing_find(&after, kept[i][1]);
        assert_true(now >= 0);
        assert_true(before.files[old].content == after.files[now].content);
    }
    assert_int_equal(after.count, full.count + 4);

    assert_outcome(f, SIX "--output_dir $F/some --only 3 --seed 5", 0, SAYS("1 panel and 2 pages"));
    struct listing again = listing_of(f, "some");
    int redrawn = listing_find(&again, "panel-03.png"), second = listing_find(&again, "panel-03.before-2.png");
    assert_true(redrawn >= 0 && second >= 0);
    assert_true(again.files[redrawn].content != after.files[listing_find(&after, "panel-03.png")].content);
    assert_true(again.files[second].content == after.files[listing_find(&after, "panel-03.png")].content);
    assert_true(difference(f, "some/page-01.png", "full/page-01.png") > 0);
}

static void some_panels_alone_have_no_page(void **state)
{
    struct folder *f = *state;
    assert_outcome(f, BOB QUICK "--comic_type four --only 2 --output_dir $F/o", 0,
                   SAYS("no page", "1 panel and 0 pages"));
    assert_done(f, BOB QUICK "--comic_type four --output_dir $F/full");
    struct listing l = listing_of(f, "o"), full = listing_of(f, "full");
    assert_int_equal(l.count, 1);
    assert_true(l.files[0].content == full.files[listing_find(&full, "panel-02.png")].content);
}

/* -------------------------------------------------------------------------------------------------------- extras */

static void previews_appear(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB QUICK "--output_dir $F/o --preview_every 2");
    struct image preview = picture(f, "o/preview.png");
    assert_int_equal(preview.width, 2 * 64 / 2); /* two panels at half the size */
    assert_int_equal(preview.height, 64 / 2);
    image_free(&preview);
    assert_done(f, BOB QUICK "--output_dir $F/plain");
    assert_int_equal(difference(f, "o/panel-01.png", "plain/panel-01.png"), 0);
}

static void a_profile_says_what_took_the_time(void **state)
{
    assert_outcome(*state, BOB QUICK "--output_dir $F/o --profile", 0,
                   SAYS("linear", "convolution", "attention", "norm", "GFLOP/s", "peak resident memory"));
}

/* A column of the table, as numbers; returns how many rows there are. */
static int column(const char *out, int which, double values[4])
{
    const char *row = strstr(out, "consistency, from 0 to 1");
    int count = 0;
    assert_non_null(row);
    while ((row = strchr(row, '\n')) != NULL && *++row != '\0' && count < 4) {
        double numbers[3] = {0};
        sscanf(row + strcspn(row, "0123456789\n"), "%lf %lf %lf", &numbers[0], &numbers[1], &numbers[2]);
        values[count++] = numbers[which];
    }
    return count;
}

/* The second drawing is that of --csa off, and leaves nothing behind. */
static void consistency_is_compared_with_csa_off(void **state)
{
    struct folder *f = *state;
    double off[4], without[4], drawn[4], again[4];
    put(f, "story", two_friends);
#define FRIENDS "--story $F/story" QUICK "--csa sampled "
    assert_done(f, FRIENDS "--output_dir $F/plain --dump $F/plain-dump");
    struct outcome o = run_to(f, FRIENDS "--output_dir $F/o --dump $F/dump --consistency", 0);
    struct outcome other = run_to(f, FRIENDS "--csa off --output_dir $F/off --consistency", 0);
    struct outcome finished = run_to(f, FRIENDS "--output_dir $F/plain --resume --consistency", 0);
    assert_same_pictures(f, "o", "plain");
    prepare(f, "diff -r $F/dump $F/plain-dump");
    assert_non_null(strstr(o.out, "pairs  csa sampled      csa off\n"));
    assert_non_null(strstr(other.out, "pairs      csa off\n"));
    assert_non_null(strstr(finished.out, "already finished"));
    assert_int_equal(column(o.out, 1, drawn), 4);
    assert_int_equal(column(o.out, 2, without), 4);
    assert_int_equal(column(other.out, 1, off), 4);
    assert_int_equal(column(finished.out, 1, again), 4);
    assert_memory_equal(without, off, sizeof off);
    assert_memory_equal(drawn, again, sizeof drawn);
    for (int i = 0; i < 4; i++)
        assert_true(drawn[i] > 0 && drawn[i] <= 1 && off[i] > 0 && off[i] <= 1);
    outcome_free(&o);
    outcome_free(&other);
    outcome_free(&finished);
}

static void consistency_wants_a_character_in_two_panels(void **state)
{
    struct folder *f = *state;
    static const char *const says[] = {"consistency: nothing to compare, no character is in two panels\n", NULL};
    assert_outcome(f, "--general_prompt bob -p 1 -p '[NC] 2'" QUICK "--output_dir $F/o --consistency", 0, says);
    assert_outcome(f, "--general_prompt bob -p 1 -p '[NC] 2' --dry-run --consistency", 0, says);
    assert_outcome(f, BOB "--dry-run --consistency", 0,
                   SAYS("--consistency draws the story a second time, with csa off: about twice that time\n"));
    struct outcome o = run_to(f, BOB "--dry-run --consistency --csa off", 0);
    assert_null(strstr(o.out, "second time"));
    outcome_free(&o);
}

static void dumped_tensors_can_be_loaded(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB QUICK "--sampling_steps 2 --output_dir $F/o --dump $F/d");
    assert_true(has(f, "d/text"));
    assert_true(has(f, "d/step-001-pass-1/noise_pred.safetensors"));
    assert_true(has(f, "d/step-002-pass-1/noise_pred.safetensors"));
    assert_false(has(f, "d/step-003-pass-1"));
    glob_t files;
    assert_int_equal(glob(folder_path(f, "d/*/*.safetensors").text, 0, NULL, &files), 0);
    assert_true(files.gl_pathc > 50);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct safetensors file;
        struct error e = {0};
        if (safetensors_open(files.gl_pathv[i], &file, &e) != OK)
            fail_msg("%s", e.message);
        assert_int_equal(file.count, 1);
        safetensors_close(&file);
    }
    size_t count = files.gl_pathc;
    globfree(&files);

    assert_outcome(f, BOB QUICK "--sampling_steps 2 --output_dir $F/o2 --dump $F/d", 2, SAYS("it is not empty"));
    assert_false(has(f, "o2"));
    assert_done(f, BOB QUICK "--sampling_steps 2 --output_dir $F/o --dump $F/d --overwrite");
    assert_int_equal(glob(folder_path(f, "d/*/*.safetensors").text, 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, count);
    globfree(&files);
}

/* The number before a text, in MB. */
static double megabytes(const char *out, const char *before)
{
    const char *at = strstr(out, before);
    assert_non_null(at);
    while (at > out && strchr("0123456789.", at[-1]) != NULL)
        at--;
    return strtod(at, NULL);
}

/* Everything that a dry run predicts is touched; what comes on top is small: text states, tokenizers, pictures. */
static void peak_memory_is_reported_and_is_what_the_dry_run_says(void **state)
{
    struct folder *f = *state;
#define LARGE BOB "--height 256 --width 256 --sampling_steps 1 --comic_type none -t 2 --output_dir $F/o "
    struct outcome plan = run_to(f, LARGE "--dry-run", 0), o = run_to(f, LARGE, 0);
    if (strstr(o.out, " MB of memory besides ") == NULL) /* a system without /proc */
        assert_false(file_exists("/proc/self/status"));
    else {
        double sampling = megabytes(plan.out, " MB to sample"), decoding = megabytes(plan.out, " MB to decode");
        double predicted = fmax(sampling, decoding), found = megabytes(o.out, " MB of memory besides ");
        assert_true(decoding > sampling);
        assert_true(found > 0.95 * predicted - 0.5);
        assert_true(megabytes(o.out, " MB of mapped weights") == megabytes(plan.out, " MB of mapped weights"));
    }
    outcome_free(&plan);
    outcome_free(&o);
}

/* What the program says on a terminal of so many columns; the caller frees. NULL: a container without terminals. */
static char *on_a_terminal(const struct folder *f, const char *kind, unsigned short columns)
{
    char words[512], *shown = room(4096, 1);
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
        free(shown);
        return NULL;
    }
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    assert_int_equal(ioctl(terminal, TIOCSWINSZ, &size), 0);
    snprintf(words, sizeof words, BOB QUICK "--output_dir $F/o --overwrite 2>%s", ptsname(terminal));
    int other = open(ptsname(terminal), O_RDWR | O_NOCTTY); /* what is written stays readable while this is open */
    assert_int_equal(setenv("TERM", kind, 1), 0);
    struct outcome o = run(f, words);
    assert_int_equal(o.status, 0);
    outcome_free(&o);
    assert_int_equal(fcntl(terminal, F_SETFL, O_NONBLOCK), 0);
    shown[0] = '\0';
    for (size_t used = 0; used < 4095; used = strlen(shown)) {
        ssize_t got = read(terminal, shown + used, 4095 - used);
        if (got <= 0)
            break;
        shown[used + (size_t)got] = '\0';
    }
    close(other);
    close(terminal);
    return shown;
}

static void a_terminal_has_a_progress_line(void **state)
{
    char *shown = on_a_terminal(*state, "xterm", 80);
    if (shown == NULL)
        skip();
    assert_non_null(strstr(shown, "\rstep 6 of 6, panel 1"));
    assert_non_null(strstr(shown, "s left"));
    free(shown);
}

static void progress_is_cut_to_a_narrow_terminal(void **state)
{
    char *shown = on_a_terminal(*state, "xterm", 20);
    if (shown == NULL)
        skip();
    assert_non_null(strstr(shown, "\rstep 6 of 6, panel \033[K"));
    assert_null(strstr(shown, "s left"));
    free(shown);
}

static void a_terminal_that_knows_no_codes_gets_none(void **state)
{
    char *shown = on_a_terminal(*state, "dumb", 80);
    if (shown == NULL)
        skip();
    assert_null(strchr(shown, '\033'));
    assert_non_null(strstr(shown, "step 6 of 6"));
    free(shown);
}

static void words_of_other_programs_are_understood_where_they_mean_the_same(void **state)
{
    struct folder *f = *state;
    assert_done(f, BOB QUICK "--height 64 --width 128 --seed 9 --sampling_steps 3 --guidance_scale 2 --sampler euler_a "
                   "--output_dir $F/ours");
    assert_done(f, BOB "-H 64 -W 128 -s 9 --steps 3 --cfg-scale 2 --sampling-method 'Euler a' -o $F/theirs -t 1 "
                   "--comic_type none --no_save");
    assert_same_pictures(f, "ours", "theirs");
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"-b 4", "-b is not an option: each story is drawn once"},
        {"--clip-skip 2", "--clip-skip is not an option: "},
        {"--type q8_0", "storydiff-convert"},
        {"--scheduler karras", "dpmpp_2m_karras"},
        {"-y", "-y is not an option"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_mistake(f, cases[i].words, cases[i].says);
    assert_outcome(f, BOB "--dry_run --sampler 'DPM++ 2M Karras'", 0, SAYS("steps of dpmpp_2m_karras"));
    assert_outcome(f, BOB "--dry_run --sampler 'DPM++ 2M SDE Karras'", 0, SAYS("steps of dpmpp_2m_sde_karras"));
}

static void a_prompt_alone_is_a_picture(void **state)
{
    struct folder *f = *state;
    assert_outcome(f, "-p 'a tree' --height 64 --width 64 --sampling_steps 2 --output_dir $F/o", 0,
                   SAYS("1 panel and 0 pages", "o/panel-01.png\n"));
    struct listing l = listing_of(f, "o");
    assert_int_equal(l.count, 1);
    assert_outcome(f, "-p 'a tree' --comic_type four --height 64 --width 64 --sampling_steps 2 --output_dir $F/page", 0,
                   SAYS("1 panel and 1 page"));
}

static void all_paths_are_said(void **state)
{
    struct folder *f = *state;
    assert_outcome(f, BOB QUICK "-p 3 -p 4 -p 5 --comic_type four --output_dir $F/o", 0,
                   SAYS("o/page-01.png\n", "o/page-02.png\n"));
    assert_outcome(f, BOB QUICK "--output_dir $F/p", 0, SAYS("p/panel-01.png\n", "p/panel-02.png\n"));
}

static void any_seed_is_another_each_time_and_is_printed(void **state)
{
    struct folder *f = *state;
    unsigned long long seeds[2];
    for (int i = 0; i < 2; i++) {
        struct outcome o = run_to(f, BOB QUICK "--seed -1 --output_dir $F/any --overwrite", 0);
        const char *at = strstr(o.out, ", seed ");
        assert_non_null(at);
        assert_int_equal(sscanf(at, ", seed %llu", &seeds[i]), 1);
        outcome_free(&o);
    }
    assert_true(seeds[0] != seeds[1]);
    char words[256];
    snprintf(words, sizeof words, BOB QUICK "--seed %llu --output_dir $F/same", seeds[1]);
    assert_done(f, words);
    assert_same_pictures(f, "any", "same");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tells_its_version_and_what_it_runs_on),
        TEST(help_lists_every_option_with_its_default),
        TEST(a_descriptor_is_told_in_lines_of_json_what_is_done),
        TEST(a_picture_of_ours_is_drawn_again_from_itself),
        TEST(captions_change_without_drawing),
        TEST(dashes_and_underscores_and_equals_signs_are_the_same),
        TEST(says_when_standard_output_cannot_be_written),
        TEST(wrong_options_are_refused_in_one_line),
        TEST(numbers_have_ranges),
        TEST(what_cannot_be_drawn_is_refused_before_anything_is_written),
        TEST(an_unknown_style_lists_all),
        TEST(mistakes_in_a_story_have_line_and_column),
        TEST(models_that_are_not_there_or_not_whole_are_refused),
        TEST(a_model_that_is_not_downloaded_comes_with_directions),
        TEST(an_output_folder_that_cannot_be_is_told),
        TEST(a_full_disk_is_told_in_one_line_and_leaves_no_halves),
        TEST(draws_panels_and_prints_seed_and_folder),
        TEST(without_panels_it_draws_the_default_story_and_says_so),
        TEST(the_bundled_model_is_announced_as_random),
        TEST(the_general_prompt_is_in_every_panel),
        TEST(a_story_file_sets_options_and_the_command_line_wins),
        TEST(a_dry_run_tells_everything_and_writes_nothing),
        TEST(two_characters_and_nobody_with_any_number_of_threads),
        TEST(every_sampler_draws),
        TEST(consistency_changes_story_panels),
        TEST(guidance_freeu_noise_and_eta_change_the_picture),
        TEST(shared_noise_makes_panels_of_one_prompt_the_same),
        TEST(comic_types_have_their_pages),
        TEST(each_missing_script_is_reported_once_with_a_package),
        TEST(a_caption_that_is_cut_is_announced),
        TEST(long_prompts_go_on_or_are_cut_and_that_is_announced),
        TEST(long_prompts_are_drawn),
        TEST(fast_is_three_settings_at_once),
        TEST(guidance_intervals_are_checked),
        TEST(steps_follow_the_sampler),
        TEST(a_file_of_styles_is_used),
        TEST(fewer_id_panels_than_usual_are_announced),
        TEST(a_model_is_found_in_the_cache_of_the_hub),
        TEST(a_single_file_draws_what_its_folder_draws),
        TEST(a_model_is_found_as_a_plain_folder),
        TEST(the_recipe_is_in_every_picture_and_names_no_place),
        TEST(results_are_kept_safe),
        TEST(overwriting_replaces_the_results_and_nothing_else),
        TEST(redrawing_some_panels_draws_the_same_bytes_and_keeps_the_old),
        TEST(some_panels_alone_have_no_page),
        TEST(previews_appear),
        TEST(a_profile_says_what_took_the_time),
        TEST(consistency_is_compared_with_csa_off),
        TEST(consistency_wants_a_character_in_two_panels),
        TEST(dumped_tensors_can_be_loaded),
        TEST(peak_memory_is_reported_and_is_what_the_dry_run_says),
        TEST(a_terminal_has_a_progress_line),
        TEST(progress_is_cut_to_a_narrow_terminal),
        TEST(a_terminal_that_knows_no_codes_gets_none),
        TEST(words_of_other_programs_are_understood_where_they_mean_the_same),
        TEST(a_prompt_alone_is_a_picture),
        TEST(all_paths_are_said),
        TEST(any_seed_is_another_each_time_and_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
