/* Pictures on disk: what is written is read by a decoder of the test's own; what strangers write is refused or read as
 * the format's specification says, never worse. */
#include "storydiff/picture/png.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

struct bytes {
    unsigned char *data;
    size_t size;
};

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 16;
}

/* Smooth with a little noise, so that every filter is somewhere the best. */
static struct image picture(int width, int height)
{
    struct image image;
    assert_int_equal(image_new(width, height, &image, NULL), OK);
    uint32_t x = 7;
    for (int i = 0; i < width * height * 3; i++) {
        const int row = i / 3 / width, column = i / 3 % width;
        image.rgb[i] = (uint8_t)(row * 3 + column * 2 + (row > height / 2 ? next_random(&x) % 60 : 0) + i % 3 * 40);
    }
    return image;
}

/* CRC-32 from its definition, bit by bit: polynomial EDB88320, all ones in, all ones out. */
static uint32_t slow_crc(const unsigned char *p, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return ~crc;
}

static uint32_t get(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put(struct bytes *out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        out->data[out->size++] = (unsigned char)(value >> shift);
}

/* The test's own writer of chunks, for files that ours would not write. The buffer is large enough for them all. */
static struct bytes begin_file(void)
{
    struct bytes out = {malloc(1 << 20), 8};
    assert_non_null(out.data);
    memcpy(out.data, "\x89PNG\r\n\x1A\n", 8);
    return out;
}

static void add_chunk(struct bytes *out, const char *type, const void *data, size_t size)
{
    put(out, (uint32_t)size);
    memcpy(out->data + out->size, type, 4);
    if (size > 0)
        memcpy(out->data + out->size + 4, data, size);
    out->size += 4 + size;
    put(out, slow_crc(out->data + out->size - 4 - size, 4 + size));
}

static void add_header(struct bytes *out, uint32_t width, uint32_t height, int depth, int color, int interlace)
{
    struct bytes d = {(unsigned char[13]){0}, 0};
    put(&d, width);
    put(&d, height);
    const unsigned char rest[5] = {(unsigned char)depth, (unsigned char)color, 0, 0, (unsigned char)interlace};
    memcpy(d.data + 8, rest, 5);
    add_chunk(out, "IHDR", d.data, 13);
}

static struct bytes pack(const void *raw, size_t size)
{
    uLongf packed = compressBound(size);
    struct bytes out = {malloc(packed), 0};
    assert_int_equal(compress(out.data, &packed, raw, size), Z_OK);
    out.size = packed;
    return out;
}

static void add_data(struct bytes *out, const void *raw, size_t size)
{
    struct bytes packed = pack(raw, size);
    add_chunk(out, "IDAT", packed.data, packed.size);
    free(packed.data);
}

static struct bytes file_of(uint32_t width, uint32_t height, int depth, int color, int interlace, const void *raw,
                            size_t size)
{
    struct bytes file = begin_file();
    add_header(&file, width, height, depth, color, interlace);
    add_data(&file, raw, size);
    add_chunk(&file, "IEND", "", 0);
    return file;
}

/* Decodes and frees the file; the message must hold `what`, or, if that is NULL, there must be an image. */
static struct image decoded(struct bytes file, const char *what)
{
    struct image image;
    struct error e = {0};
    status s = image_decode("x.png", file.data, file.size, &image, &e);
    free(file.data);
    if (what == NULL) {
        assert_string_equal(e.message, "");
        assert_int_equal(s, OK);
    } else {
        assert_int_equal(s, ERR_FORMAT);
        assert_null(image.rgb);
        assert_non_null(strstr(e.message, "x.png"));
        if (strstr(e.message, what) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", e.message, what);
    }
    return image;
}

static struct bytes encoded(const struct image *image, const struct png_text *texts, size_t count)
{
    struct bytes out;
    assert_int_equal(png_encode(image, texts, count, &out.data, &out.size, NULL), OK);
    return out;
}

/* ISO/IEC 15948, 9.2: what is added to a filtered byte, of its neighbours left a, above b, above left c. */
static int predicted(int filter, int a, int b, int c)
{
    const int p = a + b - c, to_a = abs(p - a), to_b = abs(p - b), to_c = abs(p - c);
    switch (filter) {
    case 0: return 0;
    case 1: return a;
    case 2: return b;
    case 3: return (a + b) / 2;
    case 4: return to_a <= to_b && to_a <= to_c ? a : to_b <= to_c ? b : c;
    default: fail_msg("filter %d", filter); return 0;
    }
}

/* rows: [height, 1 + stride], filter byte first. The rows without filters, [height, stride]; the caller frees. */
static unsigned char *slowly_unfiltered(const unsigned char *rows, int height, int stride, int bytes_per_pixel)
{
    unsigned char *out = calloc((size_t)(height * stride), 1);
    assert_non_null(out);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < stride; x++) {
            const unsigned char *here = out + y * stride + x;
            const int a = x < bytes_per_pixel ? 0 : here[-bytes_per_pixel], b = y == 0 ? 0 : here[-stride];
            const int c = x < bytes_per_pixel || y == 0 ? 0 : here[-stride - bytes_per_pixel];
            const unsigned char *row = rows + y * (stride + 1);
            out[y * stride + x] = (unsigned char)(row[1 + x] + predicted(row[0], a, b, c));
        }
    return out;
}

/* Of an 8-bit RGB file whose checksums are right. */
static unsigned char *slowly_decoded(struct bytes file, int width, int height)
{
    struct bytes packed = {malloc(file.size), 0};
    uLongf size = (uLongf)(height * (1 + width * 3));
    unsigned char *rows = malloc(size);
    assert_true(packed.data != NULL && rows != NULL);
    const unsigned char header[13] = {0, 0, (unsigned char)(width >> 8), (unsigned char)width, 0, 0,
                                      (unsigned char)(height >> 8), (unsigned char)height, 8, 2, 0, 0, 0};
    assert_memory_equal(file.data + 12, "IHDR", 4);
    assert_memory_equal(file.data + 16, header, 13);
    for (size_t at = 8; at < file.size; at += 12 + get(file.data + at))
        if (memcmp(file.data + at + 4, "IDAT", 4) == 0) {
            memcpy(packed.data + packed.size, file.data + at + 8, get(file.data + at));
            packed.size += get(file.data + at);
        }
    assert_int_equal(uncompress(rows, &size, packed.data, packed.size), Z_OK);
    assert_int_equal(size, height * (1 + width * 3));
    unsigned char *out = slowly_unfiltered(rows, height, width * 3, 3);
    free(rows);
    free(packed.data);
    return out;
}

static void another_decoder_reads_the_same_pixels(void **state)
{
    (void)state;
    const int sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {33, 47}, {200, 150}};
    for (size_t i = 0; i < 5; i++) {
        struct image in = picture(sizes[i][0], sizes[i][1]);
        struct bytes file = encoded(&in, NULL, 0);
        const size_t size = (size_t)in.width * (size_t)in.height * 3;

        unsigned char *other = slowly_decoded(file, in.width, in.height);
        assert_memory_equal(other, in.rgb, size);
        free(other);

        struct image back = decoded(file, NULL);
        assert_int_equal(back.width, in.width);
        assert_int_equal(back.height, in.height);
        assert_memory_equal(back.rgb, in.rgb, size);
        image_free(&back);
        image_free(&in);
    }
}

static void every_chunk_has_its_length_and_checksum(void **state)
{
    (void)state;
    struct image in = picture(20, 10);
    struct bytes file = encoded(&in, (struct png_text[]){{"parameters", "a panel"}}, 1);
    const char *order[] = {"IHDR", "sRGB", "iTXt", "IDAT", "IEND"};
    assert_memory_equal(file.data, "\x89PNG\r\n\x1A\n", 8);
    size_t at = 8;
    for (int i = 0; i < 5; i++) {
        const size_t length = get(file.data + at);
        assert_memory_equal(file.data + at + 4, order[i], 4);
        assert_int_equal(get(file.data + at + 8 + length), slow_crc(file.data + at + 4, length + 4));
        at += 12 + length;
    }
    assert_int_equal(at, file.size);
    free(file.data);
    image_free(&in);
}

/* ISO/IEC 15948, 11.3.3.5: one byte, the rendering intent, 0 for "perceptual", which is for pictures; before the
 * pixels. */
static void colors_are_said_to_be_srgb_to_be_shown_as_pictures_are(void **state)
{
    (void)state;
    struct image in = picture(20, 10);
    struct bytes file = encoded(&in, (struct png_text[]){{"parameters", "a panel"}}, 1);
    int found = 0;
    for (size_t at = 8; memcmp(file.data + at + 4, "IDAT", 4) != 0; at += 12 + get(file.data + at)) {
        assert_true(at + 12 <= file.size);
        if (memcmp(file.data + at + 4, "sRGB", 4) == 0) {
            found++;
            assert_int_equal(get(file.data + at), 1);
            assert_int_equal(file.data[at + 8], 0);
        }
    }
    assert_int_equal(found, 1);
    free(file.data);
    image_free(&in);
}

static void the_same_image_gives_the_same_bytes(void **state)
{
    (void)state;
    struct image in = picture(50, 60);
    const struct png_text text = {"storydiff", "seed 7"};
    struct bytes one = encoded(&in, &text, 1), two = encoded(&in, &text, 1);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.data, two.data, one.size);
    free(one.data);
    free(two.data);
    image_free(&in);
}

static void smooth_pictures_become_small(void **state)
{
    (void)state;
    struct image in;
    assert_int_equal(image_new(256, 256, &in, NULL), OK);
    for (int i = 0; i < 256 * 256 * 3; i++)
        in.rgb[i] = (uint8_t)(i / 3 % 256 + i / 768 + i % 3);
    struct bytes file = encoded(&in, NULL, 0);
    assert_true(file.size < 256 * 256 * 3 / 50); /* unfiltered, no byte repeats its neighbour */
    free(file.data);
    image_free(&in);
}

static void texts_come_back_short_long_and_in_any_script(void **state)
{
    (void)state;
    struct image in = picture(4, 4);
    char *poem = malloc(20001);
    for (int i = 0; i < 20000; i++)
        poem[i] = "la li lu "[i % 9];
    poem[20000] = '\0';
    const struct png_text texts[] = {{"parameters", "竜とサンドイッチ, Größe"}, {"storydiff", poem}, {"empty", ""}};
    struct bytes file = encoded(&in, texts, 3);
    assert_true(file.size < 2000);
    assert_non_null(memmem(file.data, file.size, texts[0].text, strlen(texts[0].text)));
    for (int i = 0; i < 3; i++) {
        char *text;
        assert_int_equal(png_decode_text("x", file.data, file.size, texts[i].key, &text, NULL), OK);
        assert_string_equal(text, texts[i].text);
        free(text);
    }
    char *text;
    assert_int_equal(png_decode_text("x", file.data, file.size, "param", &text, NULL), OK);
    assert_null(text);
    free(decoded(file, NULL).rgb);

    const char *bad_keys[] = {"", " a", "a ", "a\nb", "ü",
                              "12345678901234567890123456789012345678901234567890123456789012345678901234567890"};
    for (int i = 0; i < 6; i++) {
        struct bytes none;
        const struct png_text bad = {bad_keys[i], "x"};
        assert_int_equal(png_encode(&in, &bad, 1, &none.data, &none.size, NULL), ERR_ARGUMENT);
        assert_null(none.data);
    }
    free(poem);
    image_free(&in);
}

static void files_go_to_disk_and_come_back(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/test_png-%ld.png", (long)getpid());
    struct image in = picture(12, 9), out;
    assert_int_equal(png_write(path, &in, (struct png_text[]){{"storydiff", "once"}}, 1, NULL), OK);
    assert_int_equal(image_read(path, &out, NULL), OK);
    assert_memory_equal(in.rgb, out.rgb, 12 * 9 * 3);
    char *text;
    assert_int_equal(png_read_text(path, "storydiff", &text, NULL), OK);
    assert_string_equal(text, "once");
    free(text);
    image_free(&in);
    image_free(&out);
    unlink(path);
    struct error e = {0};
    assert_int_equal(image_read(path, &out, &e), ERR_IO);
    assert_non_null(strstr(e.message, path));
}

static void reads_gray_and_lays_alpha_on_white(void **state)
{
    (void)state;
    const int colors[] = {0, 4, 6};
    const unsigned char rows[3][9] = {{0, 10, 200}, {0, 10, 255, 200, 0}, {0, 10, 20, 30, 255, 100, 0, 255, 51}};
    const size_t sizes[] = {3, 5, 9};
    const uint8_t expected[3][6] = {{10, 10, 10, 200, 200, 200}, {10, 10, 10, 255, 255, 255},
                                    {10, 20, 30, 224, 204, 255}}; /* 100 / 5 + 255 * 4 / 5 = 224 */
    for (int i = 0; i < 3; i++) {
        struct bytes file = begin_file();
        add_header(&file, 2, 1, 8, colors[i], 0);
        add_data(&file, rows[i], sizes[i]);
        add_chunk(&file, "IEND", "", 0);
        struct image image = decoded(file, NULL);
        assert_memory_equal(image.rgb, expected[i], 6);
        image_free(&image);
    }
}

/* Every filter on every row of an RGBA picture. */
static void undoes_all_five_filters(void **state)
{
    (void)state;
    unsigned char raw[20 * (1 + 7 * 4)];
    uint32_t x = 99;
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (unsigned char)next_random(&x);
    for (int y = 0; y < 20; y++)
        raw[y * 29] = (unsigned char)(y * 3 % 5);
    struct image image = decoded(file_of(7, 20, 8, 6, 0, raw, sizeof raw), NULL);
    unsigned char *other = slowly_unfiltered(raw, 20, 28, 4);
    for (int i = 0; i < 140; i++)
        for (int c = 0; c < 3; c++) {
            const int alpha = other[i * 4 + 3];
            assert_int_equal(image.rgb[i * 3 + c], (other[i * 4 + c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
    free(other);
    image_free(&image);
}

/* A palette of three, its middle color half transparent; four pixels of two bits in a byte, the first in its high bits
 * (11.2.3, 11.3.2.1, 7.2). */
static void reads_palettes(void **state)
{
    (void)state;
    struct bytes file = begin_file();
    add_header(&file, 4, 2, 2, 3, 0);
    add_chunk(&file, "PLTE", "\x0A\x14\x1E\x00\x00\x00\xFF\x80\x01", 9);
    add_chunk(&file, "tRNS", "\xFF\x33", 2); /* the third, not mentioned, is opaque */
    add_data(&file, (unsigned char[]){0, 0x18, 0, 0x80}, 4);
    add_chunk(&file, "IEND", "", 0);
    struct image image = decoded(file, NULL);
    const uint8_t a[3] = {10, 20, 30}, b[3] = {204, 204, 204}, c[3] = {255, 128, 1};
    const uint8_t *expected[8] = {a, b, c, a, c, a, a, a};
    assert_int_equal(image.width, 4);
    assert_int_equal(image.height, 2);
    for (int i = 0; i < 8; i++)
        assert_memory_equal(image.rgb + i * 3, expected[i], 3);
    image_free(&image);
}

/* Gray of d bits: v of 2^d - 1 (13.12). 16 bits keep their high byte. A transparent color is white here (11.3.2.1). */
static void reads_every_depth_and_a_transparent_color(void **state)
{
    (void)state;
    const struct {
        int depth, color, width;
        unsigned char row[13];
        size_t size;
        uint8_t expected[24];
    } cases[] = {
        {1, 0, 3, {0, 0xA0}, 2, {255, 255, 255, 0, 0, 0, 255, 255, 255}},
        {2, 0, 4, {0, 0x1B}, 2, {0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255}},
        {4, 0, 3, {0, 0x3F, 0x80}, 3, {51, 51, 51, 255, 255, 255, 136, 136, 136}},
        {16, 0, 2, {0, 200, 77, 3, 255}, 5, {200, 200, 200, 3, 3, 3}},
        {16, 2, 1, {0, 1, 9, 2, 9, 250, 9}, 7, {1, 2, 250}},
        {16, 4, 1, {0, 100, 0, 51, 0}, 5, {224, 224, 224}},
        {16, 6, 1, {0, 100, 0, 255, 0, 0, 0, 51, 0}, 9, {224, 255, 204}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image image = decoded(file_of((uint32_t)cases[i].width, 1, cases[i].depth, cases[i].color, 0,
                                             cases[i].row, cases[i].size), NULL);
        assert_int_equal(image.width, cases[i].width);
        assert_memory_equal(image.rgb, cases[i].expected, (size_t)cases[i].width * 3);
        image_free(&image);
    }
    struct bytes file = begin_file();
    add_header(&file, 2, 1, 8, 2, 0);
    add_chunk(&file, "tRNS", "\0\1\0\2\0\3", 6);
    add_data(&file, (unsigned char[]){0, 1, 2, 3, 1, 2, 4}, 7);
    add_chunk(&file, "IEND", "", 0);
    struct image image = decoded(file, NULL);
    assert_memory_equal(image.rgb, ((uint8_t[]){255, 255, 255, 1, 2, 4}), 6);
    image_free(&image);
}

/* Adam7 (8.2) from its figure: which of the seven pictures a pixel of each 8 x 8 block is in. */
static void reads_interlaced_pictures_of_any_size(void **state)
{
    (void)state;
    static const char figure[8][9] = {"16462646", "77777777", "56565656", "77777777",
                                      "36463646", "77777777", "56565656", "77777777"};
    for (int height = 1; height < 11; height += 3)
        for (int width = 1; width < 12; width++) {
            unsigned char raw[4096];
            size_t size = 0;
            for (char pass = '1'; pass <= '7'; pass++)
                for (int y = 0; y < height; y++) {
                    size_t begin = size;
                    for (int x = 0; x < width; x++)
                        if (figure[y % 8][x % 8] == pass) {
                            if (size == begin)
                                raw[size++] = 0; /* the row's filter; a row without pixels is none */
                            raw[size++] = (unsigned char)(y * 20 + x);
                        }
                }
            struct image image = decoded(file_of((uint32_t)width, (uint32_t)height, 8, 0, 1, raw, size), NULL);
            for (int i = 0; i < width * height; i++)
                assert_int_equal(image.rgb[i * 3], i / width * 20 + i % width);
            image_free(&image);
        }
}

static void append_bytes(void *self, void *data, int size)
{
    struct bytes *out = self;
    memcpy(out->data + out->size, data, (size_t)size);
    out->size += (size_t)size;
}

static struct bytes jpeg_of(const struct image *image)
{
    struct bytes out = {malloc(1 << 20), 0};
    assert_non_null(out.data);
    assert_true(stbi_write_jpg_to_func(append_bytes, &out, image->width, image->height, 3, image->rgb, 100));
    return out;
}

/* At the highest quality coefficients are rounded to whole numbers: a pixel of a smooth picture moves by little. */
static void reads_photographs(void **state)
{
    (void)state;
    struct image in;
    assert_int_equal(image_new(45, 30, &in, NULL), OK);
    for (int i = 0; i < 45 * 30; i++) {
        in.rgb[i * 3] = (uint8_t)(i % 45 * 5);
        in.rgb[i * 3 + 1] = (uint8_t)(i / 45 * 8);
        in.rgb[i * 3 + 2] = 100;
    }
    struct image out = decoded(jpeg_of(&in), NULL);
    assert_int_equal(out.width, 45);
    assert_int_equal(out.height, 30);
    for (int i = 0; i < 45 * 30 * 3; i++)
        assert_true(abs(in.rgb[i] - out.rgb[i]) <= 6);
    image_free(&in);
    image_free(&out);
}

/* The frame header: FF C0, length 2, precision 1, height 2, width 2. */
static void refuses_photographs_that_claim_too_much(void **state)
{
    (void)state;
    struct image in = picture(16, 16);
    for (int i = 0; i < 2; i++) {
        struct bytes file = jpeg_of(&in);
        unsigned char *frame = memmem(file.data, file.size, "\xFF\xC0", 2);
        assert_non_null(frame);
        memcpy(frame + 5, i == 0 ? "\xFF\xFF\xFF\xFF" : "\x20\x00\x20\x00", 4);
        decoded(file, i == 0 ? "million" : "cannot hold");
    }
    image_free(&in);
}

/* Run with the sanitizers. */
static void survives_damaged_photographs(void **state)
{
    (void)state;
    struct image in = picture(20, 17), out;
    struct bytes whole = jpeg_of(&in);
    uint32_t x = 3;
    int read = 0;
    for (size_t round = 0; round < 6000; round++) {
        size_t size = round < whole.size ? round : whole.size;
        unsigned char *p = malloc(size + 1); /* its own block: reading on would be seen */
        memcpy(p, whole.data, size);
        for (uint32_t changes = round < whole.size ? 0 : 1 + next_random(&x) % 3; changes > 0; changes--)
            p[3 + next_random(&x) % (size - 3)] = (unsigned char)next_random(&x);
        struct error e = {0};
        if (image_decode("x.jpg", p, size, &out, &e) == OK)
            read++;
        else
            assert_non_null(strstr(e.message, "x.jpg"));
        image_free(&out);
        free(p);
    }
    assert_true(read > 100 && read < 5900);
    free(whole.data);
    image_free(&in);
}

static const unsigned char two_rows[] = {0, 1, 2, 3, 4, 5, 6, 2, 1, 1, 1, 1, 1, 1, 77, 77};
enum { TWO_ROWS = 14 }; /* bytes of a 2 x 2 RGB picture with filter bytes; two more for files that have too many */

static void reads_picture_data_in_many_pieces(void **state)
{
    (void)state;
    struct bytes file = begin_file(), packed = pack(two_rows, TWO_ROWS);
    add_header(&file, 2, 2, 8, 2, 0);
    add_chunk(&file, "prVt", "unknown but harmless", 20);
    for (size_t i = 0; i < packed.size; i++) {
        add_chunk(&file, "IDAT", packed.data + i, 1);
        add_chunk(&file, "IDAT", "", 0);
    }
    add_chunk(&file, "IEND", "", 0);
    free(packed.data);
    struct image image = decoded(file, NULL);
    const uint8_t expected[12] = {1, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 7};
    assert_memory_equal(image.rgb, expected, 12);
    image_free(&image);
}

static void refuses_kinds_that_are_none(void **state)
{
    (void)state;
    const struct {
        uint32_t width, height;
        int depth, color, interlace;
        const char *what;
    } cases[] = {
        {0, 2, 8, 2, 0, "claims 0 x 2"},       {2, 65536, 8, 2, 0, "65536"},
        {65535, 65535, 8, 2, 0, "million"},    {UINT32_MAX, UINT32_MAX, 8, 2, 0, "claims"},
        {2, 2, 4, 2, 0, "4 bits and color type 2"}, {2, 2, 8, 5, 0, "color type 5"},
        {2, 2, 8, 200, 0, "color type 200"},   {2, 2, 200, 0, 0, "200 bits"},
        {2, 2, 8, 2, 2, "interlac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes file = begin_file();
        add_header(&file, cases[i].width, cases[i].height, cases[i].depth, cases[i].color, cases[i].interlace);
        add_data(&file, two_rows, TWO_ROWS);
        add_chunk(&file, "IEND", "", 0);
        decoded(file, cases[i].what);
    }
}

static void refuses_a_palette_that_is_not_there(void **state)
{
    (void)state;
    decoded(file_of(2, 1, 8, 3, 0, (unsigned char[]){0, 0, 1}, 3), "cannot be read");
}

static void refuses_sizes_that_the_data_cannot_hold(void **state)
{
    (void)state;
    struct bytes file = begin_file();
    add_header(&file, 16000, 16000, 8, 2, 0); /* 768 MB from 20 bytes */
    add_data(&file, two_rows, TWO_ROWS);
    add_chunk(&file, "IEND", "", 0);
    decoded(file, "promises");
}

static void refuses_more_or_less_data_than_announced(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct bytes file = begin_file();
        add_header(&file, 2, 2, 8, 2, 0);
        add_data(&file, two_rows, (size_t[]){TWO_ROWS - 1, TWO_ROWS + 2, 0}[i]);
        add_chunk(&file, "IEND", "", 0);
        decoded(file, (const char *[]){"13 of the 14 bytes", "more picture data", "0 of the 14"}[i]);
    }
    unsigned char *bomb = calloc(1, 1 << 20); /* a megabyte of zeros behind two rows */
    struct bytes file = begin_file();
    add_header(&file, 2, 2, 8, 2, 0);
    add_data(&file, bomb, 1 << 20);
    add_chunk(&file, "IEND", "", 0);
    decoded(file, "more picture data");
    free(bomb);
}

static void refuses_chunks_out_of_order(void **state)
{
    (void)state;
    struct bytes packed = pack(two_rows, TWO_ROWS);
    for (int i = 0; i < 7; i++) {
        struct bytes file = begin_file();
        if (i != 0)
            add_header(&file, 2, 2, 8, 2, 0);
        if (i == 1)
            add_chunk(&file, "NEWX", "critical", 8);
        if (i == 2)
            add_header(&file, 2, 2, 8, 2, 0);
        add_chunk(&file, "IDAT", packed.data, 5);
        if (i == 3)
            add_chunk(&file, "tEXt", "a\0b", 3);
        add_chunk(&file, "IDAT", packed.data + 5, packed.size - 5 - (i == 6));
        if (i == 4)
            add_chunk(&file, "IDAT", "x", 1);
        add_chunk(&file, "IEND", "", 0);
        if (i == 5)
            file.data[file.size++] = 0;
        decoded(file, (const char *[]){"begin with a header", "NEWX", "IHDR", "one piece", "after the end",
                                       "follow the end", "lacks its end"}[i]);
    }
    free(packed.data);
}

static void refuses_unknown_filters(void **state)
{
    (void)state;
    unsigned char rows[TWO_ROWS];
    memcpy(rows, two_rows, TWO_ROWS);
    rows[7] = 5;
    struct bytes file = begin_file();
    add_header(&file, 2, 2, 8, 2, 0);
    add_data(&file, rows, TWO_ROWS);
    add_chunk(&file, "IEND", "", 0);
    decoded(file, "filter");
}

static void refuses_a_text_that_is_a_bomb(void **state)
{
    (void)state;
    const size_t size = (16 << 20) + 1;
    char *zeros = calloc(1, size);
    struct bytes packed = pack(zeros, size);
    unsigned char *chunk = malloc(packed.size + 6);
    memcpy(chunk, "k\0\1\0\0\0", 6);
    memcpy(chunk + 6, packed.data, packed.size);
    struct bytes file = begin_file();
    add_header(&file, 2, 2, 8, 2, 0);
    add_chunk(&file, "iTXt", chunk, packed.size + 6);
    struct error e = {0};
    char *text;
    assert_int_equal(png_decode_text("x.png", file.data, file.size, "k", &text, &e), ERR_FORMAT);
    assert_null(text);
    assert_non_null(strstr(e.message, "16 MiB"));
    free(zeros);
    free(chunk);
    free(packed.data);
    free(file.data);
}

static void a_cut_file_is_refused_wherever_it_is_cut(void **state)
{
    (void)state;
    struct image in = picture(9, 7);
    struct bytes file = encoded(&in, (struct png_text[]){{"k", "text"}}, 1);
    for (size_t size = 0; size < file.size; size++) {
        struct bytes cut = {malloc(size + 1), size}; /* its own block: reading on would be seen */
        memcpy(cut.data, file.data, size);
        decoded(cut, "");
    }
    free(file.data);
    image_free(&in);
}

static void any_changed_byte_is_noticed(void **state)
{
    (void)state;
    struct image in = picture(9, 7);
    struct bytes file = encoded(&in, NULL, 0);
    for (size_t i = 0; i < file.size; i++) {
        struct bytes changed = {malloc(file.size), file.size};
        memcpy(changed.data, file.data, file.size);
        changed.data[i] ^= (unsigned char)(1 + i % 255);
        decoded(changed, "");
    }
    free(file.data);
    image_free(&in);
}

/* Behind a correct checksum anything may stand: the reader has to survive it. Run with the sanitizers. */
static void survives_damage_that_the_checksums_do_not_show(void **state)
{
    (void)state;
    char long_text[1500];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    struct image in = picture(9, 7);
    struct bytes file = encoded(&in, (struct png_text[]){{"k", long_text}, {"s", "short"}}, 2);
    uint32_t x = 1;
    int read = 0;
    for (int round = 0; round < 20000; round++) {
        unsigned char *p = malloc(file.size);
        memcpy(p, file.data, file.size);
        for (uint32_t changes = 1 + next_random(&x) % 3; changes > 0; changes--)
            p[8 + next_random(&x) % (file.size - 8)] = (unsigned char)next_random(&x);
        for (size_t at = 8; file.size - at >= 12;) {
            const size_t length = get(p + at);
            if (length > file.size - at - 12)
                break;
            struct bytes sum = {p, at + 8 + length};
            put(&sum, (uint32_t)crc32(0, p + at + 4, (uInt)length + 4));
            at += 12 + length;
        }
        struct image out;
        char *text[2];
        if (image_decode("x.png", p, file.size, &out, NULL) == OK) {
            read++;
            assert_true((uint64_t)out.width * (uint64_t)out.height <= IMAGE_MAX_PIXELS);
        }
        image_free(&out);
        png_decode_text("x.png", p, file.size, "k", &text[0], NULL);
        png_decode_text("x.png", p, file.size, "s", &text[1], NULL);
        free(text[0]);
        free(text[1]);
        free(p);
    }
    assert_true(read > 100 && read < 19900); /* the damage reaches all depths */
    free(file.data);
    image_free(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_decoder_reads_the_same_pixels),
        cmocka_unit_test(every_chunk_has_its_length_and_checksum),
        cmocka_unit_test(colors_are_said_to_be_srgb_to_be_shown_as_pictures_are),
        cmocka_unit_test(the_same_image_gives_the_same_bytes),
        cmocka_unit_test(smooth_pictures_become_small),
        cmocka_unit_test(texts_come_back_short_long_and_in_any_script),
        cmocka_unit_test(files_go_to_disk_and_come_back),
        cmocka_unit_test(reads_gray_and_lays_alpha_on_white),
        cmocka_unit_test(undoes_all_five_filters),
        cmocka_unit_test(reads_palettes),
        cmocka_unit_test(reads_every_depth_and_a_transparent_color),
        cmocka_unit_test(reads_interlaced_pictures_of_any_size),
        cmocka_unit_test(reads_photographs),
        cmocka_unit_test(refuses_photographs_that_claim_too_much),
        cmocka_unit_test(survives_damaged_photographs),
        cmocka_unit_test(reads_picture_data_in_many_pieces),
        cmocka_unit_test(refuses_kinds_that_are_none),
        cmocka_unit_test(refuses_a_palette_that_is_not_there),
        cmocka_unit_test(refuses_sizes_that_the_data_cannot_hold),
        cmocka_unit_test(refuses_more_or_less_data_than_announced),
        cmocka_unit_test(refuses_chunks_out_of_order),
        cmocka_unit_test(refuses_unknown_filters),
        cmocka_unit_test(refuses_a_text_that_is_a_bomb),
        cmocka_unit_test(a_cut_file_is_refused_wherever_it_is_cut),
        cmocka_unit_test(any_changed_byte_is_noticed),
        cmocka_unit_test(survives_damage_that_the_checksums_do_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
