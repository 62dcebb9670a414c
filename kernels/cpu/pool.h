// SPDX-License-Identifier: Apache-2.0
/*
 * A fixed set of threads that work through numbered tasks.
 *
 * Which thread runs a task is left to chance; what a task computes must not depend on it. Then
 * results are the same bytes however many threads there are. One owner runs tasks at a time.
 */
#pragma once

#include <stddef.h>

#define POOL_MAX_THREADS 64

struct pool;

/* One task: number @task of the operation @op, on thread @worker (0 .. pool_size() - 1). */
#define POOL_TASK(fn) void (*fn)(const void *op, size_t task, int worker)

/* pool_usable_threads() - processors that this process may use, at most POOL_MAX_THREADS. */
int pool_usable_threads(void);

/* pool_new() - @n_threads threads, the caller of pool_run() included. Return: 0 or -errno. */
int pool_new(int n_threads, struct pool **ret_pool);
void pool_free(struct pool *pool); /* NULL is fine */
int pool_size(const struct pool *pool);

/* pool_run() - tasks 0 .. n_tasks - 1, begun in that order; returns when all are done. */
void pool_run(struct pool *pool, size_t n_tasks, POOL_TASK(fn), const void *op);
