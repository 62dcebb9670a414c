// SPDX-License-Identifier: Apache-2.0
#include "base/task.h"

#include "base/macros.h"

#include <sched.h>
#include <signal.h>

static void *task_main(void *arg) {
    struct task *task = arg;

    task->result = task->run(task->ctx);
    atomic_store(&task->done, true);
    return NULL;
}

int task_start(struct task *task, int (*run)(void *ctx), void *ctx) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL};
    sigset_t blocked, before;
    int r;

    task->run = run;
    task->ctx = ctx;
    task->result = 0;
    atomic_store(&task->done, false);

    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    r = -pthread_create(&task->thread, NULL, task_main, task);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    task->started = r == 0;
    return r;
}

bool task_is_done(const struct task *task) {
    return task->started && atomic_load(&task->done);
}

int task_finish(struct task *task) {
    if (!task->started)
        return 0;
    pthread_join(task->thread, NULL);
    task->started = false;
    return task->result;
}

int task_processors(int most) {
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    return sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : MAX(1, MIN(CPU_COUNT(&cpus), most));
}

/* What one thread does of the work: i = first, first + step, ... < n. */
struct share {
    struct task task;
    int (*run)(void *ctx, int i);
    void *ctx;
    int first, step, n;
};

static int run_share(void *ctx) {
    const struct share *share = ctx;
    int r = 0;

    for (int i = share->first; i < share->n && !r; i += share->step)
        r = share->run(share->ctx, i);
    return r;
}

int tasks_share(int (*run)(void *ctx, int i), void *ctx, int n) {
    struct share shares[TASK_THREADS_MAX] = {};
    int n_threads = MIN(n, task_processors(TASK_THREADS_MAX)), r = 0;

    for (int i = n_threads - 1; i >= 0; i--) {
        struct share *share = &shares[i];
        int own = 0;

        *share = (struct share){{}, run, ctx, i, n_threads, n};
        if (i == 0 || task_start(&share->task, run_share, share))
            own = run_share(share);
        r = r ? r : own;
    }
    for (int i = 1; i < n_threads; i++) {
        int other = task_finish(&shares[i].task);

        r = r ? r : other;
    }
    return r;
}
