/* The estimate of time: every kind of operation that takes time has its part, in proportion to its arithmetic. */
#include "storydiff/comic/estimate.h"
#include "tests/check.h"
#include "tests/small_story.h"

static double estimated(const struct small_story *s, enum op op, double flops)
{
    struct profile cost = {0};
    struct error e = {0};
    double seconds = -1;
    cost.rows[op].flops = flops;
    if (estimate_seconds(&s->request, &cost, 1, &seconds, &e) != OK)
        fail_msg("%s", e.message);
    return seconds;
}

/* One TFLOP by one thread: somewhere between a second, at 1 TFLOP/s, and 12 days. Operations so small run at anything
 * between; what is counted as "other" has no speed, and none is guessed. */
static void every_kind_of_operation_has_its_part(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", 1);
    for (enum op op = 0; op < OP_COUNT; op++) {
        double seconds = estimated(&s, op, 1e12);
        if (op == OP_OTHER)
            assert_true(seconds == 0);
        else if (seconds < 1 || seconds > 1e6)
            fail_msg("1 TFLOP of %s would take %g s", op_name(op), seconds);
    }
    small_story_close(&s);
}

/* Timings on a busy machine differ, but not by the hundred. */
static void a_hundred_times_the_work_takes_longer(void **state)
{
    (void)state;
    struct small_story s;
    small_story_open(&s, "ddim", 1);
    assert_true(estimated(&s, OP_CONV, 1e12) < estimated(&s, OP_CONV, 1e14));
    assert_true(estimated(&s, OP_CONV, 0) == 0);
    small_story_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_operation_has_its_part),
        cmocka_unit_test(a_hundred_times_the_work_takes_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
