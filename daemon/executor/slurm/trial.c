// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/trial.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/executor/slurm/lines.h"
#include "daemon/executor/slurm/site.h"
#include "daemon/executor/slurm/trial_dirs.h"
#include "daemon/jobdir/fence.h"
#include "daemon/jobdir/job_file.h"
#include "daemon/jobdir/line.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 500

struct trial {
    const struct config *config;
    struct site site;
    char nonce[RUN_NONCE_SIZE], name[SLURM_NAME_MAX];
    char *dir; /* of the trial job; owned; NULL: not made */
    int64_t offset;
    struct slurm_job listed; /* id 0: it is in no list */
    json_t *started;         /* what its run said first; owned; NULL: nothing */
    bool ended;              /* its run said that it ended */
    bool well;
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number) {
    (void)number;
    stop_wanted = true;
}

/* Handlers, and no mask: threads that libraries start before main() would take the signals. */
static void catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigaction(SIGHUP, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
}

static void found(struct trial *trial, bool well, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void found(struct trial *trial, bool well, const char *what, const char *format, ...) {
    va_list args;

    trial->well &= well;
    printf("%-4s  %-9s  ", well ? "ok" : "fail", what);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* Waits for the program that was started. Return: its exit status, as command_step(). */
static int wait_for(struct command *command) {
    struct pollfd fds[2];
    int status = -1;

    while (!command_step(command, &status)) {
        int ms = command_poll(command, fds);

        poll(fds, 2, ms < 0 ? LOOK_MS : MIN(ms, LOOK_MS));
    }
    return status;
}

static void failed_program(struct trial *trial, const char *program,
                           const struct command *command) {
    char line[200];

    slurm_last_line(command->texts[1].data ? command->texts[1].data : "", line, sizeof(line));
    found(trial, false, program, "%s", line[0] ? line : "it was stopped, or said nothing");
}

/* ---- the queue and the partition ---- */

static void on_job(void *ctx, const struct slurm_job *job) {
    struct trial *trial = ctx;

    if (str_equal(job->name, trial->name))
        trial->listed = *job;
}

/* Return: was the list good? */
static bool list_jobs(struct trial *trial) {
    cleanup(command_done) struct command command = {};
    struct failure failure;
    const char *text;
    int status;

    if (site_list(&trial->site, &command, &failure)) {
        found(trial, false, "squeue", "%s", failure.detail);
        return false;
    }
    status = wait_for(&command);
    text = command.texts[0].data ? command.texts[0].data : "";
    if (!status && !slurm_parse_jobs(text, command.texts[0].length, on_job, trial))
        return true;
    failed_program(trial, "squeue", &command);
    return false;
}

static void check_partition(struct trial *trial) {
    cleanup(command_done) struct command command = {};
    enum slurm_partitions verdict;
    struct failure failure;
    char detail[400];
    const char *text;

    if (site_partition(&trial->site, &command, &failure)) {
        found(trial, false, "partition", "%s", failure.detail);
        return;
    }
    if (wait_for(&command)) {
        failed_program(trial, "sinfo", &command);
        return;
    }
    text = command.texts[0].data ? command.texts[0].data : "";
    verdict = slurm_judge_partitions(text, trial->config->slurm_partition, detail, sizeof(detail));
    found(trial, verdict == SLURM_USABLE, "partition", "%s%s", detail,
          verdict == SLURM_ABSENT ? ": see slurm-partition and 'sinfo'" : "");
}

/* ---- the trial job ---- */

/* Return: Slurm has taken it. */
static bool cancel(struct trial *trial, const char *name) {
    cleanup(command_done) struct command command = {};
    struct failure failure;

    return !site_cancel(&trial->site, &command, name, 0, &failure) && !wait_for(&command);
}

/* The job of a check that was killed may still wait. Return: it does not, and its folder may go. */
static bool cancel_stale(void *ctx, const char *nonce) {
    struct trial *trial = ctx;
    char name[SLURM_NAME_MAX];

    site_job_name(&trial->site, 0, nonce, name);
    return !stop_wanted && cancel(trial, name);
}

/*
 * The job of a model that is not there: its run does all that a run does before it reads a model,
 * and then fails, as it should.
 */
static int prepare(struct trial *trial, struct failure *failure) {
    cleanup(json_decrefp) json_t *request =
        json_pack("{ss ss}", "model", "trial", "eval", "wikitext2");
    cleanup(json_decrefp) json_t *files = json_object();
    struct job_file_spec spec = {
        .id = 1, .kind = "eval", .request = request, .files = files, .device = "auto"};
    int r = site_make_nonce(trial->nonce);

    if (r)
        return failure_errno(failure, r, "cannot make", "a nonce");
    site_job_name(&trial->site, 0, trial->nonce, trial->name);
    if (!request || !files)
        return failure_oom(failure);
    r = trial_dirs_make(trial->config->jobs_dir, trial->nonce, &trial->dir, failure);
    if (r)
        return r;
    spec.model_dir = trial->dir;
    r = fence_set(trial->dir, trial->nonce, failure);
    return r ? r : job_file_write(trial->dir, &spec, failure);
}

/* Return: is it on its way? */
static bool submit(struct trial *trial) {
    cleanup(command_done) struct command command = {};
    struct failure failure;
    int64_t id = 0;

    if (site_submit(&trial->site, &command, trial->dir, trial->nonce, trial->name, "", &failure)) {
        found(trial, false, "sbatch", "%s", failure.detail);
        return false;
    }
    if (!wait_for(&command))
        id = slurm_parse_submitted(command.texts[0].data ? command.texts[0].data : "");
    if (id)
        found(trial, true, "sbatch", "the trial job is job %" PRId64 " of Slurm", id);
    else
        failed_program(trial, "sbatch", &command);
    return id > 0;
}

static int on_line(void *ctx, const char *line, size_t size, int64_t end) {
    cleanup(json_decrefp) json_t *json = NULL;
    struct trial *trial = ctx;
    struct failure failure;
    const char *kind;

    trial->offset = end;
    if (line_parse(line, size, &json, &failure))
        return 0;
    kind = json_string_value(json_object_get(json, "kind"));
    if (str_equal(kind, LINE_RUN_STARTED) && !trial->started)
        trial->started = json_incref(json_object_get(json, "data"));
    trial->ended |= str_equal(kind, LINE_RUN_ENDED);
    return 0;
}

/* Until its run has ended, or Slurm says that it is over, or its time is. */
static void watch(struct trial *trial) {
    cleanup(freep) char *events = str_format("%s/events.%s", trial->dir, trial->nonce);
    double until = clock_monotonic() + TRIAL_SECONDS, listed_at = 0, over_at = 0;

    while (events && !trial->ended && !stop_wanted && clock_monotonic() < until) {
        double now = clock_monotonic();

        lines_read(events, trial->offset, on_line, trial);
        if (now - listed_at > 5 && !trial->ended) {
            if (!list_jobs(trial))
                return;
            listed_at = now;
        }
        if (!over_at && trial->listed.id && slurm_phase(trial->listed.state) == SLURM_OVER)
            over_at = now;
        /* A network file system shows a new file, and its last line, later. */
        if (over_at && now - over_at > MAX(2 * trial->config->slurm_poll, 10))
            return;
        if (!trial->ended)
            poll(NULL, 0, LOOK_MS);
    }
}

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "?";
}

static void judge(struct trial *trial) {
    const json_t *device = json_object_get(trial->started, "device");
    const struct slurm_job *job = &trial->listed;
    char log[160];

    lines_last(trial->dir, trial->nonce, log, sizeof(log));
    if (trial->started) {
        const char *version = text_of(trial->started, "version");

        found(trial, true, "jobs-dir", "'%s' is seen by '%s'", trial->config->jobs_dir,
              text_of(trial->started, "host"));
        found(trial, str_equal(version, QUANTD_VERSION), "version",
              "quantd-run there is %s, quantd %s", version, QUANTD_VERSION);
        found(trial, trial->ended, "device", "%s: %s%s", text_of(device, "kind"),
              text_of(device, "name"), trial->ended ? "" : ", but the run did not come to its end");
    } else if (stop_wanted) {
        found(trial, false, "job", "stopped by a signal before it had begun");
    } else if (job->id && slurm_phase(job->state) == SLURM_WAITING) {
        found(trial, false, "job", "it waits for more than %d seconds: %s", TRIAL_SECONDS,
              job->reason);
    } else {
        found(trial, false, "job",
              "%s%s%s; see that jobs-dir '%s' and slurm-run '%s' are there on the nodes, in this "
              "version%s%s",
              job->id ? job->state : "it is in no list", job->node[0] ? " on " : "", job->node,
              trial->config->jobs_dir, trial->config->slurm_run,
              log[0] ? "; the last line of its log: " : "", log);
    }
}

static void clean_up(struct trial *trial) {
    if (!trial->ended && trial->name[0])
        cancel(trial, trial->name);
    if (trial->dir)
        dir_remove(trial->dir);
    free(trial->dir);
    json_decref(trial->started);
    site_done(&trial->site);
}

static void try_job(struct trial *trial) {
    struct failure failure;

    if (stop_wanted) {
        found(trial, false, "job", "stopped by a signal before it was submitted");
    } else if (prepare(trial, &failure)) {
        found(trial, false, "jobs-dir", "%s", failure.detail);
    } else if (submit(trial)) {
        watch(trial);
        judge(trial);
    }
}

bool slurm_trial(const struct config *config) {
    struct trial trial = {.config = config, .well = true};
    struct failure failure = {};

    catch_signals();
    if (site_init(&trial.site, config, NULL, &failure)) {
        found(&trial, false, "programs", "%s; %s", failure.detail, failure.hint);
    } else if (list_jobs(&trial)) {
        found(&trial, true, "squeue", "Slurm answers");
        if (!stop_wanted && site_knows_partition(&trial.site))
            check_partition(&trial);
        trial_dirs_clean(config->jobs_dir, cancel_stale, &trial);
        try_job(&trial);
    }
    clean_up(&trial);
    return trial.well;
}
