// SPDX-License-Identifier: Apache-2.0
#include "base/task.h"

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
