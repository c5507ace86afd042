/* Threads: every task once, on a thread that exists, and a cut that the number of threads has no part in. */
#include "tensor/cpu.h"
#include "tensor/parallel.h"
#include "tests/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

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

/* Runs `count` tasks; false if one did not run exactly once, or on no thread that exists. */
static bool runs_well(int threads, int64_t count)
{
    int numbers = threads > 0 ? threads : 1;
    struct seen s = {numbers, room(count, sizeof(int)), room(count, sizeof(int)), room(numbers * 64, sizeof(int))};
    parallel_for(threads, count, look, &s);
    int64_t total = 0;
    bool well = true;
    for (int64_t i = 0; i < count; i++)
        well = well && s.runs[i] == 1 && !s.outside[i];
    for (int i = 0; i < numbers; i++)
        total += s.tasks[i * 64];
    free(s.runs);
    free(s.outside);
    free(s.tasks);
    return well && total == count;
}

static void every_task_runs_once_on_a_numbered_thread(void **state)
{
    (void)state;
    static const int threads[] = {0, 1, 2, 7, 3};
    static const int64_t counts[] = {0, 1, 2, 5, 1000};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            assert_true(runs_well(threads[t], counts[c]));
}

/* Helpers that wake late must not touch the next job, nor one that is over. */
static void short_jobs_may_follow_each_other_closely(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++)
        assert_true(runs_well(2 + i % 6, 1 + i % 9));
}

static void *call_often(void *well)
{
    *(bool *)well = true;
    for (int i = 0; i < 300; i++)
        *(bool *)well = *(bool *)well && runs_well(3, 50);
    return NULL;
}

static void several_threads_may_call_at_once(void **state)
{
    (void)state;
    enum { CALLERS = 4 };
    pthread_t callers[CALLERS];
    bool well[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, call_often, &well[i]), 0);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
        assert_true(well[i]);
    }
}

static void call_in_team(void *well)
{
    *(bool *)well = runs_well(100, 500);
}

/* In a process of its own, of somebody (root may do anything) who may have no more than 20. */
static void a_team_may_be_smaller_than_asked_for(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        const uid_t nobody = 65534;
        bool well = false;
        if ((geteuid() == 0 && setuid(nobody) != 0) || setrlimit(RLIMIT_NPROC, &(struct rlimit){20, 20}) != 0)
            _exit(2);
        parallel_team(100, call_in_team, &well);
        _exit(!well);
    }
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
}

static void run_in_team(void *well)
{
    *(bool *)well = true;
    for (int i = 0; i < 2000; i++) /* more and fewer threads than the team has, too */
        *(bool *)well = *(bool *)well && runs_well(2 + i % 6, 1 + i % 9);
}

static void a_team_serves_many_jobs(void **state)
{
    (void)state;
    for (int threads = 0; threads < 5; threads++) {
        bool well = false;
        parallel_team(threads, run_in_team, &well);
        assert_true(well);
    }
}

/* Waits up to ten seconds for all others: they run at the same time, or it is in vain. */
static void meet(void *arg, int64_t i, int thread)
{
    (void)i;
    (void)thread;
    atomic_int *there = arg;
    atomic_fetch_add(there, 1);
    for (int waited = 0; atomic_load(there) < 3 && waited < 10000; waited++)
        usleep(1000);
}

static void let_three_meet(void *there)
{
    parallel_for(3, 3, meet, there);
}

static void tasks_run_at_the_same_time(void **state)
{
    (void)state;
    atomic_int alone = 0, in_team = 0;
    double start = seconds_now();
    let_three_meet(&alone);
    parallel_team(3, let_three_meet, &in_team);
    assert_int_equal(atomic_load(&alone), 3);
    assert_int_equal(atomic_load(&in_team), 3);
    assert_true(seconds_now() - start < 10);
}

static void do_nothing(void *arg, int64_t i, int thread)
{
    (void)arg;
    (void)i;
    (void)thread;
}

enum { PAUSES = 50, PAUSE = 6000 /* microseconds */ };

static void pause_often(void *threads)
{
    for (int i = 0; i < PAUSES; i++) {
        parallel_for(*(int *)threads, 8, do_nothing, NULL);
        usleep(PAUSE);
    }
}

static double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A thread that spun would use the 0.3 seconds of the pauses; those of GCC by default use a third of them. */
static void threads_without_work_sleep(void **state)
{
    (void)state;
#ifdef __clang__
    print_message("skipped: LLVM's threads yield, but do not sleep, while a team is open\n");
    skip();
#endif
    for (int threads = 2; threads <= 4; threads += 2) {
        double start = processor_seconds();
        parallel_team(threads, pause_often, &threads);
        assert_true(processor_seconds() - start < 0.05);
        start = processor_seconds();
        pause_often(&threads);
        assert_true(processor_seconds() - start < 0.05);
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
        cmocka_unit_test(a_team_may_be_smaller_than_asked_for), /* first: OpenMP does not survive a fork */
        cmocka_unit_test(every_task_runs_once_on_a_numbered_thread),
        cmocka_unit_test(short_jobs_may_follow_each_other_closely),
        cmocka_unit_test(several_threads_may_call_at_once),
        cmocka_unit_test(a_team_serves_many_jobs),
        cmocka_unit_test(tasks_run_at_the_same_time),
        cmocka_unit_test(threads_without_work_sleep),
        cmocka_unit_test(tasks_cover_the_rows_without_gap_or_overlap),
        cmocka_unit_test(little_work_is_one_task),
        cmocka_unit_test(the_cpu_has_a_name_cores_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
