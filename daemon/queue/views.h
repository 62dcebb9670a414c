// SPDX-License-Identifier: Apache-2.0
/*
 * Jobs as they were read last, kept in memory and shared by all who look at them. As long as no row
 * of a job has changed, looking takes neither the store's lock nor a parse: a GET does not wait
 * for the fsync of a transaction that stores something else. Any thread, outside a transaction.
 *
 * A view holds when the store's stamp is what it was when the view was read. A writer moves the
 * stamp before it commits, so what was acknowledged is seen by whoever asks afterwards.
 */
#pragma once

#include "daemon/store/store.h"

#include <stdatomic.h>

#define VIEWS_JOBS 256     /* that are kept at most */
#define VIEWS_LISTS 8      /* answers to lists that are kept at most, ... */
#define VIEWS_LIST_MAX 100 /* ... of so many jobs at most */

struct views; /* of one store, which owns it */

struct views *views_new(void);        /* NULL: out of memory */
void views_free(struct views *views); /* NULL is fine */

/*
 * One version of a job, freed by its last user. Nobody changes it, and no reference to a JSON value
 * in it is taken, for that is a change too: json_clone() it.
 */
struct view {
    atomic_int n_users;
    struct job_row *row; /* without its position, which other jobs change */
    json_t *object;      /* the job object, with what the row says of progress and position */
};

void view_free(struct view *view); /* one user fewer; NULL is fine */
DEFINE_CLEANUP(struct view *, view_freep, view_free)

/* A view, with what is not of the row. */
struct view_now {
    struct view *view;      /* used */
    int64_t position;       /* in the queue; 0: it is not queued */
    uint64_t queue_version; /* store_version_queue() that the position is of */
};

/* views_job() - job @id. Return: 0, -ENOENT, or -errno; the failure is for store errors. */
int views_job(struct store *store, int64_t id, struct view_now *ret_now, struct failure *failure);

/* The jobs that pass a filter, newest first; shared and never changed. */
struct view_list {
    atomic_int n_users;
    uint64_t version; /* store_version() that it is of */
    int n;
    bool has_more;
    char *key;      /* the filter, as text */
    uint64_t stamp; /* of the store */
    struct view_now at[];
};

void view_list_free(struct view_list *list); /* one user fewer; NULL is fine */
DEFINE_CLEANUP(struct view_list *, view_list_freep, view_list_free)

/* views_list() - the first filter->limit jobs that pass @filter. Return: 0 or -errno. */
int views_list(struct store *store, const struct store_filter *filter, struct view_list **ret_list,
               struct failure *failure);
