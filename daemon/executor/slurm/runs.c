// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "base/log/log.h"
#include "daemon/executor/slurm/slurm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static void on_alive(void *ctx) {
    struct slurm *slurm = ctx;

    slurm->renewed = lease_now();
}

int runs_add(struct slurm *slurm, const struct run_row *row, struct job_row *job,
             struct slurm_run **ret_run) {
    struct slurm_run **runs, *run;
    int r = slurm_run_new(slurm->config.jobs, row, job, &slurm->stop, on_alive, slurm, &run);

    if (r)
        return r;
    site_job_name(&slurm->site, row->job_id, row->nonce, run->name);
    pthread_mutex_lock(&slurm->mutex);
    runs = reallocarray(slurm->runs, (size_t)slurm->n_runs + 1, sizeof(*runs));
    if (runs) {
        slurm->runs = runs;
        runs[slurm->n_runs++] = run;
    }
    pthread_mutex_unlock(&slurm->mutex);
    if (!runs) {
        slurm_run_free(run);
        return -ENOMEM;
    }
    if (ret_run)
        *ret_run = run;
    return 0;
}

static void drop_run(struct slurm *slurm, int i) {
    struct slurm_run *run = slurm->runs[i];

    if (slurm->target == run)
        slurm->target = NULL;
    pthread_mutex_lock(&slurm->mutex);
    slurm->runs[i] = slurm->runs[--slurm->n_runs];
    pthread_mutex_unlock(&slurm->mutex);
    slurm_run_free(run);
}

/* The job is submitted as if for the first time: a submission that comes late meets the fence. */
static void renew_run(struct slurm *slurm, struct slurm_run *run) {
    struct store *store = slurm->config.jobs->store;
    struct run_row row = {.job_id = run->row.job_id};
    struct failure failure;
    int r;

    if (site_make_nonce(row.nonce) || store_begin(store, STORE_WORK, &failure))
        return;
    r = store_end(store, store_renew_run(store, run->row.id, row.nonce, &row.id), &failure);
    if (r) {
        log_warning("cannot begin another run of job %" PRId64 ": %s", run->row.job_id,
                    failure.detail);
        return;
    }
    log_record(LOG_NOTICE, LOG_FIELDS(.job = row.job_id),
               "job %" PRId64 " did not reach Slurm: it is submitted again", row.job_id);
    run->row = row;
    if (!run->job->engine)
        run->job->engine = json_object(); /* it has had a run: its folder is not settled again */
    run->mark = (struct run_mark){.run = row.id};
    run->step = SLURM_READY;
    run->missing_since = 0;
    run->missing_long = false;
    site_job_name(&slurm->site, row.job_id, row.nonce, run->name);
}

void runs_find_cancelled(struct slurm *slurm) {
    for (int i = 0; i < slurm->n_runs; i++) {
        struct slurm_run *run = slurm->runs[i];
        cleanup(job_row_freep) struct job_row *row = NULL;
        struct failure failure;

        if (!run->cancel && !jobs_find(slurm->config.jobs, run->row.job_id, &row, &failure) &&
            row->status == JOB_CANCELLING)
            run->cancel = true;
    }
}

/* What it waits for, unless it works: news of it may be older. */
static void count_wait(struct waits *waits, const struct slurm_run *run) {
    const struct run_news *news = &run->row.news;

    if (!run->started && news->state[0] && slurm_phase(news->state) == SLURM_WAITING)
        waits_add(waits, news, clock_wall_ms());
}

void runs_look(struct slurm *slurm) {
    struct waits waits = {};
    int n_running = 0;

    for (int i = 0; i < slurm->n_runs; i++) {
        struct slurm_run *run = slurm->runs[i];
        bool ended = run->ended;
        enum slurm_fate fate;

        slurm_run_read(run);
        if (run->ended && !ended)
            task_list_in(slurm, 1);
        fate = slurm_run_judge(run, &slurm->patience);
        if (fate == SLURM_AGAIN)
            renew_run(slurm, run);
        else if (fate == SLURM_CLOSED)
            drop_run(slurm, i--);
        else
            n_running += run->started;
        if (fate == SLURM_GOES_ON)
            count_wait(&waits, run);
        on_alive(slurm);
    }
    pthread_mutex_lock(&slurm->mutex);
    slurm->waits = waits;
    pthread_mutex_unlock(&slurm->mutex);
    slurm->n_running = n_running;
    slurm->n_waiting = slurm->n_runs - n_running;
}

struct loading {
    struct run_row *at; /* owned */
    int n;
};

static int load_row(void *ctx, const struct run_row *row) {
    struct loading *loading = ctx;
    struct run_row *at = reallocarray(loading->at, (size_t)loading->n + 1, sizeof(*at));

    if (!at)
        return -ENOMEM;
    loading->at = at;
    at[loading->n++] = *row;
    return 0;
}

int runs_load(struct slurm *slurm, struct failure *failure) {
    struct jobs *jobs = slurm->config.jobs;
    struct loading loading = {};
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (!r)
        r = store_end(jobs->store,
                      store_list_open_runs(jobs->store, SLURM_NAME, load_row, &loading), failure);
    for (int i = 0; i < loading.n && !r; i++) {
        struct job_row *job = NULL;

        r = jobs_find(jobs, loading.at[i].job_id, &job, failure);
        if (!r && runs_add(slurm, &loading.at[i], job, NULL))
            r = failure_oom(failure);
    }
    free(loading.at);
    if (!r && slurm->n_runs)
        log_info("%d jobs run on the cluster", slurm->n_runs);
    return r;
}
