/* safetensors: files written here and read back, files composed byte by byte from the format's description, recorded
 * files of the reference's own writer, and thousands of damaged ones, which must be refused or be harmless. */
#include "tensor/safetensors.h" /* before cmocka.h, whose macro `fail` would hide ours */

#include "tests/check.h"
#include "tests/folder.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Plain writing: the functions under test have no part in it. */
static void put(const char *path, const void *content, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Composes a file as the format's description says: length, header, data (0, 1, 2, ...). Returns its size. */
static size_t compose(unsigned char *out, const char *header, size_t data_size)
{
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(length >> (8 * i));
    memcpy(out + 8, header, length);
    for (size_t i = 0; i < data_size; i++)
        out[8 + length + i] = (unsigned char)i;
    return 8 + length + data_size;
}

static void put_composed(const char *path, const char *header, size_t data_size)
{
    unsigned char bytes[8192];
    put(path, bytes, compose(bytes, header, data_size));
}

static void open_well(const char *path, struct safetensors *file)
{
    struct error e = {0};
    if (safetensors_open(path, file, &e) != OK)
        fail_msg("%s", e.message);
}

static void assert_refused(const char *path, status code, const char *what, const char *and_what)
{
    struct error e = {0};
    struct safetensors file;
    assert_int_equal(safetensors_open(path, &file, &e), code);
    if (strstr(e.message, path) == NULL || strstr(e.message, what) == NULL || strstr(e.message, and_what) == NULL)
        fail_msg("'%s' does not mention '%s', '%s' and '%s'", e.message, path, what, and_what);
    assert_null(file.items);
    assert_int_equal(safetensors_open(path, &file, NULL), code);
    safetensors_close(&file);
}

static size_t bytes_of(const struct tensor *t)
{
    size_t bytes = 0;
    assert_true(shape_bytes(t->dtype, t->rank, t->shape, &bytes));
    return bytes;
}

/* What the header promises of any file that opens. Reads every byte of every tensor; returns how many there are. */
static size_t assert_sound(const struct safetensors *file)
{
    size_t total = 0;
    unsigned sum = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *t = &file->items[i].tensor;
        assert_true(i == 0 || strcmp(file->items[i - 1].name, file->items[i].name) < 0);
        assert_ptr_equal(safetensors_find(file, file->items[i].name), t);
        assert_true(t->rank >= 0 && t->rank <= TENSOR_MAX_RANK);
        assert_non_null(t->data);
        assert_int_equal((uintptr_t)t->data % dtype_size(t->dtype), 0);
        const volatile unsigned char *bytes = t->data;
        for (size_t k = 0; k < bytes_of(t); k++)
            sum += bytes[k];
        total += bytes_of(t);
    }
    assert_true(sum <= 255 * total);
    return total;
}

/* A tensor whose bytes are the first of a fixed sequence without a short period. */
static struct named_tensor sample(const char *name, enum dtype dtype, int rank, const int64_t *shape)
{
    static _Alignas(64) unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof bytes && bytes[1] == 0; i++)
        bytes[sizeof bytes - 1 - i] = (unsigned char)((sizeof bytes - i) * 2654435761u >> 24);
    struct named_tensor item = {.name = name, .tensor = {.data = bytes, .dtype = dtype, .rank = rank}};
    for (int i = 0; i < rank; i++)
        item.tensor.shape[i] = shape[i];
    assert_true(bytes_of(&item.tensor) <= sizeof bytes);
    return item;
}

static void assert_same(const struct tensor *a, const struct tensor *b)
{
    assert_non_null(a);
    assert_int_equal(a->dtype, b->dtype);
    assert_true(tensor_is(a, b->rank, b->shape));
    for (int i = a->rank; i < TENSOR_MAX_RANK; i++)
        assert_int_equal(a->shape[i], 0);
    if (bytes_of(b) > 0)
        assert_memory_equal(a->data, b->data, bytes_of(b));
}

/* What is written is read */

static void every_dtype_and_rank_makes_the_round_trip(void **state)
{
    (void)state;
    static const int64_t shape[] = {2, 3, 1, 5, 2, 1};
    static const int64_t none[] = {2, 0, 24};
    struct named_tensor items[DTYPE_COUNT * (TENSOR_MAX_RANK + 2)];
    static char names[DTYPE_COUNT * (TENSOR_MAX_RANK + 2)][32];
    size_t count = 0;
    for (int d = 0; d < DTYPE_OTHER; d++)
        for (int rank = 0; rank <= TENSOR_MAX_RANK + 1; rank++, count++) {
            bool empty = rank > TENSOR_MAX_RANK;
            snprintf(names[count], sizeof names[count], "%s.%d.weight", dtype_name((enum dtype)d), rank);
            items[count] = sample(names[count], (enum dtype)d, empty ? 3 : rank, empty ? none : shape);
        }
    struct error e = {0};
    struct safetensors file;
    assert_int_equal(safetensors_write(in_folder("a.safetensors"), items, count, NULL, &e), OK);
    open_well(in_folder("a.safetensors"), &file);
    assert_int_equal(file.count, count);
    assert_sound(&file);
    for (size_t i = 0; i < count; i++)
        assert_same(safetensors_find(&file, items[i].name), &items[i].tensor);
    assert_null(safetensors_find(&file, "F32.8.weight"));
    assert_null(safetensors_find(&file, ""));
    assert_null(safetensors_find(&file, "__metadata__"));
    assert_null(safetensors_meta(&file, "format"));
    safetensors_close(&file);
    safetensors_close(&file);
    assert_null(safetensors_find(&file, "F32.0.weight"));
}

static void metadata_makes_the_round_trip(void **state)
{
    (void)state;
    static const char *const metadata[] = {"format", "pt", "a \"quoted\"\\\n\tkey", "\x01\x1f/", "ключ", "漫画 🎨",
                                           "empty", "", NULL};
    struct safetensors file;
    struct named_tensor item = sample("x \"\\ é", DTYPE_F32, 0, NULL);
    assert_int_equal(safetensors_write(in_folder("a"), &item, 1, metadata, NULL), OK);
    open_well(in_folder("a"), &file);
    for (size_t i = 0; metadata[i] != NULL; i += 2)
        assert_string_equal(safetensors_meta(&file, metadata[i]), metadata[i + 1]);
    assert_null(safetensors_meta(&file, "absent"));
    assert_same(safetensors_find(&file, item.name), &item.tensor);
    safetensors_close(&file);
}

static void a_file_without_tensors_is_a_file(void **state)
{
    (void)state;
    struct safetensors file;
    assert_int_equal(safetensors_write(in_folder("written"), NULL, 0, NULL, NULL), OK);
    put_composed(in_folder("composed"), "{}", 0);
    put_composed(in_folder("described"), "{\"__metadata__\":{\"a\":\"b\"}}", 0);
    static const char *const names[] = {"written", "composed", "described"};
    for (size_t i = 0; i < 3; i++) {
        open_well(in_folder(names[i]), &file);
        assert_int_equal(file.count, 0);
        assert_null(safetensors_find(&file, "x"));
        safetensors_close(&file);
    }
}

static void the_bytes_written_are_those_of_the_format(void **state)
{
    (void)state;
    static const uint8_t u8[] = {1, 2, 3};
    static const uint16_t f16[] = {0x3c00, 0xc000};
    static const struct named_tensor items[] = {
        {"b", {.data = f16, .dtype = DTYPE_F16, .rank = 2, .shape = {1, 2}}},
        {"a", {.data = u8, .dtype = DTYPE_U8, .rank = 1, .shape = {3}}},
    };
    static const char *const metadata[] = {"k", "v", NULL};
    enum { HEADER = 184, DATA = 7 }; /* 8 + 184 = 3 * 64 */
    char expected[8 + HEADER + DATA + 1] = {(char)HEADER};
    snprintf(expected + 8, HEADER + 1, "%-*s", HEADER,
             "{\"__metadata__\":{\"k\":\"v\"},"
             "\"b\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[0,4]},"
             "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}");
    memcpy(expected + 8 + HEADER, "\x00\x3c\x00\xc0\x01\x02\x03", DATA);
    struct file_map map;
    assert_int_equal(safetensors_write(in_folder("a"), items, 2, metadata, NULL), OK);
    assert_int_equal(file_map(in_folder("a"), &map, NULL), OK);
    assert_int_equal(map.size, 8 + HEADER + DATA);
    assert_memory_equal(map.data, expected, map.size);
    file_unmap(&map);
}

static void unaligned_data_is_read_from_aligned_copies(void **state)
{
    (void)state;
    for (int padding = 0; padding < 8; padding++) {
        char header[256];
        snprintf(header, sizeof header,
                 "{\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                 "\"d\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[3,19]},"
                 "\"h\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[19,25]},"
                 "\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[3,3]}}%*s", padding, "");
        put_composed(in_folder("a"), header, 25);
        struct safetensors file;
        open_well(in_folder("a"), &file);
        assert_int_equal(assert_sound(&file), 25);
        static const struct {
            const char *name;
            int first;
        } cases[] = {{"u", 0}, {"d", 3}, {"h", 19}};
        for (size_t i = 0; i < 3; i++) {
            const struct tensor *t = safetensors_find(&file, cases[i].name);
            for (size_t k = 0; k < bytes_of(t); k++)
                assert_int_equal(((const unsigned char *)t->data)[k], (size_t)cases[i].first + k);
        }
        safetensors_close(&file);
    }
}

/* As in a Hugging Face snapshot: the name is a link to a blob elsewhere. */
static void links_are_followed(void **state)
{
    (void)state;
    put_composed(in_folder("blob"), "{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1);
    assert_int_equal(symlink("blob", in_folder("model.safetensors")), 0);
    struct safetensors file;
    open_well(in_folder("model.safetensors"), &file);
    assert_non_null(safetensors_find(&file, "x"));
    safetensors_close(&file);
}

/* A check of all pairs would take minutes here. Processor time, so that a busy machine does not fail the test. */
static void a_hundred_thousand_tensors_open_quickly(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct named_tensor *items = malloc(COUNT * sizeof *items);
    char (*names)[48] = malloc(COUNT * sizeof *names);
    assert_true(items != NULL && names != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "down_blocks.%zu.attentions.%zu.weight", i * 7919 % COUNT, i);
        items[i] = sample(names[i], DTYPE_U8, 1, &(int64_t){(int64_t)(i % 3)});
    }
    assert_int_equal(safetensors_write(in_folder("a"), items, COUNT, NULL, NULL), OK);
    struct safetensors file;
    clock_t start = clock();
    open_well(in_folder("a"), &file);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(file.count, COUNT);
    assert_sound(&file);
    safetensors_close(&file);
    free(names);
    free(items);
    if (seconds > 10)
        fail_msg("%.1f seconds", seconds);
}

/* Recorded files */

static size_t golden_files, golden_empty_tensors;

static int open_golden(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)where;
    size_t length = strlen(path);
    if (type != FTW_F || length < 12 || strcmp(path + length - 12, ".safetensors") != 0)
        return 0;
    struct safetensors file;
    open_well(path, &file);
    size_t total = assert_sound(&file);
    unsigned char prefix[8];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(prefix, 1, sizeof prefix, f), sizeof prefix);
    fclose(f);
    size_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | prefix[i];
    assert_int_equal(8 + header + total, info->st_size);
    static const int64_t empty[] = {2, 0, 24};
    for (size_t i = 0; i < file.count; i++)
        golden_empty_tensors += tensor_is(&file.items[i].tensor, 3, empty);
    safetensors_close(&file);
    golden_files++;
    return 0;
}

static void every_recorded_file_opens(void **state)
{
    (void)state;
    assert_int_equal(nftw("tests/golden", open_golden, 8, FTW_PHYS), 0);
    assert_true(golden_files > 80);
    assert_true(golden_empty_tensors > 0);
}

static void recorded_values_and_metadata_are_found(void **state)
{
    (void)state;
    struct safetensors file;
    open_well("tests/golden/schedulers/euler-v/steps-04.safetensors", &file);
    assert_string_equal(safetensors_meta(&file, "generator_seed"), "500");
    assert_string_equal(safetensors_meta(&file, "timesteps"), "float64, in sampling order");
    const struct tensor *sigma = safetensors_find(&file, "init_noise_sigma"); /* misaligned in the file */
    assert_non_null(sigma);
    assert_int_equal(sigma->dtype, DTYPE_F64);
    assert_true(tensor_is(sigma, 1, (int64_t[]){1}));
    /* sqrt(sigma^2 + 1), where sigma is at most that of SDXL's last timestep, 14.6146 */
    double value = *(const double *)sigma->data;
    assert_true(value > 1 && value < 14.65);
    safetensors_close(&file);
}

#define ENTRY(dtype, shape, offsets) \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Whether they are used is for others to say. */
static void tensors_of_other_formats_are_so_many_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
    } cases[] = {
        {ENTRY("F33", "[1]", "[0,4]"), 4},   {ENTRY("f32", "[3]", "[0,5]"), 5}, {ENTRY("", "[1]", "[0,4]"), 4},
        {ENTRY("F4", "[3,3]", "[0,5]"), 5},  {ENTRY("C64", "[1]", "[0,8]"), 8}, {ENTRY("F6_E2M3", "[]", "[0,0]"), 0},
        {ENTRY("U8", "[1,1,1,1,1,1,1]", "[0,1]"), 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct safetensors file;
        put_composed(in_folder("x"), cases[i].header, cases[i].data);
        open_well(in_folder("x"), &file);
        const struct tensor *x = safetensors_find(&file, "x");
        assert_non_null(x);
        assert_int_equal(x->dtype, DTYPE_OTHER);
        assert_true(tensor_is(x, 1, (int64_t[]){(int64_t)cases[i].data}));
        safetensors_close(&file);
    }
}

static void null_for_metadata_is_none(void **state)
{
    (void)state;
    struct safetensors file;
    put_composed(in_folder("x"), "{\"__metadata__\":null,\"x\":{\"dtype\":\"U8\",\"shape\":[1],"
                                 "\"data_offsets\":[0,1]}}", 1);
    open_well(in_folder("x"), &file);
    assert_int_equal(file.count, 1);
    assert_null(file.metadata);
    assert_null(safetensors_meta(&file, "format"));
    safetensors_close(&file);
}

/* What is refused */

static void bad_tensors_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {ENTRY("U8", "[-1]", "[0,1]"), 1, "[-1] is negative or too large"},
        {ENTRY("U8", "[-1,-1]", "[0,1]"), 1, "[-1, -1] is negative or too large"},
        {ENTRY("U8", "[1.0]", "[0,1]"), 1, "not an integer"},
        {ENTRY("U8", "[1e0]", "[0,1]"), 1, "not an integer"},
        {ENTRY("U8", "[\"1\"]", "[0,1]"), 1, "not an integer"},
        {ENTRY("U8", "[null]", "[0,1]"), 1, "not an integer"},
        {ENTRY("U8", "[18446744073709551617]", "[0,1]"), 1, "not an integer"},
        {ENTRY("U8", "[4294967296,4294967296]", "[0,0]"), 0, "too large"},
        {ENTRY("F32", "[4611686018427387904]", "[0,0]"), 0, "too large"},
        {ENTRY("F64", "[9223372036854775807,9223372036854775807,9223372036854775807]", "[0,8]"), 8, "too large"},
        {ENTRY("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 8, "only 8: the file is incomplete"},
        {ENTRY("U8", "[1]", "[0,2]"), 2, "occupies 2 bytes, but [1] of U8 take 1"},
        {ENTRY("U8", "[2]", "[0,1]"), 1, "occupies 1 bytes, but [2] of U8 take 2"},
        {ENTRY("F32", "[]", "[0,0]"), 0, "occupies 0 bytes, but [] of F32 take 4"},
        {ENTRY("F32", "[0]", "[0,4]"), 4, "occupies 4 bytes, but [0] of F32 take 0"},
        {ENTRY("U8", "[2]", "[0,2]"), 1, "ends at byte 2 of the data, but there are only 1"},
        {ENTRY("U8", "[0]", "[5,5]"), 4, "ends at byte 5"},
        {ENTRY("U8", "[1]", "[1,0]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[-1,0]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[0]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[0,1,1]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[0,\"1\"]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[0.0,1]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "[0,18446744073709551616]"), 1, "not two ordered positions"},
        {ENTRY("U8", "[1]", "{}"), 1, "needs a dtype, a shape and data_offsets"},
        {ENTRY("U8", "1", "[0,1]"), 1, "needs a dtype, a shape and data_offsets"},
        {"{\"x\":{}}", 0, "needs a dtype, a shape and data_offsets"},
        {"{\"x\":[]}", 0, "needs a dtype, a shape and data_offsets"},
        {"{\"x\":null}", 0, "needs a dtype, a shape and data_offsets"},
        {"{\"x\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "needs a dtype, a shape and data_offsets"},
        {ENTRY("U8", "[1]", "[1,2]"), 2, "the 1 bytes before it belong to no tensor"},
        {"{\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}", 7, "'x' overlaps tensor 'y'"},
        {"{\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "'x' overlaps tensor 'y'"},
        {"{\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 4, "'x' overlaps tensor 'y'"},
        {"{\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5, "begins at byte 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_composed(in_folder("a.safetensors"), cases[i].header, cases[i].data);
        assert_refused(in_folder("a.safetensors"), ERR_FORMAT, "tensor 'x'", cases[i].says);
    }
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {"", 0, "header:1:1"},
        {"[]", 0, "not a JSON object"},
        {"{}x", 0, "header:1:3"},
        {"{", 0, "header:1:2"},
        {"{} ", 3, "the last 3 bytes belong to no tensor"},
        {ENTRY("U8", "[1]", "[0,1]"), 2, "the last 1 bytes belong to no tensor"},
        {"{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "control characters"},
        {"{\"a\\u001b[2J\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "control characters"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object of strings"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ is not an object of strings"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}", 2, "header:1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_composed(in_folder("a.safetensors"), cases[i].header, cases[i].data);
        assert_refused(in_folder("a.safetensors"), ERR_FORMAT, cases[i].says, "");
    }
}

static void what_is_no_safetensors_file_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } cases[] = {
        {"", 0, "0 bytes are too few"},
        {"\2\0\0\0\0\0\0", 7, "7 bytes are too few"},
        {"\3\0\0\0\0\0\0\0{}", 10, "3 bytes long, but the file only 10"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "18446744073709551615 bytes long, more than 100000000"},
        {"\xf9\xff\xff\xff\xff\xff\xff\xff{}", 10, "more than 100000000"}, /* its sum with 8 would wrap to 1 */
        {"\1\xe1\xf5\5\0\0\0\0{}", 10, "100000001 bytes long, more than 100000000"},
        {"\0\xe1\xf5\5\0\0\0\0{}", 10, "100000000 bytes long, but the file only 10"},
        {"PK\3\4\0\0\0\0abcdefgh", 16, "incomplete"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", 56, "git lfs pull"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(in_folder("a.safetensors"), cases[i].bytes, cases[i].size);
        assert_refused(in_folder("a.safetensors"), ERR_FORMAT, cases[i].says, "");
    }
    assert_refused(in_folder("missing.safetensors"), ERR_IO, "No such file", "check the path");
    assert_refused(own_folder()->path, ERR_IO, "is a directory", "");
}

/* Opens a damaged file: either an error with a message, or tensors inside the file, aligned, readable to the end. */
static bool survives(const char *path)
{
    struct error e = {0};
    struct safetensors file;
    status result = safetensors_open(path, &file, &e);
    if (result != OK) {
        assert_int_equal(result, ERR_FORMAT);
        assert_ptr_equal(strstr(e.message, path), e.message);
        assert_null(strchr(e.message, '\n'));
        return false;
    }
    size_t total = assert_sound(&file);
    assert_true(total < file.maps[0].size);
    for (size_t i = 0; i < file.count; i++) {
        const struct tensor *t = &file.items[i].tensor;
        const unsigned char *begin = t->data, *map = file.maps[0].data;
        if (file.copies[0] == NULL)
            assert_true(begin >= map && begin + bytes_of(t) <= map + file.maps[0].size);
    }
    safetensors_close(&file);
    return true;
}

static const char victim[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"a.weight\":{\"dtype\":\"F64\",\"shape\":[2,1],\"data_offsets\":[0,16]},"
    "\"a.bias\":{\"dtype\":\"BF16\",\"shape\":[11],\"data_offsets\":[16,38]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[38,38]},"
    "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1,1,3],\"data_offsets\":[38,41]}}";

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    unsigned char bytes[1024];
    size_t size = compose(bytes, victim, 41);
    const char *path = in_folder("victim");
    for (size_t cut = 0; cut < size; cut++) {
        put(path, bytes, cut);
        assert_false(survives(path));
    }
    put(path, bytes, size);
    assert_true(survives(path));
    put(path, bytes, size + 1);
    assert_false(survives(path));
}

static void a_file_with_any_byte_changed_is_refused_or_harmless(void **state)
{
    (void)state;
    static const char values[] = "\0\1\t \"-.0149e,:[]\\{}\x7f\x80\xc3\xff";
    unsigned char bytes[1024];
    size_t size = compose(bytes, victim, 41), survivors = 0, tried = 0;
    const char *path = in_folder("victim");
    put(path, bytes, size);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (size_t at = 0; at < 8 + sizeof victim - 1; at++) {
        for (size_t i = 0; i < 8 + sizeof values - 1; i++) { /* every single bit, then some telling values */
            unsigned char value = i < 8 ? (unsigned char)(bytes[at] ^ 1 << i) : (unsigned char)values[i - 8];
            assert_int_equal(pwrite(fileno(f), &value, 1, (off_t)at), 1);
            bool survived = survives(path);
            assert_true(survived || value != bytes[at]);
            survivors += survived;
            tried++;
        }
        assert_int_equal(pwrite(fileno(f), &bytes[at], 1, (off_t)at), 1);
    }
    fclose(f);
    assert_true(survivors < tried / 2); /* a name may change, most of a header may not */
}

/* Sharded files */

static void put_shards(void)
{
    put_composed(in_folder("m-00001-of-00002.safetensors"),
                 "{\"__metadata__\":{\"format\":\"pt\"},"
                 "\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                 "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6);
    put_composed(in_folder("m-00002-of-00002.safetensors"),
                 "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3);
}

#define SHARD_1 "\"m-00001-of-00002.safetensors\""
#define SHARD_2 "\"m-00002-of-00002.safetensors\""

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

static void a_sharded_file_reads_as_one(void **state)
{
    (void)state;
    put_shards();
    const char *path = in_folder("m.safetensors.index.json");
    put_text(path, "{\"metadata\":{\"total_size\":-17},"
                   "\"weight_map\":{\"b\":" SHARD_2 ",\"a\":" SHARD_1 ",\"c\":" SHARD_1 "}}\n");
    struct safetensors file;
    open_well(path, &file);
    assert_string_equal(file.path, path);
    assert_int_equal(file.count, 3);
    assert_int_equal(file.shards, 2); /* each opened once */
    assert_int_equal(assert_sound(&file), 9);
    assert_string_equal(file.items[0].name, "a");
    assert_memory_equal(safetensors_find(&file, "a")->data, "\2\3\4\5", 4);
    assert_memory_equal(safetensors_find(&file, "b")->data, "\0\1\2", 3);
    assert_memory_equal(safetensors_find(&file, "c")->data, "\0\1", 2);
    assert_string_equal(safetensors_meta(&file, "format"), "pt");
    safetensors_close(&file);
}

static void an_index_without_a_folder_finds_its_shards(void **state)
{
    (void)state;
    put_shards();
    put_text(in_folder("i.json"), "{\"weight_map\":{\"b\":" SHARD_2 "}}");
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(own_folder()->path), 0);
    struct safetensors file;
    status result = safetensors_open("i.json", &file, NULL);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(result, OK);
    assert_int_equal(file.count, 1);
    safetensors_close(&file);
}

static void an_index_that_disagrees_with_its_shards_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index, *tensor, *says;
    } cases[] = {
        {"{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 "}}", "'c'", "is not in the index"},
        {"{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 ",\"c\":" SHARD_1 ",\"bb\":" SHARD_1 "}}", "'bb'",
         "is not in m-00001-of-00002.safetensors, where the index says it is"},
        {"{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 ",\"c\":" SHARD_1 ",\"d\":" SHARD_2 "}}", "'d'",
         "is not in m-00002-of-00002.safetensors, where the index says it is"},
        {"{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 ",\"c\":" SHARD_2 "}}", "'c'",
         "is in m-00001-of-00002.safetensors, but the index says m-00002-of-00002.safetensors"},
        {"{\"weight_map\":{\"a\":\"../m\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"sub/m\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\".\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"m\\u0000/x\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"m\\n\"}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\":1}}", "'a'", "not a plain file name"},
        {"{\"weight_map\":{\"a\\nb\":" SHARD_1 "}}", "", "control characters"},
        {"{\"weight_map\":{}}", "", "no \"weight_map\""},
        {"{\"weight_map\":[]}", "", "no \"weight_map\""},
        {"{}", "", "no \"weight_map\""},
        {"[1]", "", "no \"weight_map\""},
        {"{\"weight_map\":", "", ":1:"},
        {"", "", ":1:1"},
    };
    put_shards();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_text(in_folder("i.json"), cases[i].index);
        assert_refused(in_folder("i.json"), ERR_FORMAT, cases[i].tensor, cases[i].says);
    }
    assert_refused(in_folder("missing.json"), ERR_IO, "No such file", "");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    put_shards();
    put_composed(in_folder("m-00002-of-00002.safetensors"),
                 "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                 "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[3,6]}}", 6);
    put_text(in_folder("i.json"), "{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 ",\"c\":" SHARD_1 "}}");
    assert_refused(in_folder("i.json"), ERR_FORMAT, "'a'", "is in m-00002-of-00002.safetensors, but the index says");
}

static void a_bad_or_missing_shard_is_named(void **state)
{
    (void)state;
    put_shards();
    put_text(in_folder("i.json"), "{\"weight_map\":{\"a\":" SHARD_1 ",\"b\":" SHARD_2 ",\"c\":" SHARD_1 "}}");
    put_composed(in_folder("m-00002-of-00002.safetensors"),
                 "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 2);
    struct error e = {0};
    struct safetensors file;
    assert_int_equal(safetensors_open(in_folder("i.json"), &file, &e), ERR_FORMAT);
    assert_non_null(strstr(e.message, in_folder("m-00002-of-00002.safetensors: tensor 'b': ends at byte 3")));
    error_clear(&e);
    assert_int_equal(unlink(in_folder("m-00002-of-00002.safetensors")), 0);
    assert_int_equal(safetensors_open(in_folder("i.json"), &file, &e), ERR_IO);
    assert_non_null(strstr(e.message, in_folder("m-00002-of-00002.safetensors: cannot open it")));
}

/* What is not written */

static void assert_not_written(const struct named_tensor *items, size_t count, const char *const *metadata,
                               const char *says)
{
    struct error e = {0};
    const char *path = in_folder("a");
    assert_int_equal(safetensors_write(path, items, count, metadata, &e), ERR_ARGUMENT);
    if (strstr(e.message, path) == NULL || strstr(e.message, says) == NULL)
        fail_msg("'%s' does not mention '%s' and '%s'", e.message, path, says);
    assert_false(file_exists(path));
}

static void impossible_tensors_are_not_written(void **state)
{
    (void)state;
    struct named_tensor x = sample("x", DTYPE_F32, 1, (int64_t[]){2}), y = sample("y", DTYPE_U8, 0, NULL), bad = x;
    assert_not_written((struct named_tensor[]){x, y, x}, 3, NULL, "two tensors named 'x'");
    static const char *const names[] = {"", "__metadata__", "a\nb", "\x7f"};
    for (size_t i = 0; i < 4; i++) {
        bad.name = names[i];
        assert_not_written((struct named_tensor[]){x, bad}, 2, NULL, "name is empty");
    }
    bad.name = "not \xff UTF-8";
    assert_not_written(&bad, 1, NULL, "not UTF-8");
    bad = x;
    bad.tensor.data = NULL;
    assert_not_written((struct named_tensor[]){y, bad}, 2, NULL, "tensor 'x': no data");
    bad = x;
    bad.tensor.shape[0] = -1;
    assert_not_written(&bad, 1, NULL, "tensor 'x'");
    bad.tensor.shape[0] = INT64_MAX;
    assert_not_written(&bad, 1, NULL, "tensor 'x'");
    bad.tensor.rank = TENSOR_MAX_RANK + 1;
    assert_not_written(&bad, 1, NULL, "tensor 'x'");
    assert_not_written(&x, 1, (const char *const[]){"k", "1", "k", "2", NULL}, "nobody could read it: header:1:");
    assert_not_written((struct named_tensor[]){{"h", {.data = x.tensor.data, .dtype = DTYPE_U8, .rank = 1,
                                                       .shape = {INT64_MAX - 1}}}, x}, 2, NULL, "tensor 'x'");
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    struct named_tensor old = sample("old", DTYPE_F32, 1, (int64_t[]){4});
    struct named_tensor new = sample("new", DTYPE_F32, 1, (int64_t[]){1000});
    const char *path = in_folder("a");
    assert_int_equal(safetensors_write(path, &old, 1, NULL, NULL), OK);

    /* A limit on file sizes stands in for a full disk. */
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct error e = {0};
    setrlimit(RLIMIT_FSIZE, &small);
    status result = safetensors_write(path, &new, 1, NULL, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(result, ERR_IO);
    assert_non_null(strstr(e.message, path));

    struct safetensors file;
    open_well(path, &file);
    assert_same(safetensors_find(&file, "old"), &old.tensor);
    safetensors_close(&file);
    DIR *d = opendir(own_folder()->path);
    assert_non_null(d);
    int entries = 0;
    while (readdir(d) != NULL)
        entries++;
    closedir(d);
    assert_int_equal(entries, 3); /* ., .. and a */

    assert_int_equal(safetensors_write(in_folder("missing/a"), &new, 1, NULL, NULL), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_dtype_and_rank_makes_the_round_trip),
        TEST(metadata_makes_the_round_trip),
        TEST(a_file_without_tensors_is_a_file),
        TEST(the_bytes_written_are_those_of_the_format),
        TEST(unaligned_data_is_read_from_aligned_copies),
        TEST(links_are_followed),
        TEST(a_hundred_thousand_tensors_open_quickly),
        cmocka_unit_test(every_recorded_file_opens),
        cmocka_unit_test(recorded_values_and_metadata_are_found),
        TEST(tensors_of_other_formats_are_so_many_bytes),
        TEST(null_for_metadata_is_none),
        TEST(bad_tensors_are_refused_by_name),
        TEST(bad_headers_are_refused),
        TEST(what_is_no_safetensors_file_is_refused),
        TEST(a_file_cut_anywhere_is_refused),
        TEST(a_file_with_any_byte_changed_is_refused_or_harmless),
        TEST(a_sharded_file_reads_as_one),
        TEST(an_index_without_a_folder_finds_its_shards),
        TEST(an_index_that_disagrees_with_its_shards_is_refused),
        TEST(a_tensor_in_two_shards_is_refused),
        TEST(a_bad_or_missing_shard_is_named),
        TEST(impossible_tensors_are_not_written),
        TEST(a_failed_write_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
