/* Threads: every task once, on a thread that exists, and a cut that the number of threads has no part in. */
#include "tensor/parallel.h"
#include "tensor/cpu.h"
#include "tests/check.h"

struct seen {
    int threads;
    int *runs;    /* per task */
    int *outside; /* per task: ran on a thread that is not one of them */
    int *tasks;   /* per thread, 64 apart: how many it ran; lost updates would mean a number given twice */
};

static void look(void *arg, int64_t i, int thread)
{
    struct seen *s = arg;
    s->runs[i]++;
    s->outside[i] = thread < 0 || thread >= s->threads;
    if (!s->outside[i])
        s->tasks[thread * 64]++;
}

static void every_task_runs_once_on_a_numbered_thread(void **state)
{
    (void)state;
    static const int thread_counts[] = {0, 1, 2, 7};
    static const int64_t counts[] = {0, 1, 2, 5, 1000};
    for (size_t t = 0; t < 4; t++)
        for (size_t c = 0; c < 5; c++) {
            int threads = thread_counts[t] > 0 ? thread_counts[t] : 1, total = 0;
            struct seen s = {threads, room(counts[c], sizeof(int)), room(counts[c], sizeof(int)),
                             room(threads * 64, sizeof(int))};
            parallel_for(thread_counts[t], counts[c], look, &s);
            for (int64_t i = 0; i < counts[c]; i++) {
                assert_int_equal(s.runs[i], 1);
                assert_false(s.outside[i]);
            }
            for (int i = 0; i < threads; i++)
                total += s.tasks[i * 64];
            assert_int_equal(total, counts[c]);
            free(s.runs);
            free(s.outside);
            free(s.tasks);
        }
}

static void tasks_cover_the_rows_without_gap_or_overlap(void **state)
{
    (void)state;
    for (int64_t rows = 0; rows < 1500; rows += rows < 20 ? 1 : 97)
        for (int64_t work = 0; work < 200000; work = work * 3 + 1) {
            int64_t tasks = task_count(rows, work), next = 0;
            assert_true(tasks >= (rows > 0) && tasks <= rows);
            for (int64_t i = 0; i < tasks; i++) {
                struct range r = task_range(rows, tasks, i);
                assert_int_equal(r.begin, next);
                assert_true(r.end > r.begin);
                next = r.end;
            }
            assert_int_equal(next, rows);
        }
}

static void little_work_is_one_task(void **state)
{
    (void)state;
    assert_int_equal(task_count(100, 1), 1);
    assert_int_equal(task_count(1, 1 << 30), 1);
    assert_true(task_count(1000, 1 << 20) > 16); /* much work is shared out */
}

static void the_cpu_has_a_name_cores_and_memory(void **state)
{
    (void)state;
    struct cpu cpu = cpu_detect();
    assert_true(cpu.name[0] != '\0' && memchr(cpu.name, '\0', sizeof cpu.name) != NULL);
    assert_true(cpu.physical_cores >= 1 && cpu.logical_cores >= cpu.physical_cores);
    assert_true(cpu.memory > 0 && cpu.memory_available <= cpu.memory);
    assert_true(cpu.avx2_fma || !cpu.avx512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_on_a_numbered_thread),
        cmocka_unit_test(tasks_cover_the_rows_without_gap_or_overlap),
        cmocka_unit_test(little_work_is_one_task),
        cmocka_unit_test(the_cpu_has_a_name_cores_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
