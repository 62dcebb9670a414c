// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/executor/slurm/slurm.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CHANGE_SECONDS 5         /* until the next list after something changed */
#define BACKOFF_MAX 120          /* seconds between lists while Slurm does not answer */
#define PARTITION_SECONDS 600    /* between two looks at the partition, ... */
#define PARTITION_ILL_SECONDS 30 /* ... and while something is the matter with it */
#define PATIENCE_SECONDS 5 /* that devices here may leave a job to others though they are idle */

void task_list_in(struct slurm *slurm, double seconds) {
    double most = slurm->options->slurm_poll;

    if (!slurm->backoff)
        slurm->list_at = MIN(slurm->list_at, clock_monotonic() + MIN(seconds, most));
}

/* -------- what the programs answered -------- */

static void set_answers(struct slurm *slurm, const struct failure *why) {
    bool before = slurm->answers;

    pthread_mutex_lock(&slurm->mutex);
    slurm->answers = !why;
    if (why)
        slurm->why = *why;
    pthread_mutex_unlock(&slurm->mutex);
    if (why && (before || !slurm->backoff))
        log_record(LOG_WARNING, LOG_FIELDS(.device = SLURM_NAME, .code = why->code), "%s",
                   why->detail);
    else if (!why && !before)
        log_info("Slurm answers");
}

/* Slurm, or its program, failed: what it knows is not known, which says nothing about the jobs. */
static void back_off(struct slurm *slurm, const struct failure *why) {
    double poll = slurm->options->slurm_poll;

    set_answers(slurm, why);
    slurm->backoff = MIN(MAX(2 * slurm->backoff, MIN(poll, CHANGE_SECONDS)), BACKOFF_MAX);
    slurm->list_at = clock_monotonic() + slurm->backoff;
}

static void failed_command(struct slurm *slurm, const char *program) {
    const char *text = slurm->command.texts[1].data ? slurm->command.texts[1].data : "";
    struct failure why;
    char line[200];

    slurm_last_line(text, line, sizeof(line));
    failure_set(&why, -EIO, "slurm_unreachable", "see 'scontrol ping' and the log of slurmctld",
                "%s failed: %s", program, line[0] ? line : "it was stopped, or said nothing");
    back_off(slurm, &why);
}

static void on_job(void *ctx, const struct slurm_job *job) {
    struct slurm *slurm = ctx;

    for (int i = 0; i < slurm->n_runs; i++) {
        struct slurm_run *run = slurm->runs[i];

        if (run->step != SLURM_READY && str_equal(job->name, run->name)) {
            run->listed = true;
            run->as_listed = *job;
            return;
        }
    }
}

static void on_list(struct slurm *slurm, int status) {
    const struct strbuf *text = &slurm->command.texts[0];
    double now = clock_monotonic();
    bool news = false;

    for (int i = 0; i < slurm->n_runs; i++)
        slurm->runs[i]->listed = false;
    if (status || slurm_parse_jobs(text->data ? text->data : "", text->length, on_job, slurm)) {
        failed_command(slurm, "squeue");
        return;
    }
    set_answers(slurm, NULL);
    slurm->backoff = 0;
    slurm->list_at = now + slurm->options->slurm_poll;
    for (int i = 0; i < slurm->n_runs; i++)
        news |= slurm_run_note(slurm->runs[i], slurm->asked_at, &slurm->patience);
    if (news)
        task_list_in(slurm, CHANGE_SECONDS);
}

/* Jobs are submitted to it all the same: they wait there until it is up. */
static void on_partition(struct slurm *slurm, int status) {
    const char *text = slurm->command.texts[0].data;
    enum slurm_partitions verdict;
    struct failure why = {};
    char found[400];
    bool news;

    if (status)
        return;
    /* Of one that is not there sinfo says nothing. */
    verdict = slurm_judge_partitions(text ? text : "", slurm->options->slurm_partition, found,
                                     sizeof(found));
    if (verdict == SLURM_ABSENT)
        failure_set(&why, -ENOENT, "slurm_partition", "see slurm-partition and 'sinfo'",
                    "partition %s", found);
    else if (verdict == SLURM_UNUSABLE)
        failure_set(&why, -EAGAIN, "slurm_partition", "see 'sinfo -R'; jobs wait until it is back",
                    "partition %s", found);
    pthread_mutex_lock(&slurm->mutex);
    news = !slurm->judged || !str_equal(slurm->partition.detail, why.detail);
    slurm->partition = why;
    pthread_mutex_unlock(&slurm->mutex);
    slurm->judged = true;
    if (why.code[0])
        slurm->partition_at = clock_monotonic() + PARTITION_ILL_SECONDS;
    if (news && why.code[0])
        log_record(LOG_WARNING, LOG_FIELDS(.device = SLURM_NAME, .code = why.code), "%s",
                   why.detail);
    else if (news)
        log_info("partition %s", found);
}

static void on_submitted(struct slurm *slurm, int status) {
    struct slurm_run *run = slurm->target;
    const char *out = slurm->command.texts[0].data, *text = slurm->command.texts[1].data;
    int64_t id = status ? 0 : slurm_parse_submitted(out);

    if (!run)
        return;
    task_list_in(slurm, CHANGE_SECONDS);
    if (id) {
        slurm_run_submitted(run, id);
        return;
    }
    if (status > 0 && text && !slurm_is_unsure(text))
        slurm_last_line(text, run->refused, sizeof(run->refused));
    else
        failed_command(slurm, "sbatch");
}

static void on_stopped(struct slurm *slurm, int status) {
    if (status) {
        failed_command(slurm, "scancel");
        return;
    }
    if (slurm->target)
        slurm->target->stopped_at = clock_monotonic();
    task_list_in(slurm, 1);
}

void task_end(struct slurm *slurm, int status) {
    enum task task = slurm->task;

    slurm->task = TASK_NONE;
    if (task == TASK_LIST)
        on_list(slurm, status);
    else if (task == TASK_PARTITION)
        on_partition(slurm, status);
    else if (task == TASK_SUBMIT)
        on_submitted(slurm, status);
    else
        on_stopped(slurm, status);
    slurm->target = NULL;
    command_done(&slurm->command);
}

/* -------- what to call next -------- */

/* Return: 0; -ECANCELED: the job does not go on. */
static int submit(struct slurm *slurm, struct slurm_run *run) {
    cleanup(freep) char *dir = NULL;
    struct failure failure;
    int r = site_prepare(slurm->config.jobs, slurm->config.corpora, run->job, run->row.nonce, &dir,
                         &failure);

    if (r) {
        run->broken = true;
        run->why = failure;
        return -ECANCELED;
    }
    r = site_submit(&slurm->site, &slurm->command, dir, run->row.nonce, run->name, run->avoid,
                    &failure);
    if (r) {
        back_off(slurm, &failure);
        return r;
    }
    run->step = SLURM_ASKED;
    slurm->task = TASK_SUBMIT;
    slurm->target = run;
    return 0;
}

static struct slurm_run *find_ready(struct slurm *slurm) {
    for (int i = 0; i < slurm->n_runs; i++) {
        if (slurm->runs[i]->step == SLURM_READY && !slurm->runs[i]->broken)
            return slurm->runs[i];
    }
    return NULL;
}

static bool stop_one(struct slurm *slurm) {
    struct failure failure;

    for (int i = 0; i < slurm->n_runs; i++) {
        struct slurm_run *run = slurm->runs[i];

        if (!slurm_run_to_stop(run))
            continue;
        if (site_cancel(&slurm->site, &slurm->command, run->name, run->row.news.remote_id,
                        &failure)) {
            back_off(slurm, &failure);
            return false;
        }
        slurm->task = TASK_STOP;
        slurm->target = run;
        return true;
    }
    return false;
}

static bool list_all(struct slurm *slurm) {
    struct failure failure;

    if (site_list(&slurm->site, &slurm->command, &failure)) {
        back_off(slurm, &failure);
        return false;
    }
    slurm->task = TASK_LIST;
    slurm->asked_at = clock_monotonic();
    return true;
}

/* One that no option names is Slurm's affair. */
static bool look_at_partition(struct slurm *slurm) {
    struct failure failure;

    slurm->partition_at = clock_monotonic() + PARTITION_SECONDS;
    if (!slurm->options->slurm_partition || !site_knows_partition(&slurm->site)) {
        pthread_mutex_lock(&slurm->mutex);
        slurm->partition = (struct failure){};
        pthread_mutex_unlock(&slurm->mutex);
        return false;
    }
    if (site_partition(&slurm->site, &slurm->command, &failure))
        return false;
    slurm->task = TASK_PARTITION;
    return true;
}

/* Devices of this machine come first, unless they leave a job to others for some seconds. */
static bool takes_any(struct slurm *slurm) {
    bool idle = slurm->config.others_idle(slurm->config.ctx, &slurm->executor);
    double now = clock_monotonic();
    struct failure failure;

    if (!idle || jobs_look_run(slurm->config.jobs, &failure)) {
        slurm->left_since = 0;
        return !idle;
    }
    if (!slurm->left_since)
        slurm->left_since = now;
    return now - slurm->left_since >= PATIENCE_SECONDS;
}

/* Return: the run of a job that was claimed, to be submitted; NULL: there is none. */
static struct slurm_run *claim(struct slurm *slurm) {
    struct jobs *jobs = slurm->config.jobs;
    struct job_row *job = NULL;
    struct slurm_run *run = NULL;
    char nonce[RUN_NONCE_SIZE];
    struct failure failure;
    struct run_row row;
    int64_t id;
    int r;

    if (slurm->n_runs >= slurm->options->slurm_jobs || site_make_nonce(nonce))
        return NULL;
    r = jobs_claim_run(jobs, nonce, !takes_any(slurm), &job, &failure);
    if (r) {
        if (r != -ENOENT && r != -ENOSPC)
            log_error(SLURM_NAME ": cannot claim a job: %s", failure.detail);
        return NULL;
    }
    id = job->id;
    r = store_begin(jobs->store, STORE_READ, &failure);
    if (!r)
        r = store_end(jobs->store, store_open_run(jobs->store, job->id, &row), &failure);
    if (!r)
        r = runs_add(slurm, &row, steal_ptr(job), &run);
    job_row_free(job);
    if (r) {
        log_error(SLURM_NAME ": cannot begin a run: %s", strerror(-r));
        if (jobs_interrupt(jobs, id, "not begun", STOP_ASKED, &failure))
            log_error(SLURM_NAME ": cannot put job %" PRId64 " back: %s", id, failure.detail);
        return NULL;
    }
    run->step = SLURM_READY;
    slurm->look = true; /* it may have been cancelled before it was a run here */
    return run;
}

/* Calls one program, when one is to be called. Return: one was. */
bool task_begin(struct slurm *slurm) {
    double now = clock_monotonic();
    struct slurm_run *run;

    if (slurm->stop || (slurm->backoff && now < slurm->list_at))
        return false;
    /* A list first: from it is known whether Slurm answers at all. */
    if (!slurm->answers || (now >= slurm->list_at && slurm->n_runs))
        return list_all(slurm);
    if (stop_one(slurm))
        return true;
    if (now >= slurm->partition_at && look_at_partition(slurm))
        return true;
    run = find_ready(slurm);
    if (!run)
        run = claim(slurm);
    return run && !run->cancel && !submit(slurm, run);
}
