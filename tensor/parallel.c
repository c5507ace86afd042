#include "tensor/parallel.h"

#include <omp.h>

void parallel_for(int threads, int64_t count, void (*task)(void *arg, int64_t i, int thread), void *arg)
{
    if (threads <= 1 || count <= 1) {
        for (int64_t i = 0; i < count; i++)
            task(arg, i, 0);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < count; i++)
        task(arg, i, omp_get_thread_num());
}

int64_t task_count(int64_t rows, int64_t work)
{
    const int64_t enough = 1 << 15; /* operations that outweigh handing a task to a thread (a few microseconds) */
    const int64_t most = 256;       /* an even split for any thread count we will meet */
    int64_t rows_per_task = work > 0 ? (enough + work - 1) / work : rows;
    int64_t tasks = rows / (rows_per_task > 0 ? rows_per_task : 1);
    return tasks < 1 ? (rows > 0) : tasks > most ? most : tasks;
}

struct range task_range(int64_t rows, int64_t tasks, int64_t i)
{
    return (struct range){rows * i / tasks, rows * (i + 1) / tasks};
}
