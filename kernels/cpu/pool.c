// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pool.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct worker {
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    pthread_mutex_t lock; /* over all but next */
    pthread_cond_t begin; /* a new round, or stop */
    pthread_cond_t end;   /* n_busy fell to 0 */
    unsigned round;
    bool stop;
    int n_busy; /* workers that have not finished this round */

    POOL_TASK(fn);
    const void *op;
    size_t n_tasks;
    atomic_size_t next; /* first task that no thread has taken */

    int n_workers; /* threads beside the caller's own */
    struct worker workers[POOL_MAX_THREADS];
};

int pool_usable_threads(void) {
    cpu_set_t set;
    int n;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    n = CPU_COUNT(&set);
    return MAX(1, MIN(n, POOL_MAX_THREADS));
}

int pool_size(const struct pool *pool) {
    return pool->n_workers + 1;
}

static void pool_work(struct pool *pool, int worker) {
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);

        if (task >= pool->n_tasks)
            return;
        pool->fn(pool->op, task, worker);
    }
}

static void *pool_thread(void *arg) {
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    unsigned round = 0;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == round && !pool->stop)
            pthread_cond_wait(&pool->begin, &pool->lock);
        if (pool->stop)
            break;
        round = pool->round;
        pthread_mutex_unlock(&pool->lock);
        pool_work(pool, worker->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->end);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void pool_run(struct pool *pool, size_t n_tasks, POOL_TASK(fn), const void *op) {
    if (n_tasks <= 1 || pool->n_workers == 0) {
        for (size_t task = 0; task < n_tasks; task++)
            fn(op, task, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->fn = fn;
    pool->op = op;
    pool->n_tasks = n_tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->n_busy = pool->n_workers;
    pool->round++;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);

    pool_work(pool, 0);

    pthread_mutex_lock(&pool->lock);
    while (pool->n_busy > 0)
        pthread_cond_wait(&pool->end, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

/* The threads take no signals: those belong to the program's own threads. */
static int pool_start(struct pool *pool, int n_workers) {
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < n_workers && r == 0; i++) {
        struct worker *worker = &pool->workers[i];

        *worker = (struct worker){.pool = pool, .index = i + 1};
        r = -pthread_create(&worker->thread, NULL, pool_thread, worker);
        if (r == 0)
            pool->n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int pool_new(int n_threads, struct pool **ret_pool) {
    struct pool *pool;
    int r;

    if (n_threads < 1 || n_threads > POOL_MAX_THREADS)
        return -EINVAL;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->begin, NULL);
    pthread_cond_init(&pool->end, NULL);
    r = pool_start(pool, n_threads - 1);
    if (r < 0) {
        pool_free(pool);
        return r;
    }
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_workers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->end);
    pthread_cond_destroy(&pool->begin);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
