// SPDX-License-Identifier: Apache-2.0
#include "daemon/notification/notifier.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/notification/send.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>

#define LOOK_SECONDS 1.0
#define ROWS_MAX 500
#define RETRY_FIRST 10.0
#define RETRY_MOST 3600.0

/* A notification that failed, and when it is tried again. */
struct wait {
    int64_t id;
    double due; /* monotonic */
};

struct notifier {
    struct notifier_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    atomic_bool stop;

    /* The thread's own. */
    struct wait waits[ROWS_MAX];
    int n_waits;
    uint64_t version; /* of the queue, at the last look */
};

/* ---- when ---- */

static struct wait *find_wait(struct notifier *notifier, int64_t id) {
    for (int i = 0; i < notifier->n_waits; i++) {
        if (notifier->waits[i].id == id)
            return &notifier->waits[i];
    }
    return NULL;
}

static void drop_wait(struct notifier *notifier, int64_t id) {
    struct wait *wait = find_wait(notifier, id);

    if (wait)
        *wait = notifier->waits[--notifier->n_waits];
}

/* @tries: that have failed */
static void set_wait(struct notifier *notifier, int64_t id, int tries) {
    double first = notifier->config.retry_seconds;
    struct wait *wait = find_wait(notifier, id);

    if (!wait && notifier->n_waits < ROWS_MAX)
        wait = &notifier->waits[notifier->n_waits++];
    if (wait)
        *wait = (struct wait){id, clock_monotonic() + fmin(ldexp(first, tries - 1), RETRY_MOST)};
}

/* Waits of rows that are not in @rows, which are all: their jobs were deleted. */
static void prune_waits(struct notifier *notifier, const json_t *rows) {
    int kept = 0;

    for (int i = 0; i < notifier->n_waits; i++) {
        const json_t *row;
        bool there = false;
        size_t k;

        json_array_foreach(rows, k, row) there |=
            json_integer_value(json_object_get(row, "id")) == notifier->waits[i].id;
        if (there)
            notifier->waits[kept++] = notifier->waits[i];
    }
    notifier->n_waits = kept;
}

/* Is there anything to do: a job has ended, or a wait is over? */
static bool is_due(const struct notifier *notifier) {
    for (int i = 0; i < notifier->n_waits; i++) {
        if (clock_monotonic() >= notifier->waits[i].due)
            return true;
    }
    return notifier->version != store_version_queue(notifier->config.jobs->store);
}

/* ---- rows ---- */

static int end_transaction(struct notifier *notifier, int r) {
    struct failure failure = {};

    r = store_end(notifier->config.jobs->store, r, &failure);
    if (r)
        log_warning("cannot store what became of a notification: %s", failure.detail);
    return r;
}

static int begin(struct notifier *notifier) {
    struct failure failure = {};
    int r = store_begin(notifier->config.jobs->store, STORE_WORK, &failure);

    if (r)
        log_warning("cannot store what became of a notification: %s", failure.detail);
    return r;
}

/* A row of the configuration becomes one for each target that it names now. */
static int expand(struct notifier *notifier, int64_t id, int64_t job) {
    struct store *store = notifier->config.jobs->store;
    int r = begin(notifier);

    if (r)
        return r;
    r = store_end_notification(store, id);
    if (!r && notifier->config.url)
        r = store_add_notification(store, job, "url", notifier->config.url);
    if (!r && notifier->config.command)
        r = store_add_notification(store, job, "command", NULL);
    return end_transaction(notifier, r);
}

/* It is sent, or given up. A row that cannot be removed now is sent again, later. */
static void delivered(struct notifier *notifier, int64_t id) {
    int r = begin(notifier);

    if (!r)
        r = end_transaction(notifier, store_end_notification(notifier->config.jobs->store, id));
    if (r)
        set_wait(notifier, id, 1);
    else
        drop_wait(notifier, id);
}

/* @tries: that have failed before; @r: why this one did */
static void failed(struct notifier *notifier, const struct notification *n, int tries, int r,
                   const struct failure *failure) {
    bool last = tries + 1 >= NOTIFIER_TRIES_MAX || r == -EINVAL;

    log_record(last ? LOG_WARNING : LOG_NOTICE, LOG_FIELDS(.job = n->job),
               "cannot notify of the end of job %" PRId64 "%s: %s", n->job,
               last ? ", given up" : ", tried again later", failure->detail);
    if (last) {
        delivered(notifier, n->id);
        return;
    }
    set_wait(notifier, n->id, tries + 1);
    if (!begin(notifier))
        end_transaction(notifier, store_count_notification(notifier->config.jobs->store, n->id));
}

/* ---- delivery ---- */

static char *body_of(int64_t id, const json_t *job, const char *status) {
    cleanup(json_decrefp) json_t *body =
        json_pack("{ss sI so sO}", "object", "notification", "id", (json_int_t)id, "type",
                  json_sprintf("job.%s", status), "job", job);

    return body ? json_text(body, JSON_COMPACT) : NULL;
}

static void deliver(struct notifier *notifier, const json_t *row) {
    const char *url = json_string_value(json_object_get(row, "url"));
    bool is_url = str_equal(json_string_value(json_object_get(row, "kind")), "url");
    int tries = (int)json_integer_value(json_object_get(row, "tries"));
    struct notification n = {.id = json_integer_value(json_object_get(row, "id")),
                             .job = json_integer_value(json_object_get(row, "job")),
                             .stop = &notifier->stop};
    cleanup(json_decrefp) json_t *job = NULL;
    cleanup(freep) char *body = NULL;
    struct failure failure = {};
    uint64_t version;
    int r;

    r = jobs_object(notifier->config.jobs, &caller_daemon, n.job, 0, &job, &version, &failure);
    if (r == -ENOENT)
        return; /* it was deleted, and its rows with it */
    if (r) {
        set_wait(notifier, n.id, 1);
        return;
    }
    json_object_del(job, "notify"); /* a copy: no receiver learns of another one */
    n.status = json_string_value(json_object_get(job, "status"));
    n.body = body = body_of(n.id, job, n.status);
    if (!body) {
        set_wait(notifier, n.id, 1);
        return;
    }
    if (is_url)
        r = send_webhook(&n, notifier->config.policy, url ? url : "", &failure);
    else if (notifier->config.command)
        r = send_command(&n, notifier->config.command, &failure);
    if (r && r != -ECANCELED)
        failed(notifier, &n, tries, r, &failure);
    else if (!r)
        delivered(notifier, n.id);
}

static json_t *list_rows(struct notifier *notifier) {
    struct store *store = notifier->config.jobs->store;
    json_t *rows = NULL;
    int r = store_begin(store, STORE_READ, NULL);

    if (r)
        return NULL;
    r = store_list_notifications(store, ROWS_MAX, &rows);
    if (store_end(store, r, NULL)) {
        json_decref(rows);
        return NULL;
    }
    return rows;
}

/*
 * All that is due. There is another look when rows of the configuration became others, and when
 * there may be more rows than one look takes.
 */
static void look(struct notifier *notifier) {
    cleanup(json_decrefp) json_t *rows = NULL;
    uint64_t version = store_version_queue(notifier->config.jobs->store);
    bool again = false, all;
    const json_t *row;
    size_t i;

    rows = list_rows(notifier);
    all = rows && json_array_size(rows) < ROWS_MAX;
    if (all)
        prune_waits(notifier, rows);
    json_array_foreach(rows, i, row) {
        int64_t id = json_integer_value(json_object_get(row, "id"));
        const struct wait *wait = find_wait(notifier, id);

        if (notifier->stop)
            return;
        if (wait && clock_monotonic() < wait->due)
            continue;
        again |= !all;
        if (!str_equal(json_string_value(json_object_get(row, "kind")), "config"))
            deliver(notifier, row);
        else if (expand(notifier, id, json_integer_value(json_object_get(row, "job"))))
            set_wait(notifier, id, 1);
        else
            again = true;
    }
    if (rows && !again)
        notifier->version = version;
}

/* ---- the thread ---- */

static void wait_for_next(struct notifier *notifier) {
    struct timespec until = clock_timespec(clock_monotonic() + LOOK_SECONDS);

    pthread_mutex_lock(&notifier->mutex);
    if (!notifier->stop)
        pthread_cond_clockwait(&notifier->cond, &notifier->mutex, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&notifier->mutex);
}

static void *notifier_main(void *arg) {
    struct notifier *notifier = arg;

    pthread_setname_np(pthread_self(), "notifier");
    while (!notifier->stop) {
        if (is_due(notifier))
            look(notifier);
        wait_for_next(notifier);
    }
    return NULL;
}

int notifier_start(const struct notifier_config *config, struct notifier **ret_notifier,
                   struct failure *failure) {
    struct notifier *notifier = calloc(1, sizeof(*notifier));
    int r;

    if (!notifier)
        return failure_oom(failure);
    notifier->config = *config;
    if (notifier->config.retry_seconds <= 0)
        notifier->config.retry_seconds = RETRY_FIRST;
    notifier->version = UINT64_MAX; /* what an earlier process left */
    pthread_mutex_init(&notifier->mutex, NULL);
    pthread_cond_init(&notifier->cond, NULL);
    r = -pthread_create(&notifier->thread, NULL, notifier_main, notifier);
    if (r) {
        free(notifier);
        return failure_errno(failure, r, "cannot start the thread of", "notifications");
    }
    *ret_notifier = notifier;
    return 0;
}

void notifier_stop(struct notifier *notifier) {
    if (!notifier)
        return;
    pthread_mutex_lock(&notifier->mutex);
    notifier->stop = true;
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->mutex);
    pthread_join(notifier->thread, NULL);
    pthread_cond_destroy(&notifier->cond);
    pthread_mutex_destroy(&notifier->mutex);
    free(notifier);
}
