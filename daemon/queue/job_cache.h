// SPDX-License-Identifier: Apache-2.0
/*
 * Jobs as they were read last, kept in memory and shared by all readers. As long as no row
 * of a job has changed, looking takes neither the store's lock nor a parse: a GET does not wait
 * for the fsync of a transaction that stores something else. Any thread, outside a transaction.
 *
 * A job holds when the store's stamp is what it was when the job was read. A writer moves the
 * stamp before it commits, so a later reader sees what was acknowledged.
 */
#pragma once

#include "daemon/store/store.h"

#include <stdatomic.h>

#define JOB_CACHE_JOBS 256     /* that are kept at most */
#define JOB_CACHE_LISTS 8      /* answers to lists that are kept at most, ... */
#define JOB_CACHE_LIST_MAX 100 /* ... of so many jobs at most */

struct job_cache;

/* job_cache_new() - an empty one over @store (borrowed); NULL when out of memory. */
struct job_cache *job_cache_new(struct store *store);
void job_cache_free(struct job_cache *cache); /* NULL is fine */

/*
 * One version of a job, freed by its last user. Nobody changes it, and no reference to a JSON value
 * in it is taken, for that is a change too: json_clone() it.
 */
struct cached_job {
    atomic_int n_users;
    struct job_row *row;
    json_t *object; /* the job object, with what the row says of progress and position */
};

void cached_job_free(struct cached_job *job); /* one user fewer; NULL is fine */
DEFINE_CLEANUP(struct cached_job *, cached_job_freep, cached_job_free)

/* A job, with what is not of the row. */
struct cached_state {
    struct cached_job *job; /* used; to be freed by the caller */
    int64_t position;       /* in the queue; 0: it is not queued */
    uint64_t queue_version; /* store_version_queue() that the position is of */
};

/* job_cache_find() - job @id. Return: 0, -ENOENT, or -errno; the failure is for store errors. */
int job_cache_find(struct job_cache *cache, int64_t id, struct cached_state *ret_now,
                   struct failure *failure);

/* The jobs that pass a filter, newest first; shared and never changed. */
struct cached_list {
    atomic_int n_users;
    uint64_t version; /* store_version() that it is of */
    int n;
    bool has_more;
    char *key;      /* the filter, as text */
    uint64_t stamp; /* of the store */
    struct cached_state at[];
};

void cached_list_free(struct cached_list *list); /* one user fewer; NULL is fine */
DEFINE_CLEANUP(struct cached_list *, cached_list_freep, cached_list_free)

/* job_cache_list() - the first filter->limit jobs that pass @filter. Return: 0 or -errno. */
int job_cache_list(struct job_cache *cache, const struct store_filter *filter,
                   struct cached_list **ret_list, struct failure *failure);
