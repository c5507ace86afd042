/* OpenMP's threads, used so that they sleep when there is nothing to do.
 *
 * `omp parallel for` waits at the end of every loop for all threads of the team, also for one that other work keeps
 * from its core, and threads that wait spin: on a machine shared with anything else a small model mostly waits. So a
 * team is opened once around many loops (parallel_team), its threads sleep in the barrier at its end, and a loop is a
 * group of tasks: the caller takes part from the first moment, helpers join when they wake, and what a helper has not
 * begun when the work is done the caller does itself, in no time.
 *
 * Before they sleep they look about for some microseconds (300 pauses): on two idle cores the example story takes 2.7 s
 * so, 3.4 s where they sleep at once; beside a busy process it is 3.8 s either way, 4.1 s with 1000 pauses. */
#include "tensor/parallel.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct job {
    void (*task)(void *arg, int64_t i, int thread);
    void *arg;
    int64_t count;
    int helpers;
    _Atomic int64_t next; /* first task that nobody has taken */
};

/* GCC's runtime reads the environment once, in a constructor without a number: this one comes before it, provided that
 * the runtime is linked statically. A policy that somebody has set stays. Clang's runtime (LLVM 14) reads the policy at
 * its first call, sleeps between teams, but within one goes on asking for tasks, yielding to whoever wants the core. */
__attribute__((constructor(101))) static void sleep_soon(void)
{
    if (getenv("OMP_WAIT_POLICY") == NULL)
        setenv("GOMP_SPINCOUNT", "300", 0);
    setenv("OMP_WAIT_POLICY", "passive", 0);
}

static void run_tasks(struct job *job, int thread)
{
    for (int64_t i; (i = atomic_fetch_add(&job->next, 1)) < job->count;)
        job->task(job->arg, i, thread);
}

/* In a team, by one of its threads. */
static void share_tasks(void *arg)
{
    struct job *job = arg;
#pragma omp taskgroup
    {
        for (int thread = 1; thread <= job->helpers; thread++) {
#pragma omp task
            run_tasks(job, thread);
        }
        run_tasks(job, 0);
    }
}

static void open_team(int threads, void (*run)(void *arg), void *arg)
{
#pragma omp parallel num_threads(threads)
#pragma omp master
    run(arg);
}

static void *wait_for_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* How many of these threads the system gives us: OpenMP would end the program where it refuses one. */
static int available(int threads)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    int count = 1;
    pthread_mutex_lock(&lock);
    while (ids != NULL && count < threads && pthread_create(&ids[count], NULL, wait_for_lock, &lock) == 0)
        count++;
    pthread_mutex_unlock(&lock);
    for (int i = 1; i < count; i++)
        pthread_join(ids[i], NULL);
    free(ids);
    return count;
}

void parallel_team(int threads, void (*run)(void *arg), void *arg)
{
    int team = threads > 1 && !omp_in_parallel() ? available(threads) : 1;
    if (team > 1)
        open_team(team, run, arg);
    else
        run(arg);
}

void parallel_for(int threads, int64_t count, void (*task)(void *arg, int64_t i, int thread), void *arg)
{
    int64_t most = threads < count ? threads : count;
    struct job job = {.task = task, .arg = arg, .count = count, .helpers = (int)most - 1};
    if (most <= 1)
        run_tasks(&job, 0);
    else if (omp_in_parallel())
        share_tasks(&job);
    else
        open_team(threads, share_tasks, &job);
}

int64_t task_count(int64_t rows, int64_t work)
{
    const int64_t enough = 1 << 15; /* operations that outweigh waking a thread (some microseconds) */
    const int64_t most = 256;       /* an even split for any thread count we will meet */
    int64_t rows_per_task = work > 0 ? (enough + work - 1) / work : rows;
    int64_t tasks = rows / (rows_per_task > 0 ? rows_per_task : 1);
    return tasks < 1 ? (rows > 0) : tasks > most ? most : tasks;
}

struct range task_range(int64_t rows, int64_t tasks, int64_t i)
{
    return (struct range){rows * i / tasks, rows * (i + 1) / tasks};
}
