// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/run.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/executor/slurm/lines.h"
#include "daemon/files/paths.h"
#include "daemon/jobdir/fence.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define STOP_SECONDS 60 /* between two calls of scancel for one job */

/* A node that fails again and again would use up the failures that a job is allowed. */
static void find_avoided(struct slurm_run *run, struct store *store) {
    struct failure failure;
    struct run_row last;

    if (store_begin(store, STORE_READ, &failure))
        return;
    if (!store_end(store, store_last_run(store, run->row.job_id, &last), &failure) &&
        str_equal(last.news.state, "NODE_FAIL"))
        snprintf(run->avoid, sizeof(run->avoid), "%s", last.news.node);
}

int slurm_run_new(struct jobs *jobs, const struct run_row *row, struct job_row *job,
                  const atomic_bool *stop, void (*alive)(void *ctx), void *ctx,
                  struct slurm_run **ret_run) {
    struct slurm_run *run = calloc(1, sizeof(*run));
    const char *fingerprint = json_string_value(json_object_get(job->model, "fingerprint"));

    if (run)
        run->dir = paths_job(jobs->jobs_dir, row->job_id);
    if (!run || !run->dir) {
        free(run);
        job_row_free(job);
        return -ENOMEM;
    }
    run->row = *row;
    run->job = job;
    run->step = row->news.remote_id ? SLURM_THERE : SLURM_ASKED;
    run->started = row->offset > 0;
    run->heard_at = clock_monotonic();
    run->mark = (struct run_mark){.run = row->id, .offset = row->offset};
    run->cancel = job->status == JOB_CANCELLING;
    run->sink = (struct sink){.jobs = jobs,
                              .row = job,
                              .device = jobs->cluster,
                              .cancel = &run->cancel,
                              .stop = stop,
                              .mark = &run->mark,
                              .alive = alive,
                              .ctx = ctx};
    snprintf(run->sink.fingerprint, sizeof(run->sink.fingerprint), "%s",
             fingerprint ? fingerprint : "");
    find_avoided(run, jobs->store);
    *ret_run = run;
    return 0;
}

void slurm_run_free(struct slurm_run *run) {
    if (!run)
        return;
    if (run->ended)
        run_end_done(&run->end);
    job_row_free(run->job);
    free(run->dir);
    free(run);
}

/* -------- its events -------- */

static int on_line(void *ctx, const char *line, size_t size, int64_t end) {
    struct slurm_run *run = ctx;
    int r;

    run->mark.offset = end;
    r = sink_line(&run->sink, line, size, &run->ended, &run->end, &run->why);
    if (r == -ECANCELED)
        return r;
    run->started = true;
    run->heard_at = clock_monotonic();
    run->warned_silent = false;
    run->row.offset = end;
    if (r)
        run->broken = true;
    return r || run->ended ? -ECANCELED : 0;
}

void slurm_run_read(struct slurm_run *run) {
    cleanup(freep) char *path = NULL;
    int r;

    if (run->ended || run->broken || run->step == SLURM_READY)
        return;
    path = str_format("%s/events.%s", run->dir, run->row.nonce);
    if (!path)
        return;
    r = lines_read(path, run->row.offset, on_line, run);
    if (r == -EMSGSIZE) {
        run->broken = true;
        failure_set(&run->why, r, "events_invalid", NULL, "a line of '%s' is longer than any event",
                    path);
    }
}

/* -------- what Slurm says -------- */

static void store_news(struct slurm_run *run, const struct run_news *news) {
    struct jobs *jobs = run->sink.jobs;
    struct failure failure;
    int r = store_begin(jobs->store, STORE_WORK, &failure);

    run->row.news = *news;
    if (!r)
        r = store_end(jobs->store, store_set_run_news(jobs->store, run->row.id, news), &failure);
    if (r)
        log_warning("cannot store the state of job %" PRId64 ": %s", run->row.job_id,
                    failure.detail);
    else
        events_wake(jobs->events);
}

void slurm_run_submitted(struct slurm_run *run, int64_t id) {
    struct run_news news = {.remote_id = id, .state = "PENDING"};

    run->step = SLURM_THERE;
    run->refused[0] = '\0';
    run->heard_at = clock_monotonic(); /* it waits from now on */
    store_news(run, &news);
    log_record(LOG_INFO, LOG_FIELDS(.job = run->row.job_id, .owner = run->job->owner),
               "job %" PRId64 " is job %" PRId64 " of Slurm", run->row.job_id, id);
}

static bool note_missing(struct slurm_run *run, const struct slurm_patience *patience) {
    double now = clock_monotonic();

    if (!run->missing_since)
        run->missing_since = now;
    else if (now - run->missing_since >= patience->settle)
        run->missing_long = true;
    return false;
}

bool slurm_run_note(struct slurm_run *run, double asked_at, const struct slurm_patience *patience) {
    const struct slurm_job *job = &run->as_listed;
    struct run_news news = {};
    enum slurm_phase before = slurm_phase(run->row.news.state);

    if (!run->listed)
        return run->step == SLURM_READY ? false : note_missing(run, patience);
    run->missing_since = 0;
    run->missing_long = false;
    run->step = SLURM_THERE;
    if (slurm_phase(job->state) != SLURM_OVER)
        run->over_since = 0;
    else if (!run->over_since)
        run->over_since = clock_monotonic();
    /* From when on it is expected to give signs of life. */
    if (slurm_phase(job->state) == SLURM_RUNNING && before != SLURM_RUNNING)
        run->heard_at = clock_monotonic();
    news.remote_id = job->id;
    news.starts_at = job->starts_at;
    snprintf(news.state, sizeof(news.state), "%s", job->state);
    snprintf(news.node, sizeof(news.node), "%s", job->node);
    snprintf(news.reason, sizeof(news.reason), "%s",
             str_equal(job->reason, "None") ? "" : job->reason);
    if (slurm_phase(job->state) == SLURM_WAITING && slurm_is_hopeless(job))
        snprintf(run->hopeless, sizeof(run->hopeless), "%s", job->reason);
    /* What it wrote came before the question: it does not wait for its first start. */
    if (slurm_phase(job->state) == SLURM_WAITING && run->started && run->heard_at < asked_at)
        run->requeued = true;
    /* Not one that is held, nor one that has its node and waits until it is up. */
    if (!run->stopped_at)
        run->starved = run->avoid[0] && !run->started && str_equal(job->state, "PENDING") &&
                       !strstr(job->reason, "JobHeld") &&
                       clock_monotonic() - run->heard_at >= patience->avoid;
    if (!memcmp(&news, &run->row.news, sizeof(news)))
        return false;
    store_news(run, &news);
    return true;
}

/* -------- signs of life -------- */

static void warn(struct slurm_run *run, const char *code, const char *detail) {
    json_t *data = json_pack("{ss ss}", "code", code, "detail", detail);
    struct failure failure;

    log_record(LOG_WARNING, LOG_FIELDS(.job = run->row.job_id, .owner = run->job->owner),
               "job %" PRId64 ": %s", run->row.job_id, detail);
    if (data && events_append(run->sink.jobs->events, run->row.job_id, WIRE_EVENT_JOB_WARNING, data,
                              &failure))
        log_warning("cannot store a warning of job %" PRId64 ": %s", run->row.job_id,
                    failure.detail);
    json_decref(data);
}

static void check_life(struct slurm_run *run, const struct slurm_patience *patience) {
    double silence = clock_monotonic() - run->heard_at;
    const char *reason = run->row.news.reason;
    char detail[400];

    if (strstr(reason, "JobHeld") && !run->warned_held) {
        run->warned_held = true;
        snprintf(detail, sizeof(detail),
                 "Slurm holds the job (%s): 'scontrol release %" PRId64 "' lets it start", reason,
                 run->row.news.remote_id);
        warn(run, "slurm_held", detail);
    }
    if (run->over_since || run->missing_since ||
        slurm_phase(run->row.news.state) != SLURM_RUNNING || !run->row.news.state[0])
        return;
    if (silence > patience->silence && !run->warned_silent) {
        run->warned_silent = true;
        snprintf(detail, sizeof(detail),
                 "no sign of life for %.0f seconds, though Slurm says %s on %s", silence,
                 run->row.news.state, run->row.news.node);
        warn(run, "slurm_silent", detail);
    }
    run->hung |= silence > patience->hang;
}

/* Is the job itself to stop, for a reason that the sink knows? */
static bool is_told(const struct slurm_run *run) {
    return run->cancel || run->sink.refused || run->sink.full;
}

bool slurm_run_to_stop(const struct slurm_run *run) {
    bool wanted = is_told(run) || run->broken || run->hung || run->hopeless[0] || run->requeued ||
                  run->starved;

    return wanted && run->step != SLURM_READY && !run->over_since &&
           (!run->stopped_at || clock_monotonic() - run->stopped_at > STOP_SECONDS);
}

/* -------- how it ended -------- */

static int fail(struct slurm_run *run, const char *code, const char *hint, bool again,
                struct failure *failure) {
    const struct run_news *news = &run->row.news;
    struct failure why;
    char log[160];

    lines_last(run->dir, run->row.nonce, log, sizeof(log));
    failure_set(&why, -EIO, code, hint, "Slurm ended job %" PRId64 " on %s: %s%s%s%s%s",
                news->remote_id, news->node[0] ? news->node : "no node", news->state,
                news->reason[0] ? ", " : "", news->reason, log[0] ? "; its last line: " : "", log);
    why.retryable = again;
    return jobs_fail(run->sink.jobs, run->row.job_id, &why, failure);
}

/* The job waits, and is tried again, less and less often. */
static int pause_job(struct slurm_run *run, const char *code, const char *hint, const char *what,
                     struct failure *failure) {
    struct jobs *jobs = run->sink.jobs;
    struct failure why;

    failure_set(&why, -EAGAIN, code, hint, "%s", what);
    holds_add(jobs->holds, run->row.job_id, HOLD_CLUSTER, jobs->cluster);
    return jobs_pause(jobs, run->row.job_id, &why, failure);
}

static int again(struct slurm_run *run, const char *reason, enum stop stop,
                 struct failure *failure) {
    return jobs_interrupt(run->sink.jobs, run->row.job_id, reason, stop, failure);
}

/* It said how it ended, or is to end as if it had. */
static int end_as(struct slurm_run *run, const struct run_end *end) {
    return sink_end(&run->sink, end);
}

static int end_stopped(struct slurm_run *run) {
    struct run_end end = {.how = RUN_STOPPED};

    return end_as(run, &end);
}

static int end_broken(struct slurm_run *run) {
    struct run_end end = {.how = RUN_FAILED, .failure = run->why};

    return end_as(run, &end);
}

static int end_at_limit(struct slurm_run *run, struct failure *failure) {
    if (lines_gained(run->dir, run->row.nonce, run->row.offset))
        return again(run, "time limit", STOP_ASKED, failure);
    return fail(run, "slurm_time_limit",
                "give jobs more time (slurm-time), or a smaller job: it finished no layer", false,
                failure);
}

/* The program ended without saying why, or never began. */
static int end_unsaid(struct slurm_run *run, struct failure *failure) {
    char log[160], what[800];

    lines_last(run->dir, run->row.nonce, log, sizeof(log));
    if (run->started) {
        snprintf(what, sizeof(what),
                 "%s on %s: it crashed or was killed, perhaps because memory ran out; see "
                 "slurm.%s.log in its folder%s%s",
                 run->row.news.state, run->row.news.node, run->row.nonce,
                 log[0] ? ", which ends: " : "", log);
        return again(run, what, STOP_CRASH, failure);
    }
    snprintf(what, sizeof(what), "%s on %s%s%s", run->row.news.state, run->row.news.node,
             log[0] ? ": " : "", log);
    return pause_job(run, "slurm_launch_failed",
                     "see that slurm-run and jobs-dir are there on every node, in the same version",
                     what, failure);
}

/*
 * A controller that was killed forgets its newest jobs, and gives their numbers to others. What a
 * node still has of the forgotten one makes it cancel the one with the same number.
 */
static bool was_mistaken(struct slurm_run *run) {
    struct store *store = run->sink.jobs->store;
    struct failure failure;
    bool shares = false;

    if (!run->started && run->row.news.node[0])
        return true;
    if (store_begin(store, STORE_READ, &failure))
        return false;
    return !store_end(store, store_shares_id(store, run->row.id, &shares), &failure) && shares;
}

/* A controller that was killed may have forgotten that it began a job, and begin it again. */
static bool was_begun_twice(const struct slurm_run *run) {
    cleanup(freep) char *note = str_format("%s/" FENCE_AGAIN, run->dir, run->row.nonce);

    return note && access(note, F_OK) == 0;
}

/* By what Slurm says of a run that is over and did not say itself how it ended. */
static int end_by_state(struct slurm_run *run, struct failure *failure) {
    const char *state = run->row.news.state;

    if (run->hung)
        return again(run, "silent", STOP_REBOOT, failure);
    if (run->requeued)
        return again(run, "requeued by Slurm", STOP_ASKED, failure);
    if (run->starved)
        return again(run, "no other node was free", STOP_ASKED, failure);
    if (was_begun_twice(run))
        return again(run, "begun twice by Slurm", STOP_REBOOT, failure);
    if (str_equal(state, "PREEMPTED"))
        return again(run, "preempted", STOP_ASKED, failure);
    if (str_equal(state, "TIMEOUT") || str_equal(state, "DEADLINE"))
        return end_at_limit(run, failure);
    if (str_equal(state, "NODE_FAIL") || str_equal(state, "BOOT_FAIL"))
        return again(run, "node failed", STOP_REBOOT, failure);
    if (str_equal(state, "OUT_OF_MEMORY") || lines_out_of_memory(run->dir, run->row.nonce))
        return fail(run, "slurm_memory", "give jobs more memory (slurm-memory), or a smaller batch",
                    false, failure);
    if (str_equal(state, "CANCELLED") && was_mistaken(run))
        return again(run, "cancelled by Slurm for another job", STOP_REBOOT, failure);
    if (str_equal(state, "CANCELLED") || str_equal(state, "REVOKED"))
        return fail(run, "slurm_cancelled", "it was cancelled by Slurm's own means: retry it", true,
                    failure);
    /* It was stopped by a signal: that is how Slurm announces the end of its time. */
    if (run->ended)
        return end_at_limit(run, failure);
    return end_unsaid(run, failure);
}

static int end_refused(struct slurm_run *run, const char *why, struct failure *failure) {
    return pause_job(run, "slurm_refused", "see the keys slurm-* of quantd.conf(5)", why, failure);
}

/* Of a run that no list has for so long that it is none. */
static int end_missing(struct slurm_run *run, struct failure *failure) {
    if (run->broken)
        return end_broken(run);
    if (is_told(run))
        return end_stopped(run);
    if (run->hopeless[0])
        return end_refused(run, run->hopeless, failure);
    if (run->ended)
        return again(run, "stopped", STOP_ASKED, failure);
    return again(run, "lost by Slurm", STOP_REBOOT, failure);
}

/* Did sbatch refuse the job? One list without it, or with a record of the refusal, settles it. */
static bool is_refused(const struct slurm_run *run) {
    return run->refused[0] && (run->missing_since || run->over_since) && !run->started;
}

/* Has a run that is over had the time to say how it ended? */
static bool is_settled(const struct slurm_run *run, const struct slurm_patience *patience) {
    return run->cancel || !run->row.news.node[0] || run->ended ||
           clock_monotonic() - run->over_since >= patience->settle;
}

/* Return: 1: it goes on; 0: what became of it is recorded; -errno: it could not be. */
static int judge(struct slurm_run *run, const struct slurm_patience *patience,
                 struct failure *failure) {
    if (run->ended && (run->end.how != RUN_STOPPED || is_told(run)))
        return end_as(run, &run->end);
    if (run->step == SLURM_READY)
        return run->cancel ? end_stopped(run) : run->broken ? end_broken(run) : 1;
    if (is_refused(run))
        return run->cancel ? end_stopped(run) : end_refused(run, run->refused, failure);
    if (run->over_since) {
        if (!is_settled(run, patience))
            return 1;
        if (run->broken)
            return end_broken(run);
        if (is_told(run))
            return end_stopped(run);
        if (run->hopeless[0])
            return end_refused(run, run->hopeless, failure);
        return end_by_state(run, failure);
    }
    if (run->missing_since && run->cancel && run->stopped_at && run->step == SLURM_THERE)
        return end_stopped(run);
    if (run->missing_long && run->step == SLURM_THERE &&
        clock_monotonic() - run->heard_at >= patience->settle)
        return end_missing(run, failure);
    check_life(run, patience);
    return 1;
}

enum slurm_fate slurm_run_judge(struct slurm_run *run, const struct slurm_patience *patience) {
    struct failure failure = {};
    int r;

    if (run->missing_long && run->step == SLURM_ASKED && !run->started && !run->cancel)
        return SLURM_AGAIN;
    if (run->missing_long && run->step == SLURM_ASKED)
        run->step = SLURM_THERE; /* it was there, or nothing is to be submitted any more */
    r = judge(run, patience, &failure);
    if (r == 1)
        return SLURM_GOES_ON;
    if (!r || r == -ESTALE)
        return SLURM_CLOSED;
    if (r != -ECANCELED)
        log_error("cannot record the end of job %" PRId64 ": %s", run->row.job_id, failure.detail);
    return SLURM_GOES_ON;
}
