/* Fonts: measures against the file's own tables, drawing, and what happens with damaged files. */
#include "storydiff/page/font.h" /* before cmocka.h, whose macro `fail` would hide ours */
#include "storydiff/page/font_check.h"
#include "storydiff/page/font_kern.h"
#include "tensor/utf8.h"
#include "tensor/file.h"

#include "tests/check.h"
#include "tests/folder.h"

#include <fcntl.h>

static const char DEJAVU[] = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
static const struct color BLACK = {0, 0, 0};

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static struct font *open_dejavu(void)
{
    if (!file_exists(DEJAVU)) {
        print_message("%s is missing (fonts-dejavu-core): ", DEJAVU);
        skip();
    }
    struct font *font;
    assert_int_equal(font_open(DEJAVU, &font, NULL), OK);
    return font;
}

static void reads_every_form_of_utf8(void **state)
{
    (void)state;
    const char *text = "a\u00e9\u20ac\U0001F600\U0010FFFF";
    const uint32_t expected[] = {'a', 0xE9, 0x20AC, 0x1F600, 0x10FFFF};
    for (int i = 0; i < 5; i++)
        assert_int_equal(utf8_next(&text), expected[i]);
    assert_int_equal(*text, 0);
}

static void reads_what_is_not_utf8_as_replacements_and_stops_at_the_end(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int replacements, others;
    } cases[] = {
        {"\x80", 1, 0},         {"\xC0\x80", 2, 0},         {"\xC3", 1, 0},         {"\xE2\x82", 1, 0},
        {"\xF0\x9F\x98", 1, 0}, {"\xED\xA0\x80", 3, 0},     {"\xE0\x80\x80", 3, 0}, {"\xF4\x90\x80\x80", 4, 0},
        {"\xFF", 1, 0},         {"\xF0\x80\x80\x80", 4, 0}, {"\xC3(", 1, 1},        {"\xF8\x88", 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = strdup(cases[i].text); /* its own block: reading on would be seen */
        const char *p = text, *end = text + strlen(text);
        int replacements = 0, others = 0;
        while (p < end) {
            const uint32_t code = utf8_next(&p);
            replacements += code == UTF8_REPLACEMENT;
            others += code != UTF8_REPLACEMENT;
        }
        assert_ptr_equal(p, end);
        assert_int_equal(replacements, cases[i].replacements);
        assert_int_equal(others, cases[i].others);
        free(text);
    }
}

/* DejaVu Sans: 2048 units per em; ascent 1901, descent 483, no gap; "A" is 1401 wide, "V" 1401, the pair is kerned by
 * -131 (as ttx prints hhea, hmtx and kern). */
static void measures_as_the_files_tables_say(void **state)
{
    (void)state;
    struct font *font = open_dejavu();
    const int a = font_glyph(font, 'A'), v = font_glyph(font, 'V');
    assert_int_equal(font_ascent(font, 2048), 1901);
    assert_int_equal(font_line_height(font, 2048), 1901 + 483);
    assert_int_equal(font_ascent(font, 16), 15); /* 14.85 */
    assert_int_equal(font_advance(font, a, 0, 2048), 1401 * FONT_UNITS);
    assert_int_equal(font_advance(font, a, v, 2048), (1401 - 131) * FONT_UNITS);
    assert_int_equal(font_advance(font, a, v, 32), (1401 - 131) * FONT_UNITS / 64);
    font_close(font);
}

/* A font of the test's own making: the tables that kerning is read from, nothing else. */
struct kerning {
    uint8_t bytes[400];
    struct font_tables tables;
};

static void put_numbers(uint8_t *at, const uint16_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        at[i * 2] = (uint8_t)(numbers[i] >> 8);
        at[i * 2 + 1] = (uint8_t)numbers[i];
    }
}

#define PUT(at, ...) put_numbers(at, (uint16_t[]){__VA_ARGS__}, sizeof((uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

enum { K_E = 0x6B65, R_N = 0x726E, M_A = 0x6D61, MINUS = 0x10000 };

/* One feature of that name with one lookup; its subtable begins at byte 38. */
static void begin_gpos(struct kerning *k, uint16_t first, uint16_t second, uint16_t lookup_type)
{
    *k = (struct kerning){.tables.gpos = {k->bytes, sizeof k->bytes}};
    PUT(k->bytes, 1, 0, 0, 10, 24);               /* version, scripts (not read), features, lookups */
    PUT(k->bytes + 10, 1, first, second, 8, 0, 1, 0); /* the feature: at 18, one lookup, number 0 */
    PUT(k->bytes + 24, 1, 6, 0);
    PUT(k->bytes + 30, lookup_type, 0, 1, 8);     /* one subtable */
}

/* Format 1, values of two numbers (x placement 1, x advance 4): glyph 5 before 7 and 9, glyph 6 before 9. */
static void put_pairs(uint8_t *at)
{
    PUT(at, 1, 40, 5, 0, 2, 14, 28);
    PUT(at + 14, 2, 7, 100, MINUS - 50, 9, 100, MINUS - 60);
    PUT(at + 28, 1, 9, 100, 70);
    PUT(at + 40, 2, 1, 5, 6, 0); /* coverage by a range */
}

static void finds_pairs_in_gpos(void **state)
{
    (void)state;
    struct kerning k;
    for (int extended = 0; extended < 2; extended++) {
        begin_gpos(&k, K_E, R_N, extended ? 9 : 2);
        if (extended) /* version, type 2, where it is */
            PUT(k.bytes + 38, 1, 2, 0, 8);
        put_pairs(k.bytes + (extended ? 46 : 38));
        const int expected[][3] = {{5, 7, -50}, {5, 9, -60}, {6, 9, 70}, {6, 7, 0}, {5, 8, 0}, {4, 7, 0}, {7, 9, 0}};
        for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
            assert_int_equal(font_kerning(&k.tables, expected[i][0], expected[i][1]), expected[i][2]);
    }
}

/* Format 2: left glyphs 5 (class 0) and 6 (class 1), right ones 7 (class 1), 20 to 22 (class 2), all others class 0. */
static void finds_classes_in_gpos(void **state)
{
    (void)state;
    struct kerning k;
    begin_gpos(&k, K_E, R_N, 2);
    uint8_t *at = k.bytes + 38;
    PUT(at, 2, 28, 4, 0, 36, 44, 2, 3);
    PUT(at + 16, 0, MINUS - 1, MINUS - 2, 10, 11, 12);
    PUT(at + 28, 1, 2, 5, 6);
    PUT(at + 36, 1, 6, 1, 1);                /* classes of the left, from glyph 6 on */
    PUT(at + 44, 2, 2, 7, 7, 1, 20, 22, 2);  /* of the right, by ranges */
    const int expected[][3] = {{5, 7, -1}, {5, 20, -2}, {5, 22, -2}, {5, 23, 0}, {6, 7, 11},
                               {6, 21, 12}, {6, 3, 10}, {7, 7, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(font_kerning(&k.tables, expected[i][0], expected[i][1]), expected[i][2]);
}

/* OpenType 1.9, "kern": used where GPOS has no feature of that name, be it there for other things. */
static void the_table_kern_is_asked_where_gpos_kerns_nothing(void **state)
{
    (void)state;
    uint8_t kern[30];
    struct kerning k;
    PUT(kern, 0, 1, 0, 26, 1, 2, 0, 0, 0, 5, 7, MINUS - 9, 5, 8, 9);
    for (int gpos = 0; gpos < 3; gpos++) {
        begin_gpos(&k, gpos == 1 ? M_A : K_E, R_N, 2);
        put_pairs(k.bytes + 38);
        if (gpos == 2)
            k.tables.gpos = (struct font_table){0};
        k.tables.kern = (struct font_table){kern, sizeof kern};
        assert_int_equal(font_kerning(&k.tables, 5, 7), gpos == 0 ? -50 : -9);
        assert_int_equal(font_kerning(&k.tables, 5, 8), gpos == 0 ? 0 : 9);
        assert_int_equal(font_kerning(&k.tables, 5, 9), gpos == 0 ? -60 : 0);
    }
}

/* DejaVu Sans without the feature, and then without the table: the same advance, from its table kern. */
static void a_gpos_for_other_things_does_not_hide_kerning(void **state)
{
    (void)state;
    font_close(open_dejavu());
    struct file_map map;
    struct font_tables tables;
    assert_int_equal(file_map(DEJAVU, &map, NULL), OK);
    assert_int_equal(font_check(DEJAVU, map.data, map.size, &tables, NULL), OK);
    struct font *font = open_dejavu();
    const int a = font_glyph(font, 'A'), v = font_glyph(font, 'V');
    assert_int_equal(font_kerning(&tables, a, v), -131);
    uint8_t *gpos = malloc(tables.gpos.size);
    assert_non_null(gpos);
    memcpy(gpos, tables.gpos.data, tables.gpos.size);
    for (size_t i = 0; i + 4 <= tables.gpos.size; i++)
        if (memcmp(gpos + i, "kern", 4) == 0)
            gpos[i + 3] = 'X';
    tables.gpos.data = gpos;
    assert_int_equal(font_kerning(&tables, a, v), -131);
    tables.gpos = (struct font_table){0};
    assert_int_equal(font_kerning(&tables, a, v), -131);
    tables.kern = (struct font_table){0};
    assert_int_equal(font_kerning(&tables, a, v), 0);
    free(gpos);
    font_close(font);
    file_unmap(&map);
}

/* Cut anywhere and with random numbers in it: read within its bounds (run with the sanitizers) and not for long. */
static void kerning_survives_any_table(void **state)
{
    (void)state;
    struct kerning k;
    uint32_t x = 1;
    begin_gpos(&k, K_E, R_N, 2);
    put_pairs(k.bytes + 38);
    for (size_t size = 0; size <= 90; size++) {
        uint8_t *cut = malloc(size + 1);
        memcpy(cut, k.bytes, size);
        struct font_tables tables = {.gpos = {cut, size}, .kern = {cut, size}};
        font_kerning(&tables, 5, 7);
        free(cut);
    }
    for (int round = 0; round < 20000; round++) {
        begin_gpos(&k, K_E, R_N, 2);
        put_pairs(k.bytes + 38);
        for (int i = 0; i < 6; i++)
            k.bytes[next_random(&x) % 90] = (uint8_t)next_random(&x);
        font_kerning(&k.tables, 5 + round % 2, 7);
    }
    /* 65535 features of 65535 lookups of 65535 subtables */
    uint8_t *most = malloc(1 << 18);
    assert_non_null(most);
    memset(most, 0xFF, 1 << 18);
    for (size_t i = 12; i + 6 <= 1 << 17; i += 6)
        memcpy(most + i, "kern\xFF\xFF", 6);
    PUT(most, 1, 0, 0, 10, 10);
    font_kerning(&(struct font_tables){.gpos = {most, 1 << 18}}, 5, 7);
    free(most);
}

static void the_default_font_is_found(void **state)
{
    (void)state;
    font_close(open_dejavu());
    struct font *font;
    assert_int_equal(font_open(NULL, &font, NULL), OK);
    assert_int_not_equal(font_glyph(font, 'x'), 0);
    font_close(font);
}

static void names_missing_letters_and_a_package_that_has_them(void **state)
{
    (void)state;
    const struct {
        uint32_t code;
        const char *script, *package;
    } cases[] = {
        {0x4E2D, "Chinese", "fonts-noto-cjk"}, {0x3042, "Japanese", "fonts-noto-cjk"},
        {0xD55C, "Korean", "fonts-noto-cjk"},  {0x0905, "Devanagari", "fonts-noto-core"},
        {0x0E01, "Thai", "fonts-noto-core"},   {0x05D0, "Hebrew", "fonts-noto-core"},
        {0x0627, "Arabic", "fonts-noto-core"}, {0x1F600, "emoji", "fonts-symbola"},
        {0x2603, "symbols", "fonts-symbola"},  {0x10FFFF, "symbols", "fonts-symbola"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct font_hint *hint = font_hint(cases[i].code);
        assert_non_null(strstr(hint->script, cases[i].script));
        assert_string_equal(hint->package, cases[i].package);
        assert_int_equal(hint->file[0], '/');
    }
    struct font *font = open_dejavu();
    const char *text = "Größe, Ελλάδα, Москва – “yes”\n\t\u200D\uFE0F";
    while (*text != '\0') {
        const uint32_t code = utf8_next(&text);
        assert_true(font_is_invisible(code) || font_glyph(font, code) != 0);
    }
    assert_int_equal(font_glyph(font, 0x7ADC), 0); /* a Japanese dragon */
    font_close(font);
}

/* How much ink there is in white, in which box, and where its middle is across. */
static int64_t ink(const struct image *image, struct rect *box, double *middle)
{
    int64_t sum = 0, moment = 0;
    int left = image->width, top = image->height, right = 0, bottom = 0;
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            const int dark = 255 - image->rgb[(y * image->width + x) * 3];
            sum += dark;
            moment += dark * x;
            if (dark > 0) {
                left = x < left ? x : left;
                right = x + 1 > right ? x + 1 : right;
                top = y < top ? y : top;
                bottom = y + 1 > bottom ? y + 1 : bottom;
            }
        }
    *box = (struct rect){left, top, right - left, bottom - top};
    *middle = (double)moment / (double)sum;
    return sum;
}

static struct rect drawn(const struct font *font, uint32_t code, int size, int64_t x, int64_t *sum, double *middle)
{
    struct image image;
    assert_int_equal(image_new(3 * size, 2 * size, &image, NULL), OK);
    memset(image.rgb, 255, (size_t)(6 * size * size * 3));
    assert_int_equal(font_draw(font, font_glyph(font, code), size, &image, x, size, BLACK, NULL), OK);
    struct rect box;
    *sum = ink(&image, &box, middle);
    image_free(&image);
    return box;
}

static void letters_stand_on_the_baseline_at_their_size(void **state)
{
    (void)state;
    struct font *font = open_dejavu();
    int64_t sum;
    double middle;
    /* "H" is 1493 units high, from the baseline: 72.9 pixels at 100; its stems are at 201 and up to 1339 units */
    struct rect box = drawn(font, 'H', 100, 50 * FONT_UNITS, &sum, &middle);
    assert_int_equal(box.y, 100 - 73);
    assert_int_equal(box.height, 73);
    assert_int_equal(box.x, 50 + 9);
    assert_int_equal(box.x + box.width, 50 + 66);
    box = drawn(font, 'g', 100, 50 * FONT_UNITS, &sum, &middle);
    assert_true(box.y + box.height > 110);
    drawn(font, ' ', 100, 0, &sum, &middle);
    assert_int_equal(sum, 0);
    font_close(font);
}

static void a_quarter_pixel_moves_the_ink_by_a_quarter_pixel(void **state)
{
    (void)state;
    struct font *font = open_dejavu();
    int64_t still, moved;
    double from, to;
    drawn(font, 'l', 40, 20 * FONT_UNITS, &still, &from);
    for (int quarter = 1; quarter <= 8; quarter++) {
        drawn(font, 'l', 40, 20 * FONT_UNITS + quarter * FONT_UNITS / 4, &moved, &to);
        /* a partly covered pixel counts from its middle: up to 1/8 pixel at each edge of a stem of 3.6 */
        assert_true(fabs(to - from - quarter / 4.0) < 2 * 0.125 / 3.6);
        assert_true(llabs(still - moved) < still / 50); /* the same ink, spread over other pixels */
    }
    font_close(font);
}

static void drawing_beyond_the_image_is_clipped(void **state)
{
    (void)state;
    struct font *font = open_dejavu();
    struct image image;
    assert_int_equal(image_new(20, 20, &image, NULL), OK);
    const int glyph = font_glyph(font, 'W');
    const int64_t far[] = {-30, -8, 0, 15, 19, 40, 1000000};
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++)
        for (int y = -30; y < 60; y += 9)
            assert_int_equal(font_draw(font, glyph, 24, &image, far[i] * FONT_UNITS, y, BLACK, NULL), OK);
    image_free(&image);
    font_close(font);
}

static void refuses_files_that_are_no_fonts(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},
        {"\0\1\0\0", 4},
        {"This is not a font at all, but a text.", 38},
        {"ttcf\0\1\0\0\0\0\0\1\xFF\xFF\xFF\xFF", 16},
        {"\0\1\0\0\xFF\xFF\0\0\0\0\0\0", 12},
        {"\0\1\0\0\0\0\0\0\0\0\0\0", 12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = in_folder("none.ttf");
        write_bytes(path, cases[i].bytes, cases[i].size);
        struct font *font;
        struct error e = {0};
        assert_int_equal(font_open(path, &font, &e), ERR_FORMAT);
        assert_null(font);
        assert_non_null(strstr(e.message, path));
    }
    struct font *font;
    assert_int_equal(font_open("/nowhere/font.ttf", &font, NULL), ERR_IO);
}

/* Opens a file that was tampered with and, if it opens, has stb_truetype look at all it ever looks at. */
static bool exercise(const char *path)
{
    struct font *font;
    if (font_open(path, &font, NULL) != OK)
        return false;
    struct image image;
    assert_int_equal(image_new(40, 40, &image, NULL), OK);
    int before = 0;
    for (uint32_t code = 0x21; code < 0x120; code += code < 0x7F ? 2 : 7) {
        const int glyph = font_glyph(font, code);
        assert_true(font_advance(font, before, glyph, 20) >= 0);
        assert_int_equal(font_draw(font, glyph, 20, &image, 5 * FONT_UNITS, 30, BLACK, NULL), OK);
        before = glyph;
    }
    font_glyph(font, 0x1D538);
    image_free(&image);
    font_close(font);
    return true;
}

static size_t read_u32(const unsigned char *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* A place to damage: in the directory, in the first bytes of a table, where its sizes stand, or in its first 8 KiB,
 * where the letters' outlines lie. */
static size_t some_place(const struct file_map *font, uint32_t *x)
{
    const uint32_t tables = (uint32_t)font->data[4] << 8 | font->data[5];
    const unsigned char *entry = font->data + 12 + 16 * (next_random(x) % tables);
    const size_t offset = read_u32(entry + 8), length = read_u32(entry + 12);
    const size_t reach[] = {12 + 16 * tables, 64, 8192};
    const uint32_t kind = next_random(x) % 3;
    if (kind == 0)
        return next_random(x) % reach[0];
    return offset + next_random(x) % (length < reach[kind] ? length : reach[kind]);
}

static void write_u32(unsigned char *p, size_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Outlines are padded to four bytes: whole ones pass, those that end four bytes early lack something. */
static void outlines_pass_whole_and_not_cut(void **state)
{
    (void)state;
    font_close(open_dejavu());
    struct file_map map;
    struct font_tables tables;
    assert_int_equal(file_map(DEJAVU, &map, NULL), OK);
    assert_int_equal(font_check(DEJAVU, map.data, map.size, &tables, NULL), OK);
    assert_true(tables.long_offsets);
    unsigned char *loca = malloc(tables.loca.size);
    assert_non_null(loca);
    memcpy(loca, tables.loca.data, tables.loca.size);
    int cut = 0;
    for (int glyph = 0; glyph < tables.glyphs; glyph++) {
        assert_true(font_check_outline(&tables, glyph));
        unsigned char *entry = loca + 4 * glyph;
        const size_t begin = read_u32(entry), end = read_u32(entry + 4);
        if (begin == end || tables.glyf.data[begin] & 0x80) /* a space; a compound, which may end in instructions */
            continue;
        struct font_tables damaged = tables;
        damaged.loca.data = loca;
        write_u32(entry + 4, end - 4);
        assert_false(font_check_outline(&damaged, glyph));
        write_u32(entry + 4, end);
        cut++;
    }
    assert_true(cut > 1000);
    assert_false(font_check_outline(&tables, tables.glyphs));
    assert_false(font_check_outline(&tables, -1));
    free(loca);
    file_unmap(&map);
}

static void survives_damaged_fonts(void **state)
{
    (void)state;
    font_close(open_dejavu());
    struct file_map map;
    assert_int_equal(file_map(DEJAVU, &map, NULL), OK);
    const char *path = in_folder("damaged.ttf");
    write_bytes(path, map.data, map.size);
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);

    uint32_t x = 5;
    int opened = 0;
    const int rounds = 400;
    for (int round = 0; round < rounds; round++) {
        size_t places[3];
        for (int i = 0; i < 3; i++) {
            places[i] = some_place(&map, &x);
            const unsigned char byte = (unsigned char)next_random(&x);
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)places[i]), 1);
        }
        opened += exercise(path);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pwrite(fd, map.data + places[i], 1, (off_t)places[i]), 1);
    }
    assert_true(opened > rounds / 10 && opened < rounds * 9 / 10);
    assert_true(exercise(path)); /* all damage was repaired */

    for (size_t cut = 1; cut < 20; cut++) {
        assert_int_equal(ftruncate(fd, (off_t)(map.size * (20 - cut) / 20)), 0);
        exercise(path); /* what is cut off may be a table that nobody needs */
    }
    assert_false(exercise(path));
    close(fd);
    file_unmap(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_form_of_utf8),
        cmocka_unit_test(reads_what_is_not_utf8_as_replacements_and_stops_at_the_end),
        cmocka_unit_test(measures_as_the_files_tables_say),
        cmocka_unit_test(finds_pairs_in_gpos),
        cmocka_unit_test(finds_classes_in_gpos),
        cmocka_unit_test(the_table_kern_is_asked_where_gpos_kerns_nothing),
        cmocka_unit_test(a_gpos_for_other_things_does_not_hide_kerning),
        cmocka_unit_test(kerning_survives_any_table),
        cmocka_unit_test(the_default_font_is_found),
        cmocka_unit_test(names_missing_letters_and_a_package_that_has_them),
        cmocka_unit_test(letters_stand_on_the_baseline_at_their_size),
        cmocka_unit_test(a_quarter_pixel_moves_the_ink_by_a_quarter_pixel),
        cmocka_unit_test(drawing_beyond_the_image_is_clipped),
        TEST(refuses_files_that_are_no_fonts),
        cmocka_unit_test(outlines_pass_whole_and_not_cut),
        TEST(survives_damaged_fonts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
