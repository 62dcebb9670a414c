// SPDX-License-Identifier: Apache-2.0
/*
 * One function that runs beside its caller. Zero-initialise; started, polled and finished by one
 * thread. And work that some threads share.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct task {
    pthread_t thread;
    int (*run)(void *ctx);
    void *ctx;
    int result;
    bool started;
    atomic_bool done;
};

/*
 * task_start() - run @run(@ctx) in a thread of its own, without signals but those of faults. The
 * task must not be started already, and stays where it is until finished. Return: 0 or -errno.
 */
int task_start(struct task *task, int (*run)(void *ctx), void *ctx);

/* task_is_done() - has a started task returned? Never waits. */
bool task_is_done(const struct task *task);

/* task_finish() - wait for the task. Return: what it returned; 0 when none was started. */
int task_finish(struct task *task);

#define TASK_THREADS_MAX 16

/* task_processors() - processors that the calling thread may use, from 1 to @most. */
int task_processors(int most);

/*
 * tasks_share() - @run(@ctx, i) for each i from 0 to @n - 1, by as many threads as there are
 * processors, at most TASK_THREADS_MAX; the caller is one of them. A thread stops at its first
 * result that is not 0. Return: 0 or one of these.
 */
int tasks_share(int (*run)(void *ctx, int i), void *ctx, int n);
