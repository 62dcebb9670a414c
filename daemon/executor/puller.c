// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/puller.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/catalog.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* How long the puller waits after the store failed before it asks again. */
#define RETRY_SECONDS 5

#define SLOW_SECONDS 15.0
#define SLOW_RATE 65536.0
#define PASSED_MAX 256 /* then they are forgotten, and the queue's order counts again */

struct puller {
    struct puller_config config;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t cond;
    int64_t job_id; /* 0: none */
    bool woken;
    atomic_bool cancel, stop;

    /* The thread's own: a round over jobs that are paused tries each of them once. */
    double round_at; /* when the next one begins (monotonic); 0: none is paused */
    int64_t tried;   /* in this round, the last one; 0: none yet */
    json_t *passed;  /* ids of jobs that were slow: others go first; owned */
};

/* One job's files on their way. */
struct pull {
    struct puller *puller;
    const struct job_row *row;
    bool started; /* and the job's watchers know it */
    bool yields;  /* it is slow, and another one waits */

    /* When its speed was looked at last. */
    double since;             /* monotonic */
    uint64_t bytes, bytes_at; /* now, and then */
};

static int start(struct pull *pull, struct failure *failure) {
    int r = jobs_pull_started(pull->puller->config.jobs, pull->row->id, failure);

    pull->started = !r;
    return r;
}

static void note_bytes(struct pull *pull, const struct hub_progress *progress) {
    pull->bytes = progress->bytes;
    if (!progress->checking)
        return;
    pull->since = clock_monotonic();
    pull->bytes_at = pull->bytes;
}

static void on_progress(void *ctx, const struct hub_progress *progress) {
    struct pull *pull = ctx;
    double bytes = (double)progress->bytes, total = (double)progress->bytes_total;
    struct failure failure;
    bool known = total > 0;
    cleanup(json_decrefp) json_t *data =
        json_pack("{ss ss sI sI sf so so}", "phase", WIRE_PHASE_PULL, "file", progress->file,
                  "bytes", (json_int_t)progress->bytes, "bytes_total",
                  (json_int_t)progress->bytes_total, "rate", progress->rate, "fraction",
                  known ? json_real(MIN(bytes / total, 1.0)) : json_null(), "eta_seconds",
                  known && progress->rate > 0 ? json_real(MAX(total - bytes, 0.0) / progress->rate)
                                              : json_null());

    note_bytes(pull, progress);
    /*
     * Progress that is not stored is not missed: the next one comes soon. A job that was paused
     * stays so until there is room for all of a model, which is when its size is known.
     */
    if (data && (pull->started || (known && !start(pull, &failure))))
        events_progress(pull->puller->config.jobs->events, pull->row->id, "progress", data, true,
                        NULL);
}

/* The next job of the queue, those last that were passed by. */
static int next_of_queue(struct puller *puller, struct job_row **ret_row, struct failure *failure) {
    cleanup(freep) char *passed = json_text(puller->passed, 0);

    return passed ? jobs_next_pull(puller->config.jobs, passed, ret_row, failure)
                  : failure_oom(failure);
}

static bool was_passed(const struct puller *puller, int64_t id) {
    const json_t *passed;
    size_t i;

    json_array_foreach(puller->passed, i, passed) {
        if (json_integer_value(passed) == id)
            return true;
    }
    return false;
}

/* Does another job wait, which goes first from now on? */
static bool others_wait(struct pull *pull) {
    struct puller *puller = pull->puller;
    cleanup(job_row_freep) struct job_row *next = NULL;
    struct failure failure;

    if (json_array_size(puller->passed) >= PASSED_MAX)
        json_array_clear(puller->passed);
    if (!was_passed(puller, pull->row->id) &&
        json_array_append_new(puller->passed, json_integer(pull->row->id)))
        return false;
    return !next_of_queue(puller, &next, &failure) && next->id != pull->row->id;
}

/* Looks from time to time how fast the pull was since the last look. */
static bool is_slow(struct pull *pull) {
    const struct puller_config *config = &pull->puller->config;
    double limit = config->slow_rate > 0 ? config->slow_rate : SLOW_RATE;
    double seconds = clock_monotonic() - pull->since;
    bool slow;

    if (seconds < (config->slow_seconds > 0 ? config->slow_seconds : SLOW_SECONDS))
        return false;
    slow = pull->bytes < pull->bytes_at || (double)(pull->bytes - pull->bytes_at) < limit * seconds;
    pull->since += seconds;
    pull->bytes_at = pull->bytes;
    return slow;
}

/* By the thread that pulls, also while it waits for an answer. */
static bool on_cancelled(void *ctx) {
    struct pull *pull = ctx;

    if (pull->puller->cancel || pull->puller->stop)
        return true;
    if (!pull->yields && is_slow(pull))
        pull->yields = others_wait(pull);
    return pull->yields;
}

static int pull_model(struct pull *pull, const struct params *params, char **ret_dir, char *commit,
                      struct failure *failure) {
    struct jobs *jobs = pull->puller->config.jobs;
    struct hub_observer observer = {pull, on_progress, on_cancelled};
    struct hub_name name;

    if (!pull->row->hub_model) {
        *ret_dir = strdup(pull->row->model_dir);
        return *ret_dir ? 0 : failure_oom(failure);
    }
    if (hub_parse_name(params->model, &name))
        return failure_set(failure, -EINVAL, "internal", NULL, "no model of a hub: '%s'",
                           params->model);
    return hub_pull_model(jobs->hub, &name, &observer, ret_dir, commit, failure);
}

/* Says which set of the job a file that cannot be fetched is, and what does without it. */
static void name_set(const struct params *params, enum job_kind kind, int file,
                     struct failure *failure) {
    const char *set, *field = jobs_set_of(params, kind, file, &set);
    size_t length = strlen(failure->detail);

    if (!field || !str_equal(failure->code, "hub_unreachable"))
        return;
    snprintf(failure->detail + length, sizeof(failure->detail) - length,
             "; the %s set '%s' needs it", str_equal(field, "eval") ? "evaluation" : "calibration",
             set);
    snprintf(failure->hint, sizeof(failure->hint),
             "check the network of the daemon, or %s a text of your own (%s file:PATH)",
             str_equal(field, "eval") ? "measure" : "name", field);
}

static int pull_datasets(struct pull *pull, const struct params *params, enum job_kind kind,
                         struct failure *failure) {
    struct jobs *jobs = pull->puller->config.jobs;
    struct hub_observer observer = {pull, on_progress, on_cancelled};
    bool files[CATALOG_FILES];
    int r = 0;

    jobs_files(params, kind, files);
    for (int i = 0; i < CATALOG_FILES && !r; i++) {
        cleanup(freep) char *path = NULL;

        if (files[i] &&
            jobs->source->fetch(jobs->source, catalog[i].host, catalog[i].path, &path, NULL))
            r = hub_pull_file(jobs->hub, catalog[i].host, catalog[i].path, &observer, &path,
                              failure);
        if (r && r != -ECANCELED)
            name_set(params, kind, i, failure);
    }
    return r;
}

static int pull_all(struct pull *pull, struct failure *failure) {
    struct jobs *jobs = pull->puller->config.jobs;
    const struct job_row *row = pull->row;
    cleanup(params_freep) struct params *params = NULL;
    cleanup(freep) char *dir = NULL;
    char commit[HUB_COMMIT_SIZE] = "";
    enum job_kind kind;
    int r;

    if (job_kind_from_name(row->kind, &kind))
        return failure_set(failure, -EINVAL, "internal", NULL, "unknown kind of job '%s'",
                           row->kind);
    r = params_parse(kind, row->request, &params, failure);
    if (!r && !row->paused)
        r = start(pull, failure);
    if (!r)
        r = pull_model(pull, params, &dir, commit, failure);
    if (!r)
        r = pull_datasets(pull, params, kind, failure);
    /* Before the job can be claimed: from then on its progress is the worker's. */
    events_forget(jobs->events, row->id);
    return r ? r : jobs_pulled(jobs, row, dir, commit, failure);
}

/* Those for which there may be room first; then, from time to time, those that found none. */
static int find_next(struct puller *puller, struct job_row **ret_row, struct failure *failure) {
    struct jobs *jobs = puller->config.jobs;
    int r = next_of_queue(puller, ret_row, failure);

    /* All that wait were passed by: a new round. */
    if (!r && was_passed(puller, (*ret_row)->id))
        json_array_clear(puller->passed);

    if (r != -ENOENT || !puller->round_at || clock_monotonic() < puller->round_at)
        return r;
    r = jobs_next_paused_pull(jobs, puller->tried, ret_row, failure);
    if (!r)
        puller->tried = (*ret_row)->id;
    if (r == -ENOENT) {
        puller->round_at = puller->tried ? clock_monotonic() + puller->config.room_seconds : 0;
        puller->tried = 0;
    }
    return r;
}

/* Claims the next job with the mutex held, so that a cancel finds it or its row has ended. */
static int take_next(struct puller *puller, struct job_row **ret_row) {
    struct failure failure;
    int r;

    pthread_mutex_lock(&puller->mutex);
    puller->cancel = false;
    r = find_next(puller, ret_row, &failure);
    puller->job_id = r ? 0 : (*ret_row)->id;
    pthread_mutex_unlock(&puller->mutex);
    if (r && r != -ENOENT)
        log_error("cannot find out which files to fetch: %s", failure.detail);
    return r;
}

/* What becomes of a job whose files did not come. */
static int end_pull(struct puller *puller, int64_t id, int r, const struct failure *why) {
    struct jobs *jobs = puller->config.jobs;
    struct failure failure;

    if (r == -ENOSPC || r == -EDQUOT) {
        if (!puller->round_at)
            puller->round_at = clock_monotonic() + puller->config.room_seconds;
        r = jobs_pause_waiting(jobs, id, why, &failure);
    } else {
        r = jobs_pull_failed(jobs, id, why, &failure);
    }
    if (!r || r == -ESTALE)
        return 0;
    log_error("cannot record the result of job %" PRId64 ": %s", id, failure.detail);
    return r;
}

/* Return: 0, or -errno: the store could not take what came of it. */
static int pull_job(struct puller *puller, const struct job_row *row) {
    struct pull pull = {.puller = puller, .row = row, .since = clock_monotonic()};
    struct failure failure = {};
    int r;

    log_record(row->paused ? LOG_DEBUG : LOG_INFO, LOG_FIELDS(.job = row->id, .owner = row->owner),
               "job %" PRId64 ": fetching its files", row->id);
    failure_set(&failure, -EIO, "internal", NULL, "the download gave no reason");
    r = pull_all(&pull, &failure);
    pthread_mutex_lock(&puller->mutex);
    puller->job_id = 0;
    pthread_mutex_unlock(&puller->mutex);
    if (!r) {
        puller->config.pulled(puller->config.ctx);
        return 0;
    }
    /* A job that was cancelled has ended; with the daemon's end it waits for the next start. */
    if (puller->cancel || puller->stop || r == -ESTALE)
        return 0;
    if (pull.yields && r == -ECANCELED) {
        log_info("job %" PRId64 ": its files come slowly; others are fetched first", row->id);
        return 0;
    }
    return end_pull(puller, row->id, r, &failure);
}

/* Waits until woken or stopped, or @until (monotonic; 0: for ever). */
static void wait_for_work(struct puller *puller, double until) {
    struct timespec at = clock_timespec(until);
    int r = 0;

    pthread_mutex_lock(&puller->mutex);
    while (!puller->woken && !puller->stop && r != ETIMEDOUT) {
        if (until > 0)
            r = pthread_cond_clockwait(&puller->cond, &puller->mutex, CLOCK_MONOTONIC, &at);
        else
            pthread_cond_wait(&puller->cond, &puller->mutex);
    }
    puller->woken = false;
    pthread_mutex_unlock(&puller->mutex);
}

static void *puller_main(void *arg) {
    struct puller *puller = arg;

    pthread_setname_np(pthread_self(), "puller");
    hub_sweep(puller->config.jobs->hub);
    while (!puller->stop) {
        cleanup(job_row_freep) struct job_row *row = NULL;
        int r = take_next(puller, &row);

        if (!r)
            r = pull_job(puller, row);
        if (r)
            wait_for_work(puller,
                          r == -ENOENT ? puller->round_at : clock_monotonic() + RETRY_SECONDS);
    }
    return NULL;
}

int puller_start(const struct puller_config *config, struct puller **ret_puller,
                 struct failure *failure) {
    struct puller *puller = calloc(1, sizeof(*puller));
    int r;

    if (!puller)
        return failure_oom(failure);
    puller->config = *config;
    puller->passed = json_array();
    if (!puller->passed) {
        free(puller);
        return failure_oom(failure);
    }
    puller->round_at = clock_monotonic(); /* jobs may be paused from before */
    pthread_mutex_init(&puller->mutex, NULL);
    pthread_cond_init(&puller->cond, NULL);
    r = -pthread_create(&puller->thread, NULL, puller_main, puller);
    if (r) {
        json_decref(puller->passed);
        free(puller);
        return failure_errno(failure, r, "cannot start the thread of", "the puller");
    }
    *ret_puller = puller;
    return 0;
}

void puller_wake(struct puller *puller) {
    pthread_mutex_lock(&puller->mutex);
    puller->woken = true;
    pthread_cond_signal(&puller->cond);
    pthread_mutex_unlock(&puller->mutex);
}

void puller_cancel(struct puller *puller, int64_t id) {
    pthread_mutex_lock(&puller->mutex);
    if (puller->job_id == id)
        puller->cancel = true;
    pthread_mutex_unlock(&puller->mutex);
}

void puller_stop(struct puller *puller) {
    if (!puller)
        return;
    puller->stop = true;
    puller_wake(puller);
    pthread_join(puller->thread, NULL);
}

void puller_free(struct puller *puller) {
    if (!puller)
        return;
    pthread_cond_destroy(&puller->cond);
    pthread_mutex_destroy(&puller->mutex);
    json_decref(puller->passed);
    free(puller);
}
