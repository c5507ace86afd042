/* The consistency figure, from its definition: pictures whose agreement is known by construction. */
#include "storydiff/comic/consistency.h"
#include "tests/check.h"

static const struct color white = {255, 255, 255}, black = {0, 0, 0}, red = {220, 30, 30}, blue = {30, 30, 220},
                          green = {20, 180, 30}, yellow = {250, 220, 20};

enum { WIDTH = 64, HEIGHT = 48 };
static const double rounding = 1e-12;

static struct image flat(struct color color)
{
    struct image image;
    assert_int_equal(image_new(WIDTH, HEIGHT, &image, NULL), OK);
    image_fill(&image, (struct rect){0, 0, WIDTH, HEIGHT}, color);
    return image;
}

/* Every row of another grey, dark in one half of them and light in the other. */
static struct image grey_rows(int seed)
{
    struct image image = flat(black);
    for (int y = 0; y < HEIGHT; y++) {
        uint8_t grey = (uint8_t)((y * 37 + seed * 91) % 256);
        image_fill(&image, (struct rect){0, y, WIDTH, 1}, (struct color){grey, grey, grey});
    }
    return image;
}

static struct image noise(int width, int height, uint32_t seed)
{
    struct image image;
    assert_int_equal(image_new(width, height, &image, NULL), OK);
    for (int i = 0; i < width * height * 3; i++) {
        seed = seed * 1664525u + 1013904223u;
        image.rgb[i] = (uint8_t)(seed >> 24);
    }
    return image;
}

/* Gives the image back. */
static struct palette palette_and_free(struct image image)
{
    struct palette palette = palette_of(&image);
    image_free(&image);
    return palette;
}

static struct palette figure_on(struct image background, struct rect area, struct color color)
{
    image_fill(&background, area, color);
    return palette_and_free(background);
}

static const struct rect body = {24, 8, 16, 36}; /* between the edges, which are 8 columns wide */

/* ------------------------------------------------------------------------------------------------------- palette */

/* The weight of a bin for a coordinate: a tent of the bins' distance. */
static double tent(double position, int bins, int bin)
{
    return fmax(0, 1 - fabs(position * (bins - 1) - bin));
}

static void add_slowly(double *sums, const struct image *image, int first, int last)
{
    for (int y = 0; y < image->height; y++)
        for (int x = first; x < last; x++) {
            const uint8_t *p = image->rgb + (y * image->width + x) * 3;
            double rg = (p[0] - p[1] + 255) / 510., by = (2 * p[2] - p[0] - p[1] + 510) / 1020.,
                   wb = (p[0] + p[1] + p[2]) / 765.;
            for (int i = 0; i < PALETTE_BINS; i++)
                sums[i] += tent(rg, PALETTE_RG, i / PALETTE_WB / PALETTE_BY) *
                           tent(by, PALETTE_BY, i / PALETTE_WB % PALETTE_BY) * tent(wb, PALETTE_WB, i % PALETTE_WB) /
                           image->height;
        }
}

static void a_palette_is_what_the_middle_has_more_of_than_the_edges(void **state)
{
    (void)state;
    static const int sizes[][2] = {{16, 12}, {19, 7}, {8, 8}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int width = sizes[s][0], edge = width / 8;
        struct image image = noise(width, sizes[s][1], (uint32_t)s);
        double middle[PALETTE_BINS] = {0}, edges[PALETTE_BINS] = {0}, sum = 0;
        add_slowly(middle, &image, edge, width - edge);
        add_slowly(edges, &image, 0, edge);
        add_slowly(edges, &image, width - edge, width);
        for (int i = 0; i < PALETTE_BINS; i++) {
            middle[i] = fmax(0, middle[i] / (width - 2 * edge) - edges[i] / (2 * edge));
            sum += middle[i];
        }
        struct palette palette = palette_and_free(image);
        for (int i = 0; i < PALETTE_BINS; i++)
            assert_true(fabs(palette.share[i] - middle[i] / sum) < rounding);
    }
}

static void pictures_agree_fully_with_themselves_and_with_others_both_ways(void **state)
{
    (void)state;
    struct palette a = palette_and_free(noise(40, 30, 1)), b = palette_and_free(noise(50, 20, 2));
    assert_true(fabs(palette_agreement(&a, &a, 1) - 1) < rounding);
    double agreement = palette_agreement(&a, &b, 1);
    assert_true(agreement == palette_agreement(&b, &a, 1));
    assert_true(agreement > 0 && agreement < 1);
}

static void colours_that_are_not_alike_do_not_agree(void **state)
{
    (void)state;
    struct palette a = figure_on(flat(white), body, red), b = figure_on(flat(white), body, blue);
    assert_true(palette_agreement(&a, &b, 1) < rounding);
}

static void a_background_of_rows_drops_out_whatever_its_colours(void **state)
{
    (void)state;
    struct palette plain = figure_on(flat(white), body, red);
    for (int seed = 1; seed < 6; seed++) {
        struct palette rows = figure_on(grey_rows(seed), body, red);
        assert_true(fabs(palette_agreement(&plain, &rows, 1) - 1) < rounding);
        struct palette other = figure_on(grey_rows(seed), body, blue);
        assert_true(palette_agreement(&rows, &other, 1) < rounding);
    }
}

/* Size and place of a figure are not its colours. */
static void a_smaller_figure_elsewhere_in_the_middle_agrees_fully(void **state)
{
    (void)state;
    struct palette large = figure_on(flat(white), body, red);
    struct palette small = figure_on(flat(black), (struct rect){10, 30, 9, 7}, red);
    assert_true(fabs(palette_agreement(&large, &small, 1) - 1) < rounding);
}

/* F = (figure red + thing green) / (figure + thing): what agrees is the red part. */
static void a_thing_beside_the_figure_counts_by_its_size(void **state)
{
    (void)state;
    struct palette alone = figure_on(flat(white), body, red);
    const struct rect thing = {44, 8, 6, 10};
    struct image image = flat(black);
    image_fill(&image, thing, green);
    struct palette beside = figure_on(image, body, red);
    double figure = body.width * body.height, both = figure + thing.width * thing.height;
    assert_true(fabs(palette_agreement(&alone, &beside, 1) - figure / both) < rounding);
}

/* Greys d apart between two bins of wb = (r + g + b) / 765, in steps of 1/7: 1 - 7 * 3 d / 765. */
static void a_slightly_other_shade_agrees_slightly_less(void **state)
{
    (void)state;
    struct palette first = figure_on(flat(white), body, (struct color){110, 110, 110});
    for (int d = 0; d <= 30; d += 5) {
        uint8_t grey = (uint8_t)(110 + d);
        struct palette other = figure_on(flat(white), body, (struct color){grey, grey, grey});
        assert_true(fabs(palette_agreement(&first, &other, 1) - (1 - 7 * 3 * d / 765.)) < rounding);
    }
}

static void a_picture_in_which_nothing_stands_out_is_compared_as_a_whole(void **state)
{
    (void)state;
    struct palette a = palette_and_free(flat(red)), b = palette_and_free(flat(red)), c = palette_and_free(flat(blue));
    assert_true(fabs(palette_agreement(&a, &b, 1) - 1) < rounding);
    assert_true(palette_agreement(&a, &c, 1) < rounding);
    struct palette rows = palette_and_free(grey_rows(1));
    assert_true(fabs(palette_agreement(&rows, &rows, 1) - 1) < rounding);
    for (int width = 1; width < 8; width++) { /* no edges at all */
        struct palette narrow = palette_and_free(noise(width, 5, 3));
        assert_true(fabs(palette_agreement(&narrow, &narrow, 1) - 1) < rounding);
    }
}

static void every_colour_has_its_place(void **state)
{
    (void)state;
    for (int corner = 0; corner < 8; corner++) { /* where the axes end */
        struct color color = {corner & 1 ? 255 : 0, corner & 2 ? 255 : 0, corner & 4 ? 255 : 0};
        struct palette palette = palette_and_free(flat(color));
        double sum = 0;
        for (int i = 0; i < PALETTE_BINS; i++)
            sum += palette.share[i];
        assert_true(fabs(sum - 1) < rounding);
    }
}

/* Two characters of one size in a panel: each finds all of its colours there, a third one none. */
static void a_panel_of_two_characters_agrees_with_either(void **state)
{
    (void)state;
    struct image image = grey_rows(2);
    image_fill(&image, (struct rect){12, 10, 12, 30}, red);
    struct palette both = figure_on(image, (struct rect){36, 5, 12, 30}, yellow);
    struct palette one = figure_on(flat(white), body, red), two = figure_on(flat(black), body, yellow),
                   third = figure_on(flat(white), body, blue);
    assert_true(fabs(palette_agreement(&one, &both, 2) - 1) < rounding);
    assert_true(fabs(palette_agreement(&two, &both, 2) - 1) < rounding);
    assert_true(palette_agreement(&third, &both, 2) < rounding);
    assert_true(fabs(palette_agreement(&one, &both, 1) - 0.5) < rounding);
}

/* A person in a place whose things stand beside it, some in the person's own colours. */
static struct palette person(struct color hair, struct color top, struct color legs, int place)
{
    struct image image = flat(place == 0 ? (struct color){140, 200, 240} : (struct color){240, 220, 170});
    image_fill(&image, (struct rect){0, 32, WIDTH, 16}, place == 0 ? green : (struct color){120, 80, 50});
    image_fill(&image, (struct rect){44, 4, 8, 8}, place == 0 ? yellow : blue);
    image_fill(&image, (struct rect){2, 10, 16, 18}, place == 0 ? (struct color){20, 90, 40} : white);
    image_fill(&image, (struct rect){26, 4, 12, 10}, hair);
    image_fill(&image, (struct rect){22, 14, 20, 16}, top);
    image_fill(&image, (struct rect){25, 30, 14, 16}, legs);
    return palette_and_free(image);
}

static void a_person_is_more_like_itself_elsewhere_than_like_another_in_its_place(void **state)
{
    (void)state;
    const struct color pink = {240, 110, 170}, orange = {245, 135, 30}, purple = {135, 60, 180};
    struct palette here = person(black, red, blue, 0), there = person(black, red, blue, 1),
                   other_here = person(orange, pink, purple, 0), other_there = person(orange, pink, purple, 1);
    double same = fmin(palette_agreement(&here, &there, 1), palette_agreement(&other_here, &other_there, 1));
    double different = fmax(palette_agreement(&here, &other_here, 1), palette_agreement(&there, &other_there, 1));
    assert_true(same > different + 0.3);
}

/* --------------------------------------------------------------------------------------------------------- story */

static struct story_plan plan_of(const char *characters, const char *const *panels, size_t count, int id_length)
{
    struct story story;
    struct story_plan plan;
    struct error e = {0};
    if (story_from_prompts(characters, panels, count, &story, &e) != OK ||
        story_plan_make(&story, id_length, &plan, &e) != OK)
        fail_msg("%s", e.message);
    story_free(&story);
    return plan;
}

static void check_row(const struct consistency *found, enum consistency_row row, int pairs, double mean)
{
    assert_int_equal(found->rows[row].pairs, pairs);
    assert_true(fabs(found->rows[row].mean - mean) < rounding);
}

static void pairs_are_those_that_should_look_alike(void **state)
{
    (void)state;
    const char *const panels[] = {"[Ann] 1", "[Bob] 2", "[NC] 3", "[Bob] 4", "[Ann] 5", "[Ann] 6", "[Ann] [Bob] 7"};
    struct story_plan plan = plan_of("[Ann] a woman\n[Bob] a man", panels, 7, 2);
    struct palette palettes[7] = {{{0}}};
    palettes[0].share[1] = 1;                                 /* Ann, id */
    palettes[4].share[1] = 0.75, palettes[4].share[7] = 0.25; /* Ann, id */
    palettes[1].share[2] = 1;                                 /* Bob, id */
    palettes[3].share[2] = 1;                                 /* Bob, id */
    palettes[5].share[1] = 0.5, palettes[5].share[2] = 0.5;   /* Ann */
    palettes[6].share[1] = 0.5, palettes[6].share[2] = 0.5;   /* both */
    palettes[2].share[1] = 1;                                 /* nobody, though in Ann's colour */
    struct consistency found = consistency_of(&plan, palettes);
    check_row(&found, CONSISTENCY_ID_PANELS, 2, (0.75 + 1) / 2);
    check_row(&found, CONSISTENCY_STORY_PANELS, 6, (0.5 + 0.5 + 1 + 0.75 + 1 + 1) / 6);
    check_row(&found, CONSISTENCY_ALL, 8, (1.75 + 4.75) / 8);
    check_row(&found, CONSISTENCY_DIFFERENT, 4, 0);
    struct consistency counted = consistency_of(&plan, NULL);
    for (int i = 0; i < CONSISTENCY_ROWS; i++)
        check_row(&counted, (enum consistency_row)i, found.rows[i].pairs, 0);
    story_plan_free(&plan);
}

static void a_character_in_one_panel_only_has_no_pair(void **state)
{
    (void)state;
    const char *const panels[] = {"[Ann] 1", "[Bob] 2", "[NC] 3"};
    struct story_plan plan = plan_of("[Ann] a woman\n[Bob] a man", panels, 3, STORY_ID_LENGTH_AUTO);
    struct consistency found = consistency_of(&plan, NULL);
    assert_int_equal(found.rows[CONSISTENCY_ALL].pairs, 0);
    assert_int_equal(found.rows[CONSISTENCY_DIFFERENT].pairs, 1);
    story_plan_free(&plan);
}

static void the_table_has_the_rows_and_columns_that_there_are(void **state)
{
    (void)state;
    struct consistency drawn = {{{6, 0.5}, {0, 0}, {6, 0.5}, {3, 0.25}}},
                       without = {{{6, 0.125}, {0, 0}, {6, 0.125}, {3, 0}}};
    struct text out = {0};
    consistency_append(&out, "masked", &drawn, &without);
    assert_string_equal(out.data, "consistency, from 0 to 1       pairs   csa masked      csa off\n"
                                  "id panels among themselves         6        0.500        0.125\n"
                                  "all of these                       6        0.500        0.125\n"
                                  "different characters               3        0.250        0.000\n");
    text_free(&out);
    consistency_append(&out, "off", &without, NULL);
    assert_string_equal(out.data, "consistency, from 0 to 1       pairs      csa off\n"
                                  "id panels among themselves         6        0.125\n"
                                  "all of these                       6        0.125\n"
                                  "different characters               3        0.000\n");
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_palette_is_what_the_middle_has_more_of_than_the_edges),
        cmocka_unit_test(pictures_agree_fully_with_themselves_and_with_others_both_ways),
        cmocka_unit_test(colours_that_are_not_alike_do_not_agree),
        cmocka_unit_test(a_background_of_rows_drops_out_whatever_its_colours),
        cmocka_unit_test(a_smaller_figure_elsewhere_in_the_middle_agrees_fully),
        cmocka_unit_test(a_thing_beside_the_figure_counts_by_its_size),
        cmocka_unit_test(a_slightly_other_shade_agrees_slightly_less),
        cmocka_unit_test(a_picture_in_which_nothing_stands_out_is_compared_as_a_whole),
        cmocka_unit_test(every_colour_has_its_place),
        cmocka_unit_test(a_panel_of_two_characters_agrees_with_either),
        cmocka_unit_test(a_person_is_more_like_itself_elsewhere_than_like_another_in_its_place),
        cmocka_unit_test(pairs_are_those_that_should_look_alike),
        cmocka_unit_test(a_character_in_one_panel_only_has_no_pair),
        cmocka_unit_test(the_table_has_the_rows_and_columns_that_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
