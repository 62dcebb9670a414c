// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/slurm.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/config/cluster.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NAME SLURM_NAME
#define TICK_MS 1000
#define LAST_COMMAND_SECONDS 10 /* for a program that runs when the daemon stops */

static struct slurm *slurm_of(struct executor *executor) {
    return (struct slurm *)executor; /* its first member */
}

static void on_alive(void *ctx) {
    struct slurm *slurm = ctx;

    slurm->renewed = lease_now();
}

/* -------- its options -------- */

static void use_options(struct slurm *slurm) {
    const struct config *options = slurm->options;

    slurm->site.config = options;
    slurm->patience = (struct slurm_patience){.settle = 2.0 * options->slurm_poll,
                                              .avoid = 20.0 * options->slurm_poll,
                                              .silence = options->slurm_silence,
                                              .hang = options->hang_seconds};
}

/* What a reload has left. Jobs that were submitted keep the options that they were given. */
static void take_changed(struct slurm *slurm) {
    struct config *before = NULL;

    pthread_mutex_lock(&slurm->mutex);
    if (slurm->changed) {
        before = slurm->options;
        slurm->options = steal_ptr(slurm->changed);
    }
    pthread_mutex_unlock(&slurm->mutex);
    if (!before)
        return;
    config_free(before);
    use_options(slurm);
    slurm->partition_at = 0;
    slurm->judged = false;
    task_list_in(slurm, 0);
}

/* -------- the thread -------- */

/* Waits for a program's output, a request, or the next look. */
static void wait_for_work(struct slurm *slurm) {
    struct pollfd fds[3];
    int most = command_poll(&slurm->command, fds);
    eventfd_t n;

    fds[2] = (struct pollfd){.fd = slurm->wake_fd, .events = POLLIN};
    poll(fds, ARRAY_SIZE(fds), most < 0 ? TICK_MS : MIN(most, TICK_MS));
    eventfd_read(slurm->wake_fd, &n);
}

/* A program that submits is given the time to say so: else the job has to be looked for later. */
static void finish_command(struct slurm *slurm) {
    double until = clock_monotonic() + LAST_COMMAND_SECONDS;
    int status;

    while (slurm->command.pid && clock_monotonic() < until) {
        if (command_step(&slurm->command, &status))
            task_end(slurm, status);
        else
            wait_for_work(slurm);
    }
    command_done(&slurm->command);
}

static void *slurm_main(void *arg) {
    struct slurm *slurm = arg;
    double looked_at = 0;
    int status;

    pthread_setname_np(pthread_self(), NAME);
    while (!slurm->stop) {
        double now = clock_monotonic();

        on_alive(slurm);
        take_changed(slurm);
        if (slurm->command.pid && command_step(&slurm->command, &status))
            task_end(slurm, status);
        if (atomic_exchange(&slurm->look, false)) {
            runs_find_cancelled(slurm);
            looked_at = 0;
        }
        if (now - looked_at >= TICK_MS / 1000.0) {
            runs_look(slurm);
            looked_at = now;
        }
        if (slurm->command.pid || !task_begin(slurm))
            wait_for_work(slurm);
    }
    finish_command(slurm);
    pthread_mutex_lock(&slurm->mutex);
    slurm->ended = true;
    pthread_cond_broadcast(&slurm->cond);
    pthread_mutex_unlock(&slurm->mutex);
    return NULL;
}

/* -------- the executor -------- */

static void slurm_free(struct executor *executor) {
    struct slurm *slurm = slurm_of(executor);

    for (int i = 0; i < slurm->n_runs; i++)
        slurm_run_free(slurm->runs[i]);
    free(slurm->runs);
    site_done(&slurm->site);
    config_free(slurm->options);
    config_free(slurm->changed);
    if (slurm->wake_fd >= 0)
        close(slurm->wake_fd);
    pthread_cond_destroy(&slurm->cond);
    pthread_mutex_destroy(&slurm->mutex);
    free(slurm);
}

static int slurm_open(const struct executor_config *config, struct executor **ret_executor,
                      struct failure *failure) {
    struct slurm *slurm;
    int r;

    if (!config->config->slurm)
        return 0;
    slurm = calloc(1, sizeof(*slurm));
    if (!slurm)
        return failure_oom(failure);
    slurm->executor.ops = &executor_slurm;
    slurm->config = *config;
    config->jobs->cluster = NAME;
    config->jobs->no_devices = str_equal(config->config->devices.at[0], "none");
    pthread_mutex_init(&slurm->mutex, NULL);
    pthread_cond_init(&slurm->cond, NULL);
    failure_set(&slurm->why, -EAGAIN, "slurm_unreachable", NULL, "Slurm was not asked yet");
    slurm->renewed = lease_now();
    slurm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = slurm->wake_fd < 0 ? failure_errno(failure, -errno, "cannot make", "eventfd") : 0;
    if (!r && config_copy_slurm(config->config, &slurm->options))
        r = failure_oom(failure);
    if (!r)
        r = site_init(&slurm->site, config->config, config->jobs->store, failure);
    if (!r)
        use_options(slurm);
    if (!r)
        r = runs_load(slurm, failure);
    if (r) {
        slurm_free(&slurm->executor);
        return r;
    }
    *ret_executor = &slurm->executor;
    return 0;
}

static int slurm_start(struct executor *executor, struct failure *failure) {
    struct slurm *slurm = slurm_of(executor);
    int r = -pthread_create(&slurm->thread, NULL, slurm_main, slurm);

    if (r)
        return failure_errno(failure, r, "cannot start the thread of", NAME);
    slurm->started = true;
    return 0;
}

static void slurm_poll(struct executor *executor) {
    eventfd_write(slurm_of(executor)->wake_fd, 1);
}

static void slurm_cancel(struct executor *executor, int64_t id) {
    (void)id; /* the row says so */
    slurm_of(executor)->look = true;
    slurm_poll(executor);
}

static int slurm_describe(struct executor *executor, json_t *devices) {
    struct slurm *slurm = slurm_of(executor);
    json_t *jobs = NULL, *reasons;
    const char *partition;
    struct waits waits;
    struct failure why;
    char name[160] = "Slurm";
    bool well;

    pthread_mutex_lock(&slurm->mutex);
    why = slurm->answers ? slurm->partition : slurm->why;
    well = slurm->answers && !why.code[0];
    waits = slurm->waits;
    partition = slurm->options->slurm_partition;
    if (partition)
        snprintf(name, sizeof(name), "Slurm, partition%s %s", strchr(partition, ',') ? "s" : "",
                 partition);
    pthread_mutex_unlock(&slurm->mutex);
    reasons = waits_reasons(&waits);
    if (reasons)
        jobs = json_pack("{si si so so}", "waiting", (int)slurm->n_waiting, "running",
                         (int)slurm->n_running, "reasons", reasons, "next_start",
                         json_time(waits.next_start));
    return json_array_append_new(
               devices, json_pack("{ss ss ss ss sI sI sn sn so so}", "id", NAME, "kind", NAME,
                                  "name", name, "library", "", "memory_total", (json_int_t)0,
                                  "memory_free", (json_int_t)0, "utilization", "job", "jobs", jobs,
                                  "error", well ? json_null() : failure_to_json(&why)))
               ? -ENOMEM
               : 0;
}

static bool slurm_lives(struct executor *executor, int64_t id) {
    struct slurm *slurm = slurm_of(executor);
    bool lives = false;

    pthread_mutex_lock(&slurm->mutex);
    for (int i = 0; i < slurm->n_runs && !lives; i++)
        lives = slurm->runs[i]->sink.row->id == id;
    pthread_mutex_unlock(&slurm->mutex);
    return lives;
}

static bool slurm_usable(struct executor *executor) {
    struct slurm *slurm = slurm_of(executor);
    bool answers;

    pthread_mutex_lock(&slurm->mutex);
    answers = slurm->answers;
    pthread_mutex_unlock(&slurm->mutex);
    return answers;
}

/* Slurm itself counts as busy: whoever comes first leaves it nothing. */
static bool slurm_idle(struct executor *executor) {
    (void)executor;
    return false;
}

static bool slurm_alive(struct executor *executor, int seconds, struct failure *failure) {
    struct slurm *slurm = slurm_of(executor);
    double silence = (double)(lease_now() - slurm->renewed) / 1000;

    if (silence <= seconds || store_waits(slurm->config.jobs->store))
        return true;
    failure_set(failure, -EIO, "device_hangs", "see whether the file system of jobs-dir answers",
                "the thread of Slurm gave no sign of life for %.0f seconds", silence);
    return false;
}

static void slurm_reload(struct executor *executor, const struct config *config) {
    struct slurm *slurm = slurm_of(executor);
    struct config *copy = NULL;

    /* The cluster goes at the next start; of one that is off the options were not checked. */
    if (!config->slurm)
        return;
    if (config_copy_slurm(config, &copy)) {
        log_error(SLURM_NAME ": the options stay as they were: out of memory");
        return;
    }
    pthread_mutex_lock(&slurm->mutex);
    config_free(slurm->changed);
    slurm->changed = copy;
    pthread_mutex_unlock(&slurm->mutex);
    slurm_poll(executor);
}

static void slurm_stop(struct executor *executor) {
    slurm_of(executor)->stop = true;
    slurm_poll(executor);
}

static int slurm_join(struct executor *executor, double until) {
    struct slurm *slurm = slurm_of(executor);
    struct timespec at = clock_timespec(until);
    bool ended;
    int r = 0;

    if (!slurm->started)
        return 0;
    pthread_mutex_lock(&slurm->mutex);
    while (!slurm->ended && r != ETIMEDOUT)
        r = pthread_cond_clockwait(&slurm->cond, &slurm->mutex, CLOCK_MONOTONIC, &at);
    ended = slurm->ended;
    pthread_mutex_unlock(&slurm->mutex);
    return ended ? -pthread_join(slurm->thread, NULL) : -ETIMEDOUT;
}

const struct executor_ops executor_slurm = {
    .name = NAME,
    .open = slurm_open,
    .start = slurm_start,
    .poll = slurm_poll,
    .cancel = slurm_cancel,
    .describe = slurm_describe,
    .lives = slurm_lives,
    .usable = slurm_usable,
    .idle = slurm_idle,
    .alive = slurm_alive,
    .reload = slurm_reload,
    .stop = slurm_stop,
    .join = slurm_join,
    .free = slurm_free,
};
