/* A pool of threads that sleep when there is nothing to do.
 *
 * OpenMP would do, but its threads spin while they wait: on a machine shared with anything else a small model then
 * spends most of its time waiting for a thread that is not running (measured: 24 times slower). Here the caller takes
 * part in the work, helpers join when they wake, and nobody waits for a helper that came too late. */
#include "tensor/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { MAX_HELPERS = 1023 };

struct job {
    void (*task)(void *arg, int64_t i, int thread);
    void *arg;
    int64_t count;
    _Atomic int64_t next; /* first task that nobody has taken */
};

/* One per process, like the cores it uses. All fields are guarded by `lock`. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work, idle; /* a job has begun; the last helper has left it */
    struct job *job;           /* NULL: nothing to do */
    uint64_t generation;       /* of the job: a helper joins each at most once */
    int places;                /* helpers that may still join */
    int inside;                /* helpers in the job */
    int helpers;               /* threads that exist */
    bool busy;                 /* a caller owns the pool */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

static void run_tasks(struct job *job, int thread)
{
    for (int64_t i; (i = atomic_fetch_add(&job->next, 1)) < job->count;)
        job->task(job->arg, i, thread);
}

static void *help(void *unused)
{
    (void)unused;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.job == NULL || pool.places == 0 || pool.generation == seen)
            pthread_cond_wait(&pool.work, &pool.lock);
        struct job *job = pool.job;
        int thread = pool.places--;
        seen = pool.generation;
        pool.inside++;
        pthread_mutex_unlock(&pool.lock);
        run_tasks(job, thread);
        pthread_mutex_lock(&pool.lock);
        if (--pool.inside == 0)
            pthread_cond_signal(&pool.idle);
    }
    return NULL;
}

/* Starts what is missing; with fewer threads than asked for the result is the same. */
static void hire(int helpers)
{
    while (pool.helpers < helpers && pool.helpers < MAX_HELPERS) {
        pthread_t id;
        if (pthread_create(&id, NULL, help, NULL) != 0)
            return;
        pthread_detach(id);
        pool.helpers++;
    }
}

/* False if another thread of the program is using the pool. */
static bool begin(struct job *job, int helpers)
{
    pthread_mutex_lock(&pool.lock);
    bool ours = !pool.busy;
    if (ours) {
        hire(helpers);
        pool.busy = true;
        pool.job = job;
        pool.generation++;
        pool.places = helpers;
        pthread_cond_broadcast(&pool.work);
    }
    pthread_mutex_unlock(&pool.lock);
    return ours;
}

static void end(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.job = NULL;
    while (pool.inside > 0)
        pthread_cond_wait(&pool.idle, &pool.lock);
    pool.busy = false;
    pthread_mutex_unlock(&pool.lock);
}

void parallel_for(int threads, int64_t count, void (*task)(void *arg, int64_t i, int thread), void *arg)
{
    struct job job = {.task = task, .arg = arg, .count = count};
    int64_t helpers = (threads < count ? threads : count) - 1;
    if (helpers <= 0 || !begin(&job, (int)helpers)) {
        run_tasks(&job, 0);
        return;
    }
    run_tasks(&job, 0);
    end();
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
