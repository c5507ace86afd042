/* Threads that cannot change the result.
 *
 * Work is cut into tasks by its shape, not by the number of threads, and each task writes its own range of the output.
 * Which thread runs a task is then of no consequence: 1, 2 and 7 threads give the same bytes. A sum is never split
 * between threads. (One exception, nn/attention_tiled.c: its cuts may depend on the threads, since no value does on the
 * cuts.) */
#ifndef TENSOR_PARALLEL_H
#define TENSOR_PARALLEL_H

#include <stdint.h>

/* Runs task(arg, i, thread) for every i in [0, count), with 0 <= thread < threads for per-thread scratch. Returns
 * when all are done, and waits for no helper that came too late to do any. Tasks may not call parallel_for. May be
 * called from several threads of a program: each has a team of its own. */
void parallel_for(int threads, int64_t count, void (*task)(void *arg, int64_t i, int thread), void *arg);

/* Calls run(arg) on this thread, with a team of `threads` at hand, itself included: what parallel_for does in there
 * uses that team, whose other threads sleep meanwhile. To be called once around all of a program's work, with the
 * number that its context has; if the system refuses some of the threads, the team is smaller. Without a team each
 * parallel_for opens one for itself, with the same results, and a refused thread ends the program. */
void parallel_team(int threads, void (*run)(void *arg), void *arg);

/* For loops over rows: how many tasks to cut `rows` into when one row costs about `work` elementary operations, and
 * the rows of task i. Depends on the shape alone. */
struct range {
    int64_t begin, end;
};
int64_t task_count(int64_t rows, int64_t work);
struct range task_range(int64_t rows, int64_t tasks, int64_t i);

#endif
