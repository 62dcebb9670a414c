// SPDX-License-Identifier: Apache-2.0
/*
 * quantd-run: does the job of one folder, without queue, database or network, and reports what
 * happens as lines of JSON (line.h).
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/jobdir/end.h"
#include "daemon/jobdir/fence.h"
#include "daemon/jobdir/job_file.h"
#include "daemon/jobdir/line.h"
#include "daemon/pipeline/pipeline.h"
#include "kernels/registry.h"
#include "kernels/start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Beside 0: the job succeeded; and 1: it failed, as its last line says. */
#define EXIT_CALL 2     /* called wrongly, or the folder holds no job that can be read */
#define EXIT_STOPPED 75 /* stopped by a signal; called again on the folder it goes on */
#define EXIT_BUSY 76    /* the folder is another run's */
#define EXIT_OTHER 77   /* job.json is of another format or version */

#define LOOK_SECONDS 1 /* between looks at the fence */
#define LOCK_SECONDS                                                                               \
    150 /* a run before this one ends, or the server forgets a machine that died                   \
         */

static const char usage[] =
    "usage: quantd-run JOBDIR [NONCE]\n"
    "\n"
    "Does the job that JOBDIR/job.json describes: its layers go into JOBDIR/work, the checkpoint\n"
    "into JOBDIR/artifact. What happens is written as lines of JSON to JOBDIR/events.NONCE, or to\n"
    "standard output. TERM, INT and USR1 stop it at its next step; called again it goes on.\n"
    "When JOBDIR/run is there and holds another nonce, the job is another run's: it ends.\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly, 75 stopped, 76 another run works there,\n"
    "77 job.json is of another version.\n";

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number) {
    (void)number;
    stop_wanted = true;
}

static void catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGUSR1, &stop, NULL);
}

/* -------- the folder -------- */

/* Where this run works. */
struct place {
    const char *dir, *nonce; /* nonce NULL: none */
    bool fenced;             /* the folder has a fence, which held the nonce */
    bool superseded;         /* and holds another one now */
    double looked_at;        /* monotonic: at the fence */
};

static bool is_superseded(struct place *place) {
    double now = clock_monotonic();

    if (!place->fenced || place->superseded || now - place->looked_at < LOOK_SECONDS)
        return place->superseded;
    place->looked_at = now;
    /* A fence that has gone was removed with the job. */
    place->superseded = fence_look(place->dir, place->nonce) != FENCE_MINE;
    return place->superseded;
}

static int superseded(const struct place *place, struct failure *failure) {
    return failure_set(failure, -EBUSY, "job_folder_busy", NULL,
                       "the job in '%s' is another run's now", place->dir);
}

/* A run that found the fence its own waits for the end of the one before. */
static int lock_place(struct place *place, int *ret_fd, struct failure *failure) {
    double until = clock_monotonic() + LOCK_SECONDS;
    enum fence fence = place->nonce ? fence_look(place->dir, place->nonce) : FENCE_OPEN;
    int r;

    if (fence == FENCE_OTHER)
        return superseded(place, failure);
    place->fenced = fence == FENCE_MINE;
    while ((r = fence_lock(place->dir, ret_fd, failure)) == -EBUSY && place->fenced &&
           !stop_wanted && clock_monotonic() < until) {
        sleep(LOOK_SECONDS);
        if (is_superseded(place))
            return superseded(place, failure);
    }
    return r;
}

/* A run that is begun a second time, as by a controller that forgot the first, leaves a note. */
static int begun_twice(const char *dir, const char *nonce, struct failure *failure) {
    cleanup(freep) char *note = str_format("%s/" FENCE_AGAIN, dir, nonce);
    int r = note ? file_replace(note, "", 0) : -ENOMEM;

    if (r)
        return failure_errno(failure, r, "cannot write", note ? note : dir);
    return failure_set(failure, -EBUSY, "job_folder_busy", NULL,
                       "the run '%s' was begun before: quantd begins another one", nonce);
}

/* One file for each run, so that no line of one is ever mixed with those of another. */
static int open_events(const char *dir, const char *nonce, int *ret_fd, struct failure *failure) {
    cleanup(freep) char *path = nonce ? str_format("%s/events.%s", dir, nonce) : NULL;
    int fd;

    if (!nonce) {
        *ret_fd = STDOUT_FILENO;
        return 0;
    }
    if (!path)
        return failure_oom(failure);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0 && errno == EEXIST)
        return begun_twice(dir, nonce, failure);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot make", path);
    *ret_fd = fd;
    return 0;
}

/* -------- the run -------- */

struct watch {
    struct line_writer writer;
    struct place place;
};

static int on_event(void *ctx, const char *kind, json_t *data) {
    struct watch *watch = ctx;

    return line_write(&watch->writer, kind, data);
}

static bool on_cancelled(void *ctx) {
    struct watch *watch = ctx;

    return stop_wanted || is_superseded(&watch->place) || line_write_alive(&watch->writer);
}

static int report_start(struct line_writer *writer, struct backend *backend) {
    cleanup(json_decrefp) json_t *data = NULL;
    struct backend_info info;
    char host[256] = "";

    gethostname(host, sizeof(host) - 1);
    backend->ops->info(backend, &info);
    data = json_pack("{ss ss si s{ss ss}}", "version", QUANTD_VERSION, "host", host, "pid",
                     (int)getpid(), "device", "kind", backend->ops->name, "name", info.name);
    return data ? line_write(writer, LINE_RUN_STARTED, data) : -ENOMEM;
}

static struct run_end run_on(struct backend *backend, const struct job_file *file,
                             struct watch *watch) {
    const struct pipeline_observer observer = {
        .ctx = watch, .event = on_event, .cancelled = on_cancelled};
    const struct pipeline_job job = {.kind = file->kind,
                                     .params = file->params,
                                     .model_dir = file->model_dir,
                                     .model_root = file->model_root,
                                     .dir = watch->place.dir,
                                     .corpora = &file->corpora,
                                     .original = file->original.name ? &file->original : NULL,
                                     .states = &file->states,
                                     .observer = &observer};
    struct backend_info info;
    struct failure failure;
    json_t *result = NULL;
    int r = report_start(&watch->writer, backend);

    if (r)
        failure_errno(&failure, r, "cannot write", "the run's events");
    else
        r = pipeline_run(&job, backend, &result, &failure);
    backend->ops->info(backend, &info);
    return run_end_make(r, result, &failure, info.poisoned);
}

static struct run_end run(const struct job_file *file, struct watch *watch) {
    struct backend *backend = NULL;
    struct failure failure;
    struct run_end end;
    int r = backend_open(file->device, &backend, &failure);

    if (r)
        return run_end_make(r, NULL, &failure, false);
    end = run_on(backend, file, watch);
    backend->ops->close(backend);
    return end;
}

/* Writes the last line. Return: the exit status. */
static int report_end(struct watch *watch, const struct run_end *end) {
    cleanup(json_decrefp) json_t *data = run_end_to_json(end);
    int r = data ? line_write(&watch->writer, LINE_RUN_ENDED, data) : -ENOMEM;

    if (end->how == RUN_FAILED)
        log_error("the job failed: %s: %s", end->failure.code, end->failure.detail);
    if (r) {
        log_error("cannot write how the job ended: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    if (end->how == RUN_STOPPED)
        return watch->place.superseded ? EXIT_BUSY : EXIT_STOPPED;
    return end->how == RUN_SUCCEEDED ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int exit_status_of(int r) {
    if (r == -EBUSY)
        return EXIT_BUSY;
    return r == -EPROTONOSUPPORT ? EXIT_OTHER : EXIT_CALL;
}

int main(int argc, char **argv) {
    cleanup(job_file_freep) struct job_file *file = NULL;
    cleanup(closep) int lock = -1;
    struct watch watch = {.writer.fd = -1};
    struct failure failure;
    struct run_end end;
    int r, status;

    kernels_run_test(argc, argv);
    if (argc == 2 && str_equal(argv[1], "--help")) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (argc < 2 || argc > 3 || argv[1][0] == '-' || (argc == 3 && !fence_is_nonce(argv[2]))) {
        fputs(usage, stderr);
        return EXIT_CALL;
    }
    umask(0077);
    log_open();
    kernels_choose(argv);
    catch_signals();
    watch.place = (struct place){.dir = argv[1], .nonce = argv[2]}; /* argv[argc] is NULL */
    r = job_file_read(argv[1], &file, &failure);
    if (!r)
        r = lock_place(&watch.place, &lock, &failure);
    if (!r)
        r = open_events(argv[1], argv[2], &watch.writer.fd, &failure);
    if (r) {
        log_error("%s%s%s", failure.detail, failure.hint[0] ? "; " : "", failure.hint);
        return exit_status_of(r);
    }
    end = run(file, &watch);
    status = report_end(&watch, &end);
    run_end_done(&end);
    if (watch.writer.fd != STDOUT_FILENO)
        close(watch.writer.fd);
    return status;
}
