/* Binding small files to small tables: what fits is found, what does not is named. */
#include "sdxl/checkpoint/bind.h"
#include "tests/check.h"
#include "tests/folder.h"

static const float zeros[64];

/* A file of the given tensors, opened and bound by `bind`, which is all that differs between the tests. */
struct attempt {
    status result;
    struct error error;
    struct weights weights; /* closed by finish */
};

static struct named_tensor made(const char *name, enum dtype dtype, int rank, const int64_t *shape)
{
    struct named_tensor t = {name, {.data = zeros, .dtype = dtype, .rank = rank}};
    memcpy(t.tensor.shape, shape, (size_t)rank * sizeof *shape);
    return t;
}

#define SHAPE(...)                                                                                                   \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                                           \
    {                                                                                                                \
        __VA_ARGS__                                                                                                  \
    }

static struct attempt attempt(const struct named_tensor *tensors, size_t count,
                              void (*bind)(struct binder *b, void *object), void *object)
{
    struct attempt a = {0};
    struct folder folder = folder_new();
    struct file_path path = folder_path(&folder, "weights.safetensors");
    a.result = safetensors_write(path.text, tensors, count, NULL, &a.error);
    if (a.result == OK)
        a.result = weights_open(path.text, &a.weights, &a.error);
    folder_remove(&folder); /* what is mapped stays */
    if (a.result != OK)
        fail_msg("%s", a.error.message);
    struct binder b = {.weights = &a.weights};
    bind(&b, object);
    a.result = bind_finish(&b, &a.error);
    return a;
}

static void finish(struct attempt *a)
{
    weights_close(&a->weights);
}

/* Fails, names the file, and says each of the texts. */
static void check_refused(struct attempt a, const char *const *texts)
{
    assert_int_equal(a.result, ERR_FORMAT);
    assert_int_equal(a.error.code, ERR_FORMAT);
    assert_non_null(strstr(a.error.message, "weights.safetensors"));
    for (; *texts != NULL; texts++)
        if (strstr(a.error.message, *texts) == NULL)
            fail_msg("\"%s\" is not in: %s", *texts, a.error.message);
    finish(&a);
}

#define TEXTS(...)                                                                                                   \
    (const char *const[])                                                                                            \
    {                                                                                                                \
        __VA_ARGS__, NULL                                                                                            \
    }

static void bind_linear(struct binder *b, void *object)
{
    linear_bind(object, b, "to_q", 3, 2);
}

static void bind_pointwise(struct binder *b, void *object)
{
    pointwise_bind(object, b, "to_q", 3, 2);
}

static void bind_conv(struct binder *b, void *object)
{
    conv_bind(object, b, "block.conv", 3, 2);
}

static void bind_norm(struct binder *b, void *object)
{
    norm_bind(object, b, "norm", 4);
}

static void finds_each_member_under_its_name(void **state)
{
    (void)state;
    struct linear layer = {0};
    struct attempt a = attempt(
        (struct named_tensor[]){made("to_q.weight", DTYPE_F32, SHAPE(2, 3)), made("to_q.bias", DTYPE_F32, SHAPE(2))},
        2, bind_linear, &layer);
    assert_int_equal(a.result, OK);
    assert_ptr_equal(layer.weight.data, tensor_file_find(a.weights.file, "to_q.weight")->data);
    assert_ptr_equal(layer.bias.data, tensor_file_find(a.weights.file, "to_q.bias")->data);
    finish(&a);

    struct conv conv = {0};
    a = attempt((struct named_tensor[]){made("block.conv.weight", DTYPE_F32, SHAPE(2, 3, 3, 3)),
                                        made("block.conv.bias", DTYPE_F32, SHAPE(2))},
                2, bind_conv, &conv);
    assert_int_equal(a.result, OK);
    assert_true(tensor_is(&conv.weight, 4, (int64_t[]){2, 3, 3, 3}));
    finish(&a);

    struct norm norm = {0};
    a = attempt(
        (struct named_tensor[]){made("norm.weight", DTYPE_F32, SHAPE(4)), made("norm.bias", DTYPE_F32, SHAPE(4))}, 2,
        bind_norm, &norm);
    assert_int_equal(a.result, OK);
    assert_true(norm.weight.data != NULL && norm.bias.data != NULL);
    finish(&a);
}

static void takes_the_three_float_formats_and_mixtures(void **state)
{
    (void)state;
    for (enum dtype weight = DTYPE_F32; weight <= DTYPE_BF16; weight++)
        for (enum dtype bias = DTYPE_F32; bias <= DTYPE_BF16; bias++) {
            struct linear layer = {0};
            struct attempt a = attempt(
                (struct named_tensor[]){made("to_q.weight", weight, SHAPE(2, 3)), made("to_q.bias", bias, SHAPE(2))},
                2, bind_linear, &layer);
            assert_int_equal(a.result, OK);
            assert_int_equal(layer.weight.dtype, weight);
            assert_int_equal(layer.bias.dtype, bias);
            finish(&a);
        }
}

static void a_pointwise_convolution_is_a_linear_layer(void **state)
{
    (void)state;
    struct named_tensor matrix = made("to_q.weight", DTYPE_F32, SHAPE(2, 3)),
                        filter = made("to_q.weight", DTYPE_F32, SHAPE(2, 3, 1, 1)),
                        bias = made("to_q.bias", DTYPE_F32, SHAPE(2));
    for (int i = 0; i < 4; i++) {
        struct linear layer = {0};
        struct attempt a = attempt((struct named_tensor[]){i % 2 ? matrix : filter, bias}, 2,
                                   i / 2 ? bind_linear : bind_pointwise, &layer);
        assert_int_equal(a.result, OK);
        finish(&a);
    }
}

static void a_missing_tensor_is_named_with_the_shape_it_should_have(void **state)
{
    (void)state;
    struct linear layer = {0};
    check_refused(
        attempt((struct named_tensor[]){made("to_q.bias", DTYPE_F32, SHAPE(2))}, 1, bind_linear, &layer),
        TEXTS("\"to_q.weight\"", "missing", "[2, 3]"));
    assert_null(layer.weight.data);
}

static void a_misshapen_tensor_is_named_with_both_shapes(void **state)
{
    (void)state;
    static const struct {
        int rank;
        int64_t shape[5];
        const char *text;
    } wrong[] = {{2, {3, 2}, "[3, 2]"},
                 {1, {6}, "[6]"},
                 {3, {2, 3, 1}, "[2, 3, 1]"},
                 {0, {0}, "[]"},
                 {4, {2, 3, 3, 3}, "[2, 3, 3, 3]"},
                 {5, {2, 3, 1, 1, 1}, "[2, 3, 1, 1, 1]"},
                 {2, {0, 3}, "[0, 3]"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct linear layer = {0};
        check_refused(attempt((struct named_tensor[]){made("to_q.weight", DTYPE_F32, wrong[i].rank, wrong[i].shape),
                                                      made("to_q.bias", DTYPE_F32, SHAPE(2))},
                              2, bind_linear, &layer),
                      TEXTS("\"to_q.weight\"", wrong[i].text, "[2, 3]"));
        assert_null(layer.weight.data);
    }
}

static void a_vector_is_no_column(void **state)
{
    (void)state;
    struct norm norm = {0};
    check_refused(attempt((struct named_tensor[]){made("norm.weight", DTYPE_F32, SHAPE(4, 1)),
                                                  made("norm.bias", DTYPE_F32, SHAPE(4))},
                          2, bind_norm, &norm),
                  TEXTS("\"norm.weight\"", "[4, 1]", "[4]"));
}

static void formats_that_are_no_floats_are_refused_by_name(void **state)
{
    (void)state;
    static const enum dtype wrong[] = {DTYPE_F64, DTYPE_I64, DTYPE_I32, DTYPE_U8, DTYPE_BOOL};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct linear layer = {0};
        check_refused(attempt((struct named_tensor[]){made("to_q.weight", wrong[i], SHAPE(2, 3)),
                                                      made("to_q.bias", DTYPE_U8, SHAPE(2))},
                              2, bind_linear, &layer),
                      TEXTS("\"to_q.weight\"", dtype_name(wrong[i]), "F16", "1 more"));
        assert_null(layer.weight.data);
    }
}

static void what_no_table_names_is_noted_but_bookkeeping_is_not(void **state)
{
    (void)state;
    struct linear layer = {0};
    struct text notes = {0};
    struct named_tensor tensors[] = {
        made("to_q.weight", DTYPE_F32, SHAPE(2, 3)), made("to_q.bias", DTYPE_F32, SHAPE(2)),
        made("text_model.embeddings.position_ids", DTYPE_I64, SHAPE(3)), made("logit_scale", DTYPE_F32, SHAPE(1)),
        made("to_q.lora_A", DTYPE_F8_E4M3, SHAPE(1)), made("vision_model.x", DTYPE_F32, SHAPE(1))};
    struct attempt a = attempt(tensors, 4, bind_linear, &layer);
    assert_int_equal(a.result, OK);
    weights_note_unused(a.weights.file, a.weights.used, &notes);
    assert_int_equal(notes.length, 0);
    finish(&a);
    a = attempt(tensors, 6, bind_linear, &layer);
    assert_int_equal(a.result, OK);
    weights_note_unused(a.weights.file, a.weights.used, &notes);
    assert_non_null(strstr(notes.data, "weights.safetensors"));
    assert_non_null(strstr(notes.data, "2 tensors"));
    assert_non_null(strstr(notes.data, "\"to_q.lora_A\""));
    text_free(&notes);
    finish(&a);
}

/* A file of one tensor of 2 MiB, whose header is as many bytes longer than it was written. */
static size_t copied_of(const char *path, size_t longer, struct text *notes)
{
    static float values[1 << 19];
    const struct named_tensor item = {"x", {.data = values, .dtype = DTYPE_F32, .rank = 1, .shape = {1 << 19}}};
    struct tensor_file file;
    struct error e = {0};
    size_t size;
    assert_int_equal(safetensors_write(path, &item, 1, NULL, &e), OK);
    char *bytes = read_bytes(path, &size);
    uint64_t header;
    memcpy(&header, bytes, sizeof header);
    FILE *out = fopen(path, "wb");
    const uint64_t new_header = header + longer;
    assert_int_equal(fwrite(&new_header, 1, sizeof new_header, out), sizeof new_header);
    assert_int_equal(fwrite(bytes + sizeof header, 1, header, out), header);
    assert_int_equal(fwrite("   ", 1, longer, out), longer);
    assert_int_equal(fwrite(bytes + sizeof header + header, 1, sizeof values, out), sizeof values);
    assert_int_equal(fclose(out), 0);
    free(bytes);
    if (tensor_file_open(path, &file, &e) != OK)
        fail_msg("%s", e.message);
    size_t copied = file.copied;
    weights_note_copied(&file, notes);
    tensor_file_close(&file);
    return copied;
}

static void what_cannot_be_mapped_is_noted(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct file_path path = folder_path(&f, "weights.safetensors");
    struct text notes = {0};
    assert_int_equal(copied_of(path.text, 0, &notes), 0);
    assert_int_equal(notes.length, 0);
    assert_int_equal(copied_of(path.text, 3, &notes), 2 << 20);
    assert_non_null(strstr(notes.data, "weights.safetensors: 2.1 MB of it cannot be mapped"));
    text_free(&notes);
    folder_remove(&f);
}

static void all_that_is_bound_is_listed_by_name(void **state)
{
    (void)state;
    struct linear layer = {0};
    struct attempt a = attempt((struct named_tensor[]){made("x", DTYPE_F32, SHAPE(1)),
                                                       made("to_q.weight", DTYPE_F32, SHAPE(2, 3)),
                                                       made("to_q.bias", DTYPE_F32, SHAPE(2))},
                               3, bind_linear, &layer);
    assert_int_equal(a.weights.bound_count, 2);
    assert_string_equal(a.weights.bound[0].name, "to_q.bias");
    assert_string_equal(a.weights.bound[1].name, "to_q.weight");
    assert_ptr_equal(a.weights.bound[1].tensor.data, layer.weight.data);
    finish(&a);
}

static void further_problems_are_counted(void **state)
{
    (void)state;
    struct linear layer = {0};
    check_refused(attempt((struct named_tensor[]){made("a", DTYPE_F32, SHAPE(1)), made("b", DTYPE_F32, SHAPE(1))}, 2,
                          bind_linear, &layer),
                  TEXTS("\"to_q.weight\"", "1 more")); /* weight and bias missing */
}

static const struct binding choices[] = {
    {"to_q.weight", offsetof(struct linear, weight), "oi", "query.weight", false},
    {"to_q.bias", offsetof(struct linear, bias), "o", NULL, true},
};

static void bind_choices(struct binder *b, void *object)
{
    bind_rows(b, "", choices, 2, object, (int64_t[DIMS]){['o'] = 2, ['i'] = 3});
}

static void older_names_are_found_and_optional_tensors_may_be_absent(void **state)
{
    (void)state;
    struct linear layer = {0};
    struct attempt a =
        attempt((struct named_tensor[]){made("query.weight", DTYPE_F32, SHAPE(2, 3))}, 1, bind_choices, &layer);
    assert_int_equal(a.result, OK);
    assert_non_null(layer.weight.data);
    assert_null(layer.bias.data);
    finish(&a);
}

static void an_optional_tensor_must_fit_if_it_is_there(void **state)
{
    (void)state;
    struct linear layer = {0};
    check_refused(attempt((struct named_tensor[]){made("to_q.weight", DTYPE_F32, SHAPE(2, 3)),
                                                  made("to_q.bias", DTYPE_F32, SHAPE(3))},
                          2, bind_choices, &layer),
                  TEXTS("\"to_q.bias\"", "[3]", "[2]"));
}

static void module_names_are_cut_not_overrun(void **state)
{
    (void)state;
    char name[MODULE_NAME], longer[2 * MODULE_NAME];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_string_equal(module_name(name, "%s.%d", "up_blocks", 2), "up_blocks.2");
    assert_int_equal(strlen(module_name(name, "%s", longer)), MODULE_NAME - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_member_under_its_name),
        cmocka_unit_test(takes_the_three_float_formats_and_mixtures),
        cmocka_unit_test(a_pointwise_convolution_is_a_linear_layer),
        cmocka_unit_test(a_missing_tensor_is_named_with_the_shape_it_should_have),
        cmocka_unit_test(a_misshapen_tensor_is_named_with_both_shapes),
        cmocka_unit_test(a_vector_is_no_column),
        cmocka_unit_test(formats_that_are_no_floats_are_refused_by_name),
        cmocka_unit_test(what_no_table_names_is_noted_but_bookkeeping_is_not),
        cmocka_unit_test(what_cannot_be_mapped_is_noted),
        cmocka_unit_test(all_that_is_bound_is_listed_by_name),
        cmocka_unit_test(further_problems_are_counted),
        cmocka_unit_test(older_names_are_found_and_optional_tensors_may_be_absent),
        cmocka_unit_test(an_optional_tensor_must_fit_if_it_is_there),
        cmocka_unit_test(module_names_are_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
