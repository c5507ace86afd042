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
            check_tensor(tensor_file_find(&file, wanted.items[i].name), &wanted.items[i].tensor, wanted.items[i].name);
        tensor_file_close(&file);
        tensor_file_close(&file);
    }
    tensor_file_close(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_hold_what_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
