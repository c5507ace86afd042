/* What is counted: arithmetic by the formulas of each operation, while measuring and while running alike. */
#include "nn/attention.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "tensor/profile.h"
#include "tests/check.h"

struct layers {
    struct random_tensor weight, filter, bias;
    float *x, *y;
    struct profile measured, ran;
    double seconds; /* of the whole last run, by a clock around it */
};

/* 12 pixels of 8 channels through a linear layer to 6 and a convolution to 6, an attention and two norms. */
static void run_layers(const struct context *ctx, void *arg)
{
    struct layers *l = arg;
    struct context own = *ctx;
    own.profile = arena_measuring(ctx->arena) ? &l->measured : &l->ran;
    struct linear linear_layer = {l->weight.tensor, l->bias.tensor};
    struct conv conv_layer = {l->filter.tensor, l->bias.tensor};
    struct norm norm_layer = {l->bias.tensor, l->bias.tensor};
    struct features in = {l->x, 1, 3, 4, 8}, out = {l->y, 1, 3, 4, 6};
    struct key_set keys = {l->x, l->x, NULL, 12};
    double start = seconds_now();
    linear(&own, l->y, l->x, 12, &linear_layer, (struct linear_options){0});
    conv3x3(&own, out, in, &conv_layer, CONV_SAME, (struct conv_options){0});
    attention(&own, &(struct attention){l->y, l->x, 12, 2, 3, &keys, 1, ATTEND_ALL});
    group_norm(&own, l->y, out, NULL, &norm_layer, 2, 1e-5f, ACT_NONE);
    layer_norm(&own, l->y, l->y, 12, 6, &norm_layer, 1e-5f);
    l->seconds = seconds_now() - start;
}

static void operations_are_counted_by_their_formulas(void **state)
{
    (void)state;
    struct layers l = {
        .weight = random_tensor(1, DTYPE_F16, 2, (int64_t[]){6, 8}),
        .filter = random_tensor(2, DTYPE_F32, 4, (int64_t[]){6, 8, 3, 3}),
        .bias = random_tensor(3, DTYPE_F32, 1, (int64_t[]){6}),
        .x = some_floats(4, 12 * 8),
        .y = room(12 * 8, sizeof(float)),
    };
    compute(1, run_layers, &l);
    const struct profile_row *rows = l.measured.rows;
    assert_int_equal(rows[OP_LINEAR].calls, 1);
    assert_true(rows[OP_LINEAR].flops == 2 * 12 * 6 * 8);
    assert_true(rows[OP_LINEAR].bytes == 2 * 6 * 8 + 4 * 12 * (6 + 8)); /* the weight is half precision */
    assert_true(rows[OP_CONV].flops == 2 * 12 * 6 * 8 * 9);
    assert_true(rows[OP_ATTENTION].flops == 2 * 2 * 12 * 12 * 6); /* q k and p v */
    assert_int_equal(rows[OP_NORM].calls, 2);
    assert_true(rows[OP_NORM].bytes == (12 + 8) * 12 * 6); /* the first looks twice, then writes; the second once */
    assert_int_equal(rows[OP_OTHER].calls, 0);
    double seconds = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        assert_int_equal(l.ran.rows[op].calls, rows[op].calls);
        assert_true(l.ran.rows[op].flops == rows[op].flops && l.ran.rows[op].bytes == rows[op].bytes);
        assert_true((l.ran.rows[op].seconds > 0) == (rows[op].calls > 0));
        seconds += l.ran.rows[op].seconds;
    }
    assert_true(seconds <= l.seconds); /* each call once, from its own beginning */
    random_tensor_free(&l.weight);
    random_tensor_free(&l.filter);
    random_tensor_free(&l.bias);
    free(l.x);
    free(l.y);
}

static void rows_add_up(void **state)
{
    (void)state;
    struct profile p = {0};
    double start = seconds_now() - 1;
    profile_add(&p, OP_NORM, start, 10, 3);
    profile_add(&p, OP_NORM, start, 20, 4);
    profile_add(NULL, OP_NORM, start, 40, 5);
    assert_int_equal(p.rows[OP_NORM].calls, 2);
    assert_true(p.rows[OP_NORM].flops == 30 && p.rows[OP_NORM].bytes == 7 && p.rows[OP_NORM].seconds >= 2);
}

static void every_operation_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = 0; a < OP_COUNT; a++)
        for (int b = 0; b < a; b++)
            assert_string_not_equal(op_name((enum op)a), op_name((enum op)b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_are_counted_by_their_formulas),
        cmocka_unit_test(rows_add_up),
        cmocka_unit_test(every_operation_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
