/* PyTorch's files: recorded ones against recorded contents, made-up ones against what they say. */
#include "tensor/tensor_file.h"
#include "tensor/torchfile.h"

#include "tests/check.h"
#include "tests/folder.h"

#define RECORDED "tests/golden/single-file/"

static void open_well(const char *path, struct tensor_file *file)
{
    struct error e = {0};
    if (tensor_file_open(path, file, &e) != OK)
        fail_msg("%s", e.message);
}

static void check_tensor(const struct tensor *a, const struct tensor *b, const char *name)
{
    if (a == NULL || a->dtype != b->dtype || !tensor_is(a, b->rank, b->shape) ||
        memcmp(a->data, b->data, (size_t)tensor_count(b) * dtype_size(b->dtype)) != 0)
        fail_msg("%s differs from what is recorded", name);
    assert_int_equal((uintptr_t)a->data % dtype_size(a->dtype), 0);
}

/* Nesting, a sliced and a transposed view, bfloat16 and int64, in both forms. */
static void both_forms_hold_what_is_recorded(void **state)
{
    (void)state;
    static const char *const forms[] = {RECORDED "vae_original.ckpt", RECORDED "vae_legacy.pt"};
    struct tensor_file wanted;
    open_well(RECORDED "vae_original.safetensors", &wanted);
    for (size_t f = 0; f < 2; f++) {
        struct tensor_file file;
        open_well(forms[f], &file);
        assert_string_equal(file.format, f == 0 ? "PyTorch" : "PyTorch before 1.6");
        assert_int_equal(file.count, wanted.count);
        for (size_t i = 0; i < wanted.count; i++)
            check_tensor(tensor_file_find(&file, wanted.items[i].name), &wanted.items[i].tensor,
                         wanted.items[i].name);
        tensor_file_close(&file);
        tensor_file_close(&file);
    }
    tensor_file_close(&wanted);
}

/* ---------------------------------------------------------------------------------------------- made-up files */

/* Bytes in a row, for a pickle and for the file around it. */
struct bytes {
    unsigned char at[4096];
    size_t count;
};

static void add(struct bytes *b, const void *bytes, size_t count)
{
    assert_true(b->count + count <= sizeof b->at);
    memcpy(b->at + b->count, bytes, count);
    b->count += count;
}

static void add_text(struct bytes *b, const char *text)
{
    add(b, text, strlen(text));
}

static void add_number(struct bytes *b, uint64_t number, int count)
{
    for (int i = 0; i < count; i++)
        add(b, &(unsigned char){(unsigned char)(number >> (8 * i))}, 1);
}

static void pickle_word(struct bytes *b, const char *word)
{
    add_text(b, "X");
    add_number(b, strlen(word), 4);
    add_text(b, word);
}

static void pickle_int(struct bytes *b, int64_t number)
{
    add_text(b, "\x8a\x08");
    add_number(b, (uint64_t)number, 8);
}

/* A float tensor of rank 2 in storage "0", which has `elements`. */
static void pickle_tensor(struct bytes *b, int64_t elements, int64_t offset, const int64_t shape[2],
                          const int64_t strides[2])
{
    add_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_word(b, "storage");
    add_text(b, "ctorch\nFloatStorage\n");
    pickle_word(b, "0");
    pickle_word(b, "cpu");
    pickle_int(b, elements);
    add_text(b, "NtQ");
    pickle_int(b, offset);
    pickle_int(b, shape[0]);
    pickle_int(b, shape[1]);
    add_text(b, "\x86");
    pickle_int(b, strides[0]);
    pickle_int(b, strides[1]);
    add_text(b, "\x86\x89"
                "ccollections\nOrderedDict\n)RtR");
}

/* A file of the older form: the object's pickle, and storage "0" with the numbers 0 to elements - 1. */
static struct bytes legacy(const struct bytes *object, int64_t elements)
{
    struct bytes file = {.count = 0};
    add(&file, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.", 25);
    add(&file, object->at, object->count);
    add_text(&file, "\x80\x02](");
    if (elements > 0)
        pickle_word(&file, "0");
    add_text(&file, "e.");
    if (elements > 0)
        add_number(&file, (uint64_t)elements, 8);
    for (int64_t i = 0; i < elements; i++)
        add(&file, &(float){(float)i}, sizeof(float));
    return file;
}

/* What becomes of a file of these bytes; *file is open if it is OK. */
static status open_bytes(const void *bytes, size_t count, struct torchfile *file, struct error *e)
{
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "x.pt");
    write_bytes(path.text, bytes, count);
    status s = torchfile_open(path.text, file, e);
    folder_remove(&folder); /* what is mapped stays */
    return s;
}

static void check_refused(const struct bytes *file, const char *text)
{
    struct torchfile opened;
    struct error e = {0};
    assert_int_not_equal(open_bytes(file->at, file->count, &opened, &e), OK);
    if (strstr(e.message, "x.pt: ") == NULL || strstr(e.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, e.message);
    assert_null(opened.path); /* closed */
}

static void views_are_placed_by_offset_shape_and_strides(void **state)
{
    (void)state;
    static const struct {
        int64_t offset, shape[2], strides[2];
        float wanted[6];
    } views[] = {
        {0, {2, 3}, {3, 1}, {0, 1, 2, 3, 4, 5}},
        {0, {3, 2}, {1, 3}, {0, 3, 1, 4, 2, 5}},
        {3, {1, 3}, {99, 1}, {3, 4, 5}},
        {1, {2, 2}, {3, 1}, {1, 2, 4, 5}},
        {0, {2, 2}, {1, 1}, {0, 1, 1, 2}},
        {5, {1, 1}, {1, 1}, {5}},
        {0, {0, 9}, {9, 1}, {0}},
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        struct bytes object = {.count = 0};
        struct torchfile file;
        struct error e = {0};
        add_text(&object, "\x80\x02}");
        pickle_word(&object, "w");
        pickle_tensor(&object, 6, views[i].offset, views[i].shape, views[i].strides);
        add_text(&object, "s.");
        struct bytes whole = legacy(&object, 6);
        if (open_bytes(whole.at, whole.count, &file, &e) != OK)
            fail_msg("%s", e.message);
        assert_int_equal(file.count, 1);
        const struct tensor *t = &file.items[0].tensor;
        assert_true(tensor_is(t, 2, views[i].shape));
        assert_memory_equal(t->data, views[i].wanted, (size_t)tensor_count(t) * sizeof(float));
        torchfile_close(&file);
    }
}

static void views_that_leave_their_storage_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t elements, offset, shape[2], strides[2];
        const char *text;
    } views[] = {
        {6, 1, {2, 3}, {3, 1}, "tensor 'w': it reaches beyond its storage"},
        {6, 0, {2, 3}, {4, 1}, "beyond its storage"},
        {6, 6, {1, 1}, {1, 1}, "beyond its storage"},
        {6, 0, {2, 2}, {(int64_t)1 << 62, (int64_t)1 << 62}, "beyond its storage"},
        {6, 0, {3, 3}, {(int64_t)1 << 62, 0}, "beyond its storage"},
        {6, 0, {(int64_t)1 << 40, 1}, {0, 0}, "repeat the elements"},
        {6, 0, {7, 1}, {0, 1}, "repeat the elements"},
        {6, 0, {(int64_t)1 << 40, (int64_t)1 << 40}, {0, 0}, "its shape is impossible"},
        {6, 0, {-1, 2}, {1, 1}, "described in an unknown way"},
        {6, 0, {1, 2}, {1, -1}, "described in an unknown way"},
        {6, -1, {1, 2}, {1, 1}, "described in an unknown way"},
        {7, 0, {7, 1}, {1, 1}, "has one of another length"},
        {-1, 0, {1, 1}, {1, 1}, "a storage that is described in an unknown way"},
        {INT64_MAX, 0, {1, 1}, {1, 1}, "impossible size"},
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        struct bytes object = {.count = 0};
        add_text(&object, "\x80\x02}");
        pickle_word(&object, "w");
        pickle_tensor(&object, views[i].elements, views[i].offset, views[i].shape, views[i].strides);
        add_text(&object, "s.");
        struct bytes whole = legacy(&object, 6);
        check_refused(&whole, views[i].text);
    }
}

/* Every way that a pickle has to run something, and a few in which it is merely wrong. */
static void pickles_that_could_run_something_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *object;
        size_t count; /* 0: strlen */
        const char *text;
    } cases[] = {
        {"\x80\x02"
         "cos\nsystem\nU\x04true\x85R.",
         0, "refers to os.system, which has no place in a checkpoint"},
        {"\x80\x02"
         "c__builtin__\neval\nU\x01"
         "1\x85R.",
         0, "refers to __builtin__.eval"},
        {"\x80\x04\x8c\x05posix\x8c\x06system\x93.", 0, "refers to posix.system"},
        {"\x80\x02"
         "ctorch.nn.modules.linear\nLinear\n)\x81.",
         0, "refers to torch.nn.modules.linear.Linear"},
        {"\x80\x02"
         "ctorch._utils\n_rebuild_tensor_v3\n.",
         0, "_rebuild_tensor_v3"},
        {"\x80\x02(U\x04trueios\nsystem\n.", 0, "opcode INST"},
        {"\x80\x02(cbuiltins\nint\no.", 0, "opcode OBJ"},
        {"\x80\x02P1\n.", 0, "opcode PERSID"},
        {"\x80\x02\x82\x01.", 0, "opcode EXT1"},
        {"\x80\x02"
         "cbuiltins\nint\n)}\x92.",
         0, "opcode NEWOBJ_EX"},
        {"\x80\x05\x96\x01\0\0\0\0\0\0\0x.", 12, "opcode BYTEARRAY8"},
        {"\x80\x02\xff.", 0, "opcode 0xff, which does not exist"},
        {"\x80\x02U\x02os)R.", 0, "a call of something that is no name"},
        {"\x80\x02"
         "cbuiltins\nint\nK\x01R.",
         0, "a call without its arguments"},
        {"\x80\x02"
         "ca\x1b[31m\nb\n.",
         0, "refers to a?[31m.b"},
        {"\x80\x02.", 0, "its stack is empty"},
        {"\x80\x02}(K\x01u.", 0, "members for something that has none"},
        {"\x80\x02K\x01K\x02"
         "a.",
         0, "members for something that has none"},
        {"\x80\x02u.", 0, "a mark is missing"},
        {"\x80\x02h\x07.", 0, "a memo that was never made"},
        {"\x80\x02}r\xff\xff\xff\xff.", 0, "a memo of impossible number"},
        {"\x80\x02X\xff\xff\xff\xffx.", 0, "a text is longer than what is left"},
        {"\x80\x02\x8b\xff\xff\xff\xffx.", 0, "a number is longer than what is left"},
        {"\x80\x02K", 0, "it ends in the middle"},
        {"\x80\x02"
         "cos\nsystem",
         0, "it ends in the middle of a line"},
        {"\x80\x02U\x01xQ.", 0, "not described by a tuple"},
        {"\x80\x02K\x01.", 0, "no dictionary of tensors"},
        {"\x80\x02}.", 0, "no tensors in it"},
        {"\x80\x02}q\x01U\x01"
         "ah\x01s.",
         0, "dictionaries in dictionaries without end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes object = {.count = 0};
        add(&object, cases[i].object, cases[i].count > 0 ? cases[i].count : strlen(cases[i].object));
        struct bytes whole = legacy(&object, 0);
        if (strstr(cases[i].text, "ends in the middle") != NULL) /* nothing may follow, or it goes on */
            whole.count = 25 + object.count;
        check_refused(&whole, cases[i].text);
    }
}

/* What training leaves beside the weights is passed over. */
static void what_is_no_tensor_is_passed_over(void **state)
{
    (void)state;
    struct bytes object = {.count = 0};
    struct torchfile file;
    struct error e = {0};
    add_text(&object, "\x80\x02}(");
    pickle_word(&object, "epoch");
    add_text(&object, "K\x03");
    pickle_word(&object, "lr");
    add(&object, "G?\x1a\x36\xe2\xeb\x1c\x43\x2d", 9);
    pickle_word(&object, "callbacks");
    add_text(&object, "}cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n}s");
    pickle_word(&object, "numpy");
    add_text(&object, "cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02"
                      "f8K\x02K\x01\x87R(K\x03U\x01<tbU\x01x\x86R");
    pickle_word(&object, "state_dict");
    add_text(&object, "ccollections\nOrderedDict\n)R(");
    pickle_word(&object, "w");
    add_text(&object, "ctorch._utils\n_rebuild_parameter\n(");
    pickle_tensor(&object, 6, 0, (const int64_t[]){3, 2}, (const int64_t[]){2, 1});
    add_text(&object, "\x88"
                      "ccollections\nOrderedDict\n)RtRu}b");
    pickle_word(&object, "optimizer");
    add_text(&object, "}K\x01]s");
    add_text(&object, "u.");
    struct bytes whole = legacy(&object, 6);
    if (open_bytes(whole.at, whole.count, &file, &e) != OK)
        fail_msg("%s", e.message);
    assert_int_equal(file.count, 1);
    assert_string_equal(file.items[0].name, "w");
    torchfile_close(&file);
}

/* What lies in the archive as it is needed is a view of the map: of 34 tensors, only the transposed one is a copy. */
static void stored_tensors_are_not_copied(void **state)
{
    (void)state;
    struct torchfile file;
    struct error e = {0};
    if (torchfile_open(RECORDED "vae_original.ckpt", &file, &e) != OK)
        fail_msg("%s", e.message);
    int copies = 0;
    for (size_t i = 0; i < file.count; i++) {
        const unsigned char *data = file.items[i].tensor.data;
        bool mapped = data >= file.map.data && data < file.map.data + file.map.size;
        assert_true(mapped || strcmp(file.items[i].name, "extra.view_transposed") == 0);
        copies += !mapped;
    }
    assert_int_equal(copies, 1);
    torchfile_close(&file);
}

/* Cut anywhere, a file is refused; with a byte changed, it is refused or read. */
static void no_cut_and_no_change_breaks_the_reader(void **state)
{
    (void)state;
    static const char *const forms[] = {RECORDED "vae_original.ckpt", RECORDED "vae_legacy.pt"};
    for (size_t f = 0; f < 2; f++) {
        size_t size, step = f == 0 ? 331 : 97;
        char *bytes = read_bytes(forms[f], &size);
        struct torchfile file;
        for (size_t cut = 0; cut < size; cut += step) {
            struct error e = {0};
            assert_int_not_equal(open_bytes(bytes, cut, &file, &e), OK);
        }
        for (size_t at = 0; at < size; at += step / 2) {
            struct error e = {0};
            bytes[at] ^= (char)(1 << at % 8);
            if (open_bytes(bytes, size, &file, &e) == OK)
                torchfile_close(&file);
            bytes[at] ^= (char)(1 << at % 8);
        }
        free(bytes);
    }
}

/* ------------------------------------------------------------------------------------------------------------
 * archives */

/* The recorded archive packed by a command that everybody has would need zip; the corpus of tests/fuzz has one that
 * Python's zipfile deflated, of the tensors that its stored twin has. */
static void deflated_archives_hold_the_same(void **state)
{
    (void)state;
    struct tensor_file stored, deflated;
    open_well("tests/fuzz/corpus/weights/torch", &stored);
    open_well("tests/fuzz/corpus/weights/torch-deflated", &deflated);
    assert_int_equal(stored.count, 3);
    assert_int_equal(deflated.count, 3);
    for (size_t i = 0; i < 3; i++)
        check_tensor(tensor_file_find(&deflated, stored.items[i].name), &stored.items[i].tensor,
                     stored.items[i].name);
    static const float turned[] = {0, 3, 1, 4, 2, 5};
    assert_memory_equal(tensor_file_find(&deflated, "b")->data, turned, sizeof turned);
    tensor_file_close(&stored);
    tensor_file_close(&deflated);
}

static void damaged_archives_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
    } cases[] = {
        {"torch-bomb", "more than 20 times its size"},
        {"torch-laughs", "repeat the elements"},
        {"torch-no-storage", "a storage is not in it"},
        {"torch-storage-too-short", "has 24 bytes, 7 elements of F32 take 28"},
        {"torch-two-of-a-name", "two tensors are called 'w'"},
        {"zip-twice", "two entries have one name"},
        {"zip-directory-far", "its directory lies outside"},
        {"zip-entry-far", "an entry is not where its directory says"},
        {"zip-empty", "none that PyTorch wrote"},
        {"gguf", "is a GGUF file"},
        {"lfs-pointer", "is a Git LFS pointer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256];
        struct tensor_file file;
        struct error e = {0};
        snprintf(path, sizeof path, "tests/fuzz/corpus/weights/%s", cases[i].file);
        assert_int_not_equal(tensor_file_open(path, &file, &e), OK);
        if (strstr(e.message, path) == NULL || strstr(e.message, cases[i].text) == NULL)
            fail_msg("\"%s\" is not in: %s", cases[i].text, e.message);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * shards */

static void an_index_gathers_shards(void **state)
{
    (void)state;
    struct folder folder = folder_new();
    struct tensor_file file;
    struct error e = {0};
    char command[512];
    snprintf(command, sizeof command,
             "cp tests/fuzz/corpus/weights/torch %s/a.bin; cp tests/fuzz/corpus/weights/torch-legacy "
             "%s/b.bin",
             folder.path, folder.path);
    assert_int_equal(system(command), 0);
    struct file_path index = folder_path(&folder, "model.bin.index.json");
    static const char good[] =
        "{\"weight_map\":{\"a.weight\":\"a.bin\",\"b\":\"a.bin\",\"state.x\":\"a.bin\",\"w\":\"b.bin\"}}";
    write_bytes(index.text, good, sizeof good - 1);
    open_well(index.text, &file);
    assert_int_equal(file.count, 4);
    assert_non_null(tensor_file_find(&file, "w"));
    assert_non_null(tensor_file_find(&file, "b"));
    tensor_file_close(&file);
    static const struct {
        const char *index, *text;
    } bad[] = {
        {"{\"weight_map\":{\"a.weight\":\"a.bin\",\"c\":\"a.bin\"}}", "tensor 'c' is in none of its files"},
        {"{\"weight_map\":{\"a.weight\":\"a.bin\",\"w\":\"../b.bin\"}}", "not a plain name"},
        {"{\"weight_map\":{\"a.weight\":\"a.bin\",\"w\":\"c.bin\"}}", "c.bin: cannot open it"},
        {"{\"weight_map\":{\"a.weight\":\"a.bin\",\"w\":\"model.bin.index.json\"}}", "model.bin.index.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_bytes(index.text, bad[i].index, strlen(bad[i].index));
        error_clear(&e);
        assert_int_not_equal(tensor_file_open(index.text, &file, &e), OK);
        if (strstr(e.message, bad[i].text) == NULL)
            fail_msg("\"%s\" is not in: %s", bad[i].text, e.message);
    }
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_hold_what_is_recorded),
        cmocka_unit_test(views_are_placed_by_offset_shape_and_strides),
        cmocka_unit_test(views_that_leave_their_storage_are_refused),
        cmocka_unit_test(pickles_that_could_run_something_are_refused_by_name),
        cmocka_unit_test(what_is_no_tensor_is_passed_over),
        cmocka_unit_test(stored_tensors_are_not_copied),
        cmocka_unit_test(no_cut_and_no_change_breaks_the_reader),
        cmocka_unit_test(deflated_archives_hold_the_same),
        cmocka_unit_test(damaged_archives_are_refused),
        cmocka_unit_test(an_index_gathers_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
