/* Pages: panels neither overlap nor leave the page, pictures are whole, captions are inside, all of it repeatable. */
#include "storydiff/page/page.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 12 };

static const char *const CAPTIONS[MOST] = {
    "Bob wakes up.",
    "He looks out of the window and sees that a dragon has landed in the garden, in the middle of the roses.",
    "", NULL, "“Good morning!”", "Größe, Ελλάδα, Москва", "Rindfleischetikettierungsüberwachungsaufgabe",
    "A walk.", "   ", "And so they flew away, over the hills and the sea, to where no newspaper is ever delivered.",
    "Home.", "The end.",
};
static const int SIZES[][2] = {{64, 64}, {128, 128}, {768, 768}, {384, 512}, {1024, 576}, {320, 64}, {100, 799}};
enum { SIZE_COUNT = sizeof SIZES / sizeof SIZES[0] };

static int open_font(void **state)
{
    *state = NULL;
    struct font *font;
    if (font_open(NULL, &font, NULL) == OK)
        *state = font;
    return 0;
}

static int close_font(void **state)
{
    font_close(*state);
    return 0;
}

static const struct font *font_of(void **state)
{
    if (*state == NULL) {
        print_message("no font is installed (fonts-dejavu-core): ");
        skip();
    }
    return *state;
}

static struct page_plan laid_out(const struct page_story *story)
{
    struct page_plan plan;
    struct error e = {0};
    page_layout(story, &plan, &e);
    assert_string_equal(e.message, "");
    return plan;
}

static bool is_inside(struct rect a, struct rect b)
{
    return a.x >= b.x && a.y >= b.y && a.x + a.width <= b.x + b.width && a.y + a.height <= b.y + b.height;
}

static bool overlap(struct rect a, struct rect b)
{
    return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

static struct rect grown(struct rect r, int by)
{
    return (struct rect){r.x - by, r.y - by, r.width + 2 * by, r.height + 2 * by};
}

/* Calls check for each kind, size and number of panels. */
static void for_all(const struct font *font, void (*check)(const struct page_story *, const struct page_plan *))
{
    for (int kind = 0; kind < PAGE_KINDS; kind++)
        for (int size = 0; size < SIZE_COUNT; size++)
            for (int count = 1; count <= MOST; count++) {
                const int *side = SIZES[size];
                const struct page_story story = {
                    (enum page_kind)kind, count, side[0], side[1], CAPTIONS, font, NULL, NULL};
                struct page_plan plan = laid_out(&story);
                check(&story, &plan);
                page_plan_free(&plan);
            }
}

static void check_disjoint(const struct page_story *story, const struct page_plan *plan)
{
    for (int64_t i = 0; i < story->count; i++) {
        const struct page_panel *p = &plan->panels[i];
        assert_in_range(p->page, 0, plan->page_count - 1);
        const struct page_size *page = &plan->pages[p->page];
        assert_true(is_inside(grown(p->frame, 2 * plan->border), (struct rect){0, 0, page->width, page->height}));
        assert_true(is_inside(grown(p->picture, plan->border), p->frame));
        assert_true(p->picture.width > 0 && p->picture.height > 0);
        for (int64_t j = 0; j < i; j++)
            assert_false(p->page == plan->panels[j].page &&
                         overlap(grown(p->frame, plan->border), plan->panels[j].frame));
    }
}

static void panels_lie_on_their_page_and_apart(void **state)
{
    for_all(font_of(state), check_disjoint);
}

static void check_shape(const struct page_story *story, const struct page_plan *plan)
{
    for (int64_t i = 0; i < story->count; i++) {
        const struct rect *p = &plan->panels[i].picture;
        const double ratio = (double)story->width / story->height;
        assert_true(p->width + 2 >= p->height * ratio - 2 * ratio && p->width - 2 <= p->height * ratio + 2 * ratio);
    }
}

static void pictures_keep_their_shape(void **state)
{
    for_all(font_of(state), check_shape);
}

/* Every row of pixels is covered by panels from margin to margin but for up to two gutters, or, between two stacked
 * panels, by the large one beside them; or it lies in a margin or a gutter, none wider than a margin. */
static void check_filled(const struct page_story *story, const struct page_plan *plan)
{
    int left = INT32_MAX, right = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const struct rect *f = &plan->panels[i].frame;
        left = f->x < left ? f->x : left;
        right = f->x + f->width > right ? f->x + f->width : right;
    }
    assert_int_equal(plan->pages[0].width - right, left);
    const int content = right - left, gutters = left * 4 / 3 + 2; /* a margin is a gutter and a half */
    for (int page = 0; page < plan->page_count; page++) {
        int empty = 0;
        for (int y = 0; y < plan->pages[page].height; y++) {
            int covered = 0, crossed = 0;
            for (int64_t i = 0; i < plan->count; i++) {
                const struct rect *f = &plan->panels[i].frame;
                const bool crosses = plan->panels[i].page == page && y >= f->y && y < f->y + f->height;
                covered += crosses ? f->width : 0;
                crossed += crosses;
            }
            const bool in_the_middle = story->kind == PAGE_FOUR && crossed == 1;
            const bool beside_stack = story->kind == PAGE_CLASSIC && crossed == 1 && covered * 2 > content;
            empty = crossed == 0 ? empty + 1 : 0;
            assert_true(empty <= left);
            assert_true(crossed == 0 || covered + gutters >= content || beside_stack || in_the_middle);
        }
    }
}

static void pages_are_filled_from_margin_to_margin(void **state)
{
    for_all(font_of(state), check_filled);
}

static int drawn_short_side(const struct page_story *story)
{
    const int side = story->width < story->height ? story->width : story->height;
    int drawn = side;
    while (drawn < 384)
        drawn += side;
    return drawn;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* Margins and gutters as page.h has them: on every page the frames begin a margin from all four edges; whatever lies
 * beside or below a frame does so after exactly one gutter. */
static void check_distances(const struct page_story *story, const struct page_plan *plan)
{
    const int side = drawn_short_side(story), gutter = side / 24, margin = side / 24 * 3 / 2;
    assert_int_equal(plan->border, side / 128);
    for (int page = 0; page < plan->page_count; page++) {
        struct rect all = {INT32_MAX, INT32_MAX, 0, 0};
        int right = 0, bottom = 0;
        for (int64_t i = 0; i < plan->count; i++) {
            struct rect f = plan->panels[i].frame;
            if (plan->panels[i].page != page)
                continue;
            for (int64_t j = 0; j < plan->count; j++) { /* one without a caption ends with its row's bars */
                const struct page_panel *o = &plan->panels[j];
                if (o->page == page && o->frame.y == f.y && o->place == PLACE_BELOW)
                    f.height = larger(f.height, o->frame.height);
            }
            all.x = f.x < all.x ? f.x : all.x;
            all.y = f.y < all.y ? f.y : all.y;
            right = larger(right, f.x + f.width);
            bottom = larger(bottom, f.y + f.height);
            int below = INT32_MAX, beside = INT32_MAX; /* the distance to the nearest frame there, if any */
            for (int64_t j = 0; j < plan->count; j++) {
                const struct rect o = plan->panels[j].frame;
                if (plan->panels[j].page != page)
                    continue;
                const bool same_rows = o.y < f.y + f.height && f.y < o.y + o.height;
                const bool same_columns = o.x < f.x + f.width && f.x < o.x + o.width;
                if (same_rows && o.x >= f.x + f.width && o.x - f.x - f.width < beside)
                    beside = o.x - f.x - f.width;
                if (same_columns && o.y >= f.y + f.height && o.y - f.y - f.height < below)
                    below = o.y - f.y - f.height;
            }
            assert_true(below == INT32_MAX || below == gutter);
            assert_true(beside == INT32_MAX || beside == gutter);
        }
        const bool lone = story->kind == PAGE_FOUR && plan->count > 1 && plan->count == page * 4 + 1;
        assert_int_equal(all.y, margin);
        if (lone)
            assert_in_range(plan->pages[page].width - right - all.x + 1, 0, 2);
        else
            assert_int_equal(all.x, margin);
        if (!lone)
            assert_int_equal(plan->pages[page].width - right, margin);
        assert_int_equal(plan->pages[page].height - bottom, margin);
    }
}

static void gutters_and_margins_are_measured_by_the_panels(void **state)
{
    for_all(font_of(state), check_distances);
}

/* Whether a caption, set anew in letters of one size, is higher than a quarter of its picture. */
static bool crowds(const struct page_story *story, const struct page_plan *plan, int64_t i, int text_size)
{
    struct lettering l;
    const struct rect *picture = &plan->panels[i].picture;
    if (story->captions[i] == NULL)
        return false;
    assert_int_equal(
        lettering_set(story->font, story->captions[i], text_size, picture->width - text_size / 2 * 2, &l, NULL), OK);
    const bool result = l.height * 4 > picture->height;
    lettering_free(&l);
    return result;
}

static void check_text_size(const struct page_story *story, const struct page_plan *plan)
{
    const int side = drawn_short_side(story), largest = larger(side / 24, 14), smallest = larger(side / 36, 14);
    bool one_larger_crowds = plan->text_size == largest;
    for (int64_t i = 0; i < plan->count; i++) {
        assert_true(plan->text_size == smallest || !crowds(story, plan, i, plan->text_size));
        one_larger_crowds = one_larger_crowds || crowds(story, plan, i, plan->text_size + 1);
    }
    assert_true(one_larger_crowds);
    assert_in_range(plan->text_size, smallest, largest);
    assert_int_equal(plan->padding, plan->text_size / 2);
}

static void letters_are_as_large_as_no_caption_crowds_its_picture(void **state)
{
    for_all(font_of(state), check_text_size);
}

/* Within its picture and over a third of it at most, with its border; or below it, as wide. */
static void check_classic_caption(const struct page_plan *plan, const struct page_panel *p)
{
    if (p->place == PLACE_BELOW) {
        assert_false(overlap(p->caption, p->picture));
        assert_int_equal(p->caption.width, p->picture.width);
        return;
    }
    assert_true(is_inside(p->caption, p->picture));
    assert_true((int64_t)(p->caption.width + 2 * plan->border) * (p->caption.height + 2 * plan->border) * 3 <=
                (int64_t)p->picture.width * p->picture.height);
}

static void check_captions(const struct page_story *story, const struct page_plan *plan)
{
    assert_true(plan->text_size >= 14);
    for (int64_t i = 0; i < story->count; i++) {
        const struct page_panel *p = &plan->panels[i];
        const char *caption = story->captions[i];
        const bool has_one = caption != NULL && strspn(caption, " ") < strlen(caption);
        assert_int_equal(p->lettering.count > 0, has_one);
        assert_int_equal(p->caption.width > 0, has_one); /* none, no bar */
        if (!has_one)
            assert_int_equal(p->frame.height, p->picture.height + 2 * plan->border);
        if (p->caption.width == 0)
            continue;
        assert_true(is_inside(p->caption, p->frame));
        assert_true(p->lettering.width + plan->padding <= p->caption.width);
        assert_true(p->lettering.height + plan->padding <= p->caption.height);
        if (story->kind == PAGE_FOUR)
            assert_false(overlap(p->caption, p->picture));
        else
            check_classic_caption(plan, p);
    }
}

static void captions_fit_into_their_boxes(void **state)
{
    for_all(font_of(state), check_captions);
}

static void check_rows(const struct page_story *story, const struct page_plan *plan)
{
    for (int64_t i = 1; i < story->count; i++) {
        const struct page_panel *a = &plan->panels[i - 1], *b = &plan->panels[i];
        if (story->kind == PAGE_FOUR && a->page == b->page && a->frame.y == b->frame.y && a->caption.width > 0 &&
            b->caption.width > 0) {
            assert_int_equal(a->frame.height, b->frame.height);
            assert_int_equal(a->caption.height, b->caption.height);
            assert_int_equal(a->caption.y, b->caption.y);
        }
    }
}

static void caption_bands_in_a_row_have_one_height(void **state)
{
    for_all(font_of(state), check_rows);
}

static void four_puts_four_on_a_page_and_shapes_the_last_one(void **state)
{
    (void)state;
    const char *none[MOST] = {0};
    for (int count = 1; count <= MOST; count++) {
        const struct page_story story = {PAGE_FOUR, count, 512, 512, none, NULL, NULL, NULL};
        struct page_plan plan = laid_out(&story);
        assert_int_equal(plan.page_count, (count + 3) / 4);
        for (int i = 0; i < count; i++) {
            assert_int_equal(plan.panels[i].page, i / 4);
            const int on_page = count - i / 4 * 4 < 4 ? count - i / 4 * 4 : 4;
            const struct rect frame = plan.panels[i].frame;
            const bool in_the_middle = on_page == 1 || (on_page == 3 && i % 4 == 2);
            assert_int_equal(plan.panels[i].picture.width, 512);
            if (in_the_middle)
                assert_in_range(2 * frame.x + frame.width - plan.pages[i / 4].width + 1, 0, 2);
            assert_int_equal(plan.panels[i].caption.width, 0);
        }
        page_plan_free(&plan);
    }
}

static void classic_is_one_page_without_giant_panels_from_five_on(void **state)
{
    (void)state;
    const char *none[200] = {0};
    for (int count = 1; count <= 60; count++) {
        const struct page_story story = {PAGE_CLASSIC, count, 128, 128, none, NULL, NULL, NULL};
        struct page_plan plan = laid_out(&story);
        assert_int_equal(plan.page_count, 1);
        for (int i = 0; i < count && count >= 5; i++)
            assert_true(plan.panels[i].frame.width < plan.pages[0].width * 7 / 10);
        page_plan_free(&plan);
    }
}

static void small_panels_are_enlarged_by_a_whole_factor(void **state)
{
    (void)state;
    const char *none[4] = {0};
    const int sizes[][2] = {{64, 384}, {128, 384}, {256, 512}, {383, 766}, {384, 384}, {768, 768}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const struct page_story story = {PAGE_FOUR, 4, sizes[i][0], sizes[i][0], none, NULL, NULL, NULL};
        struct page_plan plan = laid_out(&story);
        for (int j = 0; j < 4; j++)
            assert_int_equal(plan.panels[j].picture.width, sizes[i][1]);
        page_plan_free(&plan);
    }
}

/* Where a caption is cut, letters are at their smallest, and one more line would have been too much. */
static void check_cut(const struct page_story *story, const struct page_plan *plan, int64_t i)
{
    const struct page_panel *p = &plan->panels[i];
    const int most = p->picture.height;
    if (!p->lettering.cut)
        return;
    assert_int_equal(plan->text_size, larger(drawn_short_side(story) / 36, 14));
    assert_true(p->lettering.height + 2 * plan->padding <= most);
    assert_true(p->lettering.height + font_line_height(story->font, plan->text_size) + 2 * plan->padding > most);
}

static void longer_captions_get_smaller_letters_and_are_cut_last(void **state)
{
    const struct font *font = font_of(state);
    char *endless = calloc(1, 8001);
    for (int i = 0; i < 8000; i++)
        endless[i] = "words on "[i % 9];
    int before = 1000;
    for (int kind = 0; kind < PAGE_KINDS; kind++, before = 1000)
        for (int length = 10; length <= 8000; length = length * 2) {
            char *caption = strndup(endless, (size_t)length);
            const char *captions[4] = {caption, caption, "", caption};
            const struct page_story story = {(enum page_kind)kind, 4, 770, 770, captions, font, NULL, NULL};
            struct page_plan plan = laid_out(&story);
            assert_true(plan.text_size <= before);
            if (length < 500)
                assert_false(plan.panels[3].lettering.cut);
            if (length > 4000)
                assert_true(plan.panels[3].lettering.cut);
            for (int i = 0; i < 4; i++)
                check_cut(&story, &plan, i);
            check_text_size(&story, &plan);
            check_captions(&story, &plan);
            check_disjoint(&story, &plan);
            before = plan.text_size;
            page_plan_free(&plan);
            free(caption);
        }
    free(endless);
}

/* A picture that is busy (a chessboard) but for one of nine fields, counted row by row. */
static struct image busy_but(int field, int side)
{
    struct image image;
    assert_int_equal(image_new(side, side, &image, NULL), OK);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const bool quiet = y * 3 / side == field / 3 && x * 3 / side == field % 3;
            memset(image.rgb + (y * side + x) * 3, quiet || (x + y) % 2 ? 200 : 20, 3);
        }
    return image;
}

static void boxes_go_where_the_picture_is_emptiest(void **state)
{
    const struct font *font = font_of(state);
    const char *captions[5] = {"Hm.", "Hm.", "Hm.", "Hm.", "Hm."};
    const struct {
        int field;
        enum page_place place;
    } cases[] = {{0, PLACE_TOP_LEFT},    {1, PLACE_TOP},    {2, PLACE_TOP_RIGHT},
                 {6, PLACE_BOTTOM_LEFT}, {7, PLACE_BOTTOM}, {8, PLACE_BOTTOM_RIGHT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image panels[5];
        struct page_plan plan;
        const struct page_story story = {PAGE_CLASSIC, 5, 384, 384, captions, font, NULL, NULL};
        for (int k = 0; k < 5; k++)
            panels[k] = busy_but(cases[i].field, 384);
        assert_int_equal(page_layout_for(&story, panels, &plan, NULL), OK);
        for (int k = 0; k < 5; k++) {
            const struct rect in = plan.panels[k].picture, box = plan.panels[k].caption;
            assert_int_equal(plan.panels[k].place, cases[i].place);
            assert_int_equal(2 * (box.y - in.y) < in.height, cases[i].field < 3);
            image_free(&panels[k]);
        }
        check_captions(&story, &plan);
        check_disjoint(&story, &plan);
        page_plan_free(&plan);
    }
}

/* Quiet only in the middle: every place at an edge would hide more than the picture has on the whole. */
static void a_box_without_an_empty_place_goes_below_its_picture(void **state)
{
    const struct font *font = font_of(state);
    const char *captions[5] = {"Hm.", "", "Hm.", NULL, "Hm."};
    struct image panels[5];
    struct page_plan plan;
    const struct page_story story = {PAGE_CLASSIC, 5, 384, 384, captions, font, NULL, NULL};
    for (int k = 0; k < 5; k++)
        panels[k] = busy_but(4, 384);
    assert_int_equal(page_layout_for(&story, panels, &plan, NULL), OK);
    for (int k = 0; k < 5; k++) {
        if (captions[k] != NULL && captions[k][0] != '\0')
            assert_int_equal(plan.panels[k].place, PLACE_BELOW);
        image_free(&panels[k]);
    }
    check_captions(&story, &plan);
    check_disjoint(&story, &plan);
    check_distances(&story, &plan);
    page_plan_free(&plan);
}

static void a_title_stands_above_the_first_page(void **state)
{
    const struct font *font = font_of(state);
    const char *none[5] = {0};
    struct page_story story = {PAGE_FOUR, 5, 384, 384, none, font, NULL, NULL};
    struct page_plan without = laid_out(&story);
    story.title = "The newspaper";
    struct page_plan with = laid_out(&story);
    const int more = with.pages[0].height - without.pages[0].height;
    assert_int_equal(with.title.count, 1);
    assert_int_equal(more, with.title.height + 384 / 24);
    assert_int_equal(with.panels[0].frame.y - without.panels[0].frame.y, more);
    assert_true(with.title_box.y + with.title_box.height <= with.panels[0].frame.y);
    assert_int_equal(with.pages[1].height, without.pages[1].height);
    page_plan_free(&with);
    page_plan_free(&without);
}

static void refuses_what_cannot_be_laid_out(void **state)
{
    (void)state;
    const char *none[1] = {NULL}, *some[1] = {"text"};
    const char **many = calloc(3000, sizeof *many);
    const struct {
        struct page_story story;
        const char *what;
    } cases[] = {
        {{PAGE_FOUR, 0, 512, 512, none, NULL, NULL, NULL}, "0 panels"},
        {{PAGE_FOUR, INT64_MAX, 512, 512, none, NULL, NULL, NULL}, "panels"},
        {{PAGE_FOUR, 1, 8, 512, none, NULL, NULL, NULL}, "8 x 512"},
        {{PAGE_FOUR, 1, 9000, 512, none, NULL, NULL, NULL}, "9000 x 512"},
        {{PAGE_FOUR, 1, 512, 32, none, NULL, NULL, NULL}, "8 : 1"},
        {{PAGE_FOUR, 1, 512, 512, some, NULL, NULL, NULL}, "no font"},
        {{PAGE_CLASSIC, 3000, 1024, 1024, many, NULL, NULL, NULL}, "layout four"},
        {{PAGE_FOUR, 4, 8192, 8192, many, NULL, NULL, NULL}, "smaller"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct page_plan plan;
        struct error e = {0};
        assert_int_equal(page_layout(&cases[i].story, &plan, &e), ERR_ARGUMENT);
        assert_null(plan.panels);
        assert_non_null(strstr(e.message, cases[i].what));
    }
    free(many);
}

/* Panels that are told apart by their color; 2 x 2 patches show whether a picture was mirrored or cut. */
static void make_panels(struct image *panels, int count, int width, int height)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(image_new(width, height, &panels[i], NULL), OK);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                uint8_t *p = panels[i].rgb + (y * width + x) * 3;
                p[0] = (uint8_t)(20 + i * 18);
                p[1] = x * 2 < width ? 60 : 200;
                p[2] = y * 2 < height ? 60 : 200;
            }
    }
}

static const uint8_t *at(const struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static void pictures_are_drawn_whole_within_black_frames(void **state)
{
    const struct font *font = font_of(state);
    struct image panels[MOST];
    make_panels(panels, MOST, 96, 64);
    for (int kind = 0; kind < PAGE_KINDS; kind++)
        for (int count = 1; count <= MOST; count++) {
            const struct page_story story = {(enum page_kind)kind, count, 96, 64, CAPTIONS, font, NULL, NULL};
            struct page_plan plan = laid_out(&story);
            struct image *pages;
            assert_int_equal(page_draw(&story, &plan, panels, &pages, NULL), OK);
            for (int i = 0; i < count; i++) {
                const struct page_panel *p = &plan.panels[i];
                const struct image *page = &pages[p->page];
                const struct rect f = p->frame, r = p->picture;
                const int right = r.x + r.width - 1, bottom = r.y + r.height - 1;
                assert_int_equal(page->width, plan.pages[p->page].width);
                assert_int_equal(at(page, f.x - 1, f.y)[0], 255);
                assert_int_equal(at(page, f.x + f.width, f.y)[0], 255);
                assert_true(at(page, f.x, f.y)[0] < 32 && at(page, f.x + f.width - 1, f.y + f.height - 1)[0] < 32);
                assert_true(at(page, right + 1, bottom)[0] < 32 && at(page, right, bottom + 1)[1] < 32);
                const uint8_t a[3] = {(uint8_t)(20 + i * 18), 60, 200}, b[3] = {(uint8_t)(20 + i * 18), 200, 200};
                assert_memory_equal(at(page, r.x, bottom), a, 3);
                assert_memory_equal(at(page, right, bottom), b, 3);
            }
            page_images_free(pages, plan.page_count);
            page_plan_free(&plan);
        }
    for (int i = 0; i < MOST; i++)
        image_free(&panels[i]);
}

static void pairs_keep_their_pixels(void **state)
{
    const struct font *font = font_of(state);
    struct image panels[4], *pages;
    make_panels(panels, 4, 400, 384);
    uint32_t x = 9;
    for (int i = 0; i < 400 * 384 * 3; i++) {
        x = x * 1664525u + 1013904223u;
        panels[3].rgb[i] = (uint8_t)(x >> 24);
    }
    const struct page_story story = {PAGE_FOUR, 4, 400, 384, CAPTIONS, font, NULL, NULL};
    struct page_plan plan = laid_out(&story);
    assert_int_equal(page_draw(&story, &plan, panels, &pages, NULL), OK);
    const struct rect r = plan.panels[3].picture;
    for (int y = 0; y < 384; y++)
        assert_memory_equal(at(&pages[0], r.x, r.y + y), panels[3].rgb + y * 400 * 3, 400 * 3);
    page_images_free(pages, 1);
    page_plan_free(&plan);
    for (int i = 0; i < 4; i++)
        image_free(&panels[i]);
}

/* No ink in the outermost pixels of a caption's area, some in the middle. */
static void letters_stay_inside_their_captions(void **state)
{
    const struct font *font = font_of(state);
    struct image panels[MOST], *pages;
    make_panels(panels, MOST, 384, 384);
    for (int kind = 0; kind < PAGE_KINDS; kind++) {
        const struct page_story story = {(enum page_kind)kind, MOST, 384, 384, CAPTIONS, font, NULL, NULL};
        struct page_plan plan = laid_out(&story);
        assert_int_equal(page_draw(&story, &plan, panels, &pages, NULL), OK);
        for (int i = 0; i < MOST; i++) {
            const struct rect c = plan.panels[i].caption;
            int ink = 0, edge = 0;
            for (int y = c.y; y < c.y + c.height; y++)
                for (int x = c.x; x < c.x + c.width; x++) {
                    const bool dark = at(&pages[plan.panels[i].page], x, y)[0] < 128;
                    ink += dark;
                    edge += dark && (x == c.x || y == c.y || x == c.x + c.width - 1 || y == c.y + c.height - 1);
                }
            assert_int_equal(edge, 0);
            assert_int_equal(ink > 20, plan.panels[i].lettering.count > 0);
        }
        page_images_free(pages, plan.page_count);
        page_plan_free(&plan);
    }
    for (int i = 0; i < MOST; i++)
        image_free(&panels[i]);
}

static void the_same_story_gives_the_same_bytes(void **state)
{
    const struct font *font = font_of(state);
    struct image panels[7], *pages[2];
    make_panels(panels, 7, 200, 150);
    for (int kind = 0; kind < PAGE_KINDS; kind++) {
        const struct page_story story = {(enum page_kind)kind, 7, 200, 150, CAPTIONS, font, NULL, NULL};
        struct page_plan plan[2];
        for (int i = 0; i < 2; i++) {
            plan[i] = laid_out(&story);
            assert_int_equal(page_draw(&story, &plan[i], panels, &pages[i], NULL), OK);
        }
        for (int i = 0; i < plan[0].page_count; i++)
            assert_memory_equal(pages[0][i].rgb, pages[1][i].rgb,
                                (size_t)pages[0][i].width * (size_t)pages[0][i].height * 3);
        for (int i = 0; i < 2; i++) {
            page_images_free(pages[i], plan[i].page_count);
            page_plan_free(&plan[i]);
        }
    }
    for (int i = 0; i < 7; i++)
        image_free(&panels[i]);
}

static void refuses_panels_of_another_size(void **state)
{
    (void)state;
    const char *none[2] = {0};
    struct image panels[2], *pages;
    make_panels(panels, 2, 64, 64);
    panels[1].height = 63;
    const struct page_story story = {PAGE_FOUR, 2, 64, 64, none, NULL, NULL, NULL};
    struct page_plan plan = laid_out(&story);
    struct error e = {0};
    assert_int_equal(page_draw(&story, &plan, panels, &pages, &e), ERR_ARGUMENT);
    assert_null(pages);
    assert_string_equal(e.message, "panel 2 has 64 x 63 pixels, the story's have 64 x 64");
    page_plan_free(&plan);
    page_plan_free(&plan);
    image_free(&panels[0]);
    image_free(&panels[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_lie_on_their_page_and_apart),
        cmocka_unit_test(pictures_keep_their_shape),
        cmocka_unit_test(pages_are_filled_from_margin_to_margin),
        cmocka_unit_test(gutters_and_margins_are_measured_by_the_panels),
        cmocka_unit_test(letters_are_as_large_as_no_caption_crowds_its_picture),
        cmocka_unit_test(captions_fit_into_their_boxes),
        cmocka_unit_test(caption_bands_in_a_row_have_one_height),
        cmocka_unit_test(four_puts_four_on_a_page_and_shapes_the_last_one),
        cmocka_unit_test(classic_is_one_page_without_giant_panels_from_five_on),
        cmocka_unit_test(small_panels_are_enlarged_by_a_whole_factor),
        cmocka_unit_test(longer_captions_get_smaller_letters_and_are_cut_last),
        cmocka_unit_test(boxes_go_where_the_picture_is_emptiest),
        cmocka_unit_test(a_box_without_an_empty_place_goes_below_its_picture),
        cmocka_unit_test(a_title_stands_above_the_first_page),
        cmocka_unit_test(refuses_what_cannot_be_laid_out),
        cmocka_unit_test(pictures_are_drawn_whole_within_black_frames),
        cmocka_unit_test(pairs_keep_their_pixels),
        cmocka_unit_test(letters_stay_inside_their_captions),
        cmocka_unit_test(the_same_story_gives_the_same_bytes),
        cmocka_unit_test(refuses_panels_of_another_size),
    };
    return cmocka_run_group_tests(tests, open_font, close_font);
}
