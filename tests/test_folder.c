/* Runs that meet in one output folder: a panel drawn anew from another seed, a story that need not be said again, two
 * programs at once, panels of two comics. Nothing is mixed and nothing is lost without a word. */
#include "storydiff/comic/recipe_read.h"
#include "storydiff/picture/png.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#define FIVE " --general_prompt bob -p one -p two -p three -p four -p five --id_length 2 --csa sampled -t 1" SMALL

/* The largest difference of two pictures of one size. */
static int difference(const struct folder *f, const char *one, const char *other)
{
    struct image a, b;
    int most = 0;
    assert_int_equal(image_read(folder_path(f, one).text, &a, NULL), OK);
    assert_int_equal(image_read(folder_path(f, other).text, &b, NULL), OK);
    assert_true(a.width == b.width && a.height == b.height);
    for (int i = 0; i < a.width * a.height * 3; i++)
        most = abs(a.rgb[i] - b.rgb[i]) > most ? abs(a.rgb[i] - b.rgb[i]) : most;
    image_free(&a);
    image_free(&b);
    return most;
}

static struct listing drawn(const struct folder *f, const char *words)
{
    assert_done(f, words);
    return listing_of(f, "o");
}

static bool same_file(const struct listing *a, const struct listing *b, const char *name)
{
    int i = listing_find(a, name), j = listing_find(b, name);
    assert_true(i >= 0 && j >= 0);
    return a->files[i].content == b->files[j].content;
}

/* A value of a picture's recipe, freed by the caller; NULL: it is not there. */
static char *value_of(const struct folder *f, const char *name, const char *key)
{
    char *text = NULL;
    struct recipe r;
    assert_int_equal(png_read_text(folder_path(f, name).text, RECIPE_KEY, &text, NULL), OK);
    assert_non_null(text);
    assert_int_equal(recipe_parse(name, text, &r, NULL), OK);
    const char *value = recipe_value(&r, key);
    char *copy = value != NULL ? strdup(value) : NULL;
    recipe_free(&r);
    free(text);
    return copy;
}

static void assert_value(const struct folder *f, const char *name, const char *key, const char *wanted)
{
    char *found = value_of(f, name, key);
    if (wanted == NULL)
        assert_null(found);
    else
        assert_string_equal(found, wanted);
    free(found);
}

static void a_panel_drawn_anew_from_another_seed_keeps_its_characters(void **state)
{
    struct folder *f = *state;
    struct listing before = drawn(f, FIVE "--output_dir $F/o --seed 3 --comic_type four");
    struct listing after = drawn(f, "--output_dir $F/o --only 5 --seed 99");
    static const char *const kept[] = {"o/panel-01.png", "o/panel-02.png", "o/panel-03.png", "o/panel-04.png"};
    for (int i = 0; i < 4; i++) {
        assert_true(same_file(&before, &after, kept[i] + 2));
        assert_value(f, kept[i], "seed", "3");
        assert_value(f, kept[i], "panel_seed", NULL);
    }
    assert_false(same_file(&before, &after, "panel-05.png"));
    assert_value(f, "o/panel-05.png", "seed", "3");
    assert_value(f, "o/panel-05.png", "panel_seed", "99");
    assert_value(f, "o/page-02.png", "panel_seeds", "5: 99");
    struct listing again = drawn(f, "--output_dir $F/o --only 3,5"); /* no seed: each its own, the same bytes */
    assert_true(same_file(&after, &again, "panel-05.png"));
    assert_true(same_file(&before, &again, "panel-03.png"));
    struct listing back = drawn(f, "--output_dir $F/o --only 5 --seed 3");
    assert_true(same_file(&before, &back, "panel-05.png"));
    assert_true(same_file(&before, &back, "page-01.png"));
}

/* Drawn in a story of its own, the panel's noise from the new seed is what the whole story's would be. */
static void a_new_seed_is_the_noise_of_a_story_with_that_seed(void **state)
{
    struct folder *f = *state;
    assert_done(f, FIVE "--csa off --output_dir $F/o --seed 3");
    assert_done(f, FIVE "--csa off --output_dir $F/other --seed 99");
    assert_done(f, "--output_dir $F/o --only 4 --seed 99");
    assert_int_equal(difference(f, "o/panel-04.png", "other/panel-04.png"), 0);
    assert_true(difference(f, "o/panel-03.png", "other/panel-03.png") > 0);
}

static void a_redrawn_id_panel_names_the_panels_that_looked_at_it(void **state)
{
    struct folder *f = *state;
    assert_done(f, FIVE "--output_dir $F/o --comic_type four");
    assert_outcome(f, "--output_dir $F/o --only 1 --seed 8", 0, SAYS("--only 2, 3, 4, 5"));
}

static void going_on_needs_no_story(void **state)
{
    struct folder *f = *state;
    static const char story[] = "seed: 12\nstyle: Line art\n[Bob] a man\n[Eve] a woman # tall\n---\n[Bob] runs #Away!\n"
                                "[Eve] sits\n[Bob] and [Eve] talk\n[NC] an empty street\n";
#define TOLD "--story $F/story --height 256 --width 256 --sampling_steps 6 --comic_type none -t 1 "
    write_bytes(folder_path(f, "story").text, story, strlen(story));
    assert_done(f, TOLD "--output_dir $F/whole");
    pid_t child = program_start(f, TOLD "--output_dir $F/o");
    for (int i = 0; i < 2000 && !has(f, "o/unfinished.safetensors"); i++)
        usleep(5000);
    kill(child, SIGKILL);
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 128 + SIGKILL);
    outcome_free(&o);
    assert_outcome(f, "--output_dir $F/o --resume --seed 13", 2, SAYS("another seed"));
    assert_done(f, "--output_dir $F/o --resume");
    assert_same_pictures(f, "o", "whole");
    prepare(f, "rm $F/o/panel-03.png");
    assert_done(f, "--output_dir $F/o --only 3");
    assert_same_pictures(f, "o", "whole");
    assert_outcome(f, "--output_dir $F/none --resume", 2, SAYS("no unfinished run"));
    assert_outcome(f, "--output_dir $F/o", 2, SAYS("nothing to draw"));
}

static void panels_of_two_comics_are_not_mixed_on_a_page(void **state)
{
    struct folder *f = *state;
    struct listing before = drawn(f, FIVE "--output_dir $F/o --comic_type four");
    assert_outcome(f, FIVE "--general_prompt eve --output_dir $F/o --comic_type four --only 2", 2,
                   SAYS("another story"));
    assert_outcome(f, FIVE "--style_name Photographic --output_dir $F/o --comic_type four --only 2", 2,
                   SAYS("another style_name"));
    struct listing after = listing_of(f, "o");
    assert_same_folder(&before, &after);
    /* Another line for the panel that is drawn anew is no other comic. */
    assert_done(f, " --general_prompt bob -p one -p two -p three -p six -p five --id_length 2 --csa sampled -t 1" SMALL
                   "--output_dir $F/o --comic_type four --only 4");
    assert_true(difference(f, "o/panel-04.png", "o/panel-04.before-1.png") > 0);
}

/* A panel that was redrawn from another seed is as finished as the others. */
static void going_on_after_a_panel_was_drawn_anew(void **state)
{
    struct folder *f = *state;
    assert_done(f, FIVE "--output_dir $F/o");
    assert_done(f, "--output_dir $F/o --only 5 --seed 99");
    assert_outcome(f, "--output_dir $F/o --resume", 0, SAYS("already finished"));
    assert_outcome(f, "--output_dir $F/o --resume --seed 13", 2, SAYS("another seed"));
}

/* A kept panel that another program has made smaller, or that is no picture, is named with what is the matter. */
static void a_kept_panel_that_does_not_fit_is_named(void **state)
{
    struct folder *f = *state;
    struct image small = {0};
    assert_done(f, FIVE "--output_dir $F/o --comic_type four");
    assert_int_equal(image_new(32, 64, &small, NULL), OK);
    assert_int_equal(png_write(folder_path(f, "o/panel-02.png").text, &small, NULL, 0, NULL), OK);
    image_free(&small);
    assert_outcome(f, FIVE "--output_dir $F/o --comic_type four --only 5", 0,
                   SAYS("1 panel and 0 pages", "panel-02.png has 32 x 64 px, not 64 x 64: draw it with --only 2"));
    assert_outcome(f, FIVE "--output_dir $F/o --comic_type four --pages_only", 2, SAYS("panel-02.png has 32 x 64 px"));
    write_bytes(folder_path(f, "o/panel-02.png").text, "GIF89a", 6);
    assert_outcome(f, FIVE "--output_dir $F/o --comic_type four --only 5", 2, SAYS("panel-02.png"));
    prepare(f, "rm $F/o/panel-02.png");
    assert_outcome(f, FIVE "--output_dir $F/o --comic_type four --pages_only", 2, SAYS("panel-02.png is not there"));
}

static void two_runs_do_not_draw_into_one_folder(void **state)
{
    struct folder *f = *state;
    pid_t first = program_start(f, FIVE "--height 256 --width 256 --output_dir $F/o");
    for (int i = 0; i < 1000 && !has(f, "o/unfinished.safetensors"); i++)
        usleep(10000);
    char says[64];
    snprintf(says, sizeof says, "another storydiff (process %ld) draws into", (long)first);
    char command[512];
    snprintf(command, sizeof command, "'%s' " FIVE "--height 256 --width 256 --output_dir $F/o --resume 2>$F/second",
             program());
    assert_int_not_equal(system(command), 0);
    size_t size;
    char *said = read_bytes(folder_path(f, "second").text, &size);
    assert_non_null(strstr(said, says));
    free(said);
    struct outcome o = program_wait(f, first);
    assert_int_equal(o.status, 0);
    outcome_free(&o);
    assert_false(has(f, "o/drawing.lock"));
}

/* What it was told is on the disk before anything else happens; the old results are there until the new ones come. */
static void an_overwriting_run_killed_before_its_first_state_goes_on(void **state)
{
    struct folder *f = *state;
    assert_done(f, FIVE "--output_dir $F/whole --seed 11");
    assert_done(f, FIVE "--output_dir $F/o --seed 5");
    assert_outcome(f, FIVE "--output_dir $F/o --seed 11 --resume", 2, SAYS("another seed"));
    pid_t child = program_start(f, FIVE "--output_dir $F/o --seed 11 --overwrite");
    while (!has(f, "o/drawing.lock"))
        usleep(100);
    for (size_t size = 0; size == 0;) { /* until it has written what it begins */
        free(read_bytes(folder_path(f, "o/drawing.lock").text, &size));
    }
    kill(child, SIGKILL);
    struct outcome o = program_wait(f, child);
    outcome_free(&o);
    assert_done(f, FIVE "--output_dir $F/o --seed 11 --resume");
    assert_same_pictures(f, "o", "whole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_panel_drawn_anew_from_another_seed_keeps_its_characters),
        TEST(a_new_seed_is_the_noise_of_a_story_with_that_seed),
        TEST(a_redrawn_id_panel_names_the_panels_that_looked_at_it),
        TEST(going_on_needs_no_story),
        TEST(going_on_after_a_panel_was_drawn_anew),
        TEST(a_kept_panel_that_does_not_fit_is_named),
        TEST(panels_of_two_comics_are_not_mixed_on_a_page),
        TEST(two_runs_do_not_draw_into_one_folder),
        TEST(an_overwriting_run_killed_before_its_first_state_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
