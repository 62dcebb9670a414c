// SPDX-License-Identifier: Apache-2.0
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/macros.h"
#include "daemon/config/read.h"
#include "daemon/daemon.h"
#include "daemon/executor/slurm/trial.h"
#include "daemon/notify.h"
#include "daemon/reload.h"
#include "kernels/start.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* What the service manager must not answer with a restart, see quantd.service. */
#define EXIT_CONFIG 2
#define FILES_WANTED 8192 /* connections of four listeners, twice over */

static void print_failure(const struct failure *failure) {
    log_error("%s%s%s", failure->detail, failure->hint[0] ? "; " : "", failure->hint);
}

/* What the program was called with: the configuration is read from it again. */
struct program {
    int argc;
    char **argv;
    const struct config *config;
};

static int signal_fd = -1;                  /* eventfd: readable once a signal came */
static volatile sig_atomic_t signal_seen;   /* which one asked to stop; 0: none */
static volatile sig_atomic_t reload_wanted; /* SIGHUP came */

static void on_signal(int number) {
    int saved = errno;

    if (number == SIGHUP)
        reload_wanted = true;
    else
        signal_seen = number;
    eventfd_write(signal_fd, 1);
    errno = saved;
}

/*
 * A handler, not a mask with signalfd: libraries start threads before main() that would take the
 * signal unmasked. A second signal to stop ends the process at once.
 */
static int catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_RESETHAND};
    struct sigaction reload = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    signal(SIGPIPE, SIG_IGN);
    signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signal_fd < 0 || sigaction(SIGTERM, &stop, NULL) || sigaction(SIGINT, &stop, NULL) ||
        sigaction(SIGHUP, &reload, NULL))
        return -errno;
    return 0;
}

/* A configuration that is no good changes nothing. */
static void reload(const struct program *program, struct daemon *daemon) {
    struct config *config = NULL;
    struct failure failure;
    int n_fixed;

    notify_reloading();
    if (config_read(program->argc, program->argv, environ, &config, &failure)) {
        log_record(LOG_ERR, LOG_FIELDS(MESSAGE_CONFIG_REFUSED, .code = failure.code),
                   "the configuration stays as it was: %s", failure.detail);
        notify_status("serving; the new configuration is not used: %s", failure.detail);
    } else {
        n_fixed = daemon_reload(daemon, config);
        log_notice("the configuration was read again");
        if (n_fixed)
            notify_status("serving; options that need a restart: %d", n_fixed);
        else
            notify_status("serving");
    }
    notify_ready();
}

/* Tells the service manager that all is well, and nothing when something hangs. @hung: it did. */
static bool watch(struct daemon *daemon, bool hung) {
    struct failure failure;

    if (daemon_is_alive(daemon, &failure)) {
        notify_alive();
        return false;
    }
    if (!hung) {
        log_error("%s; the service manager ends this process", failure.detail);
        notify_status("hangs: %s", failure.detail);
    }
    return true;
}

/* Returns when a signal asks to stop, or a device needs a new process. */
static void wait_for_end(const struct program *program, struct daemon *daemon) {
    struct pollfd fds[] = {{signal_fd, POLLIN, 0}, {daemon->failed_fd, POLLIN, 0}};
    int watchdog_ms = notify_watchdog_ms();
    bool hung = false;
    eventfd_t n;

    while (!signal_seen && !fds[1].revents) {
        if (watchdog_ms)
            hung = watch(daemon, hung);
        if (poll(fds, 2, watchdog_ms ? MAX(watchdog_ms / 2, 1) : -1) < 0 && errno != EINTR)
            break;
        eventfd_read(signal_fd, &n);
        if (reload_wanted) {
            reload_wanted = false;
            reload(program, daemon);
        }
    }
    if (!fds[1].revents)
        log_info("stopping: %s", strsignal(signal_seen));
}

/* Each connection takes one. What the service manager allows at most stays the bound. */
static void raise_file_limit(void) {
    struct rlimit limit;
    rlim_t wanted;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    wanted = MIN(limit.rlim_max, FILES_WANTED);
    if (limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

static int run(const struct program *program) {
    const struct config *config = program->config;
    struct daemon *daemon = NULL;
    struct failure failure;
    bool device_failed;

    if (catch_signals()) {
        log_error("cannot catch signals: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    raise_file_limit();
    if (daemon_start(config, &daemon, &failure)) {
        print_failure(&failure);
        return EXIT_FAILURE;
    }
    log_info("quantd %s serves, state in '%s'", QUANTD_VERSION, config->state_dir);
    notify_status("serving");
    notify_ready();
    wait_for_end(program, daemon);

    notify_stopping();
    device_failed = daemon->device_failed;
    /* A worker that hangs cannot be freed; the next start recovers its job. */
    if (daemon_stop(daemon))
        _exit(EXIT_FAILURE);
    log_info("stopped");
    return device_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int check_cluster(const struct config *config) {
    if (!config->slurm) {
        fputs("quantd: there is no cluster to check: slurm = yes is not set\n", stderr);
        return EXIT_CONFIG;
    }
    signal(SIGPIPE, SIG_IGN);
    return slurm_trial(config) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    cleanup(config_freep) struct config *config = NULL;
    struct failure failure;
    struct program program = {.argc = argc, .argv = argv};

    kernels_run_test(argc, argv);
    umask(0077);
    log_open();
    if (config_read(argc, argv, environ, &config, &failure)) {
        fprintf(stderr, "quantd: %s\n", failure.detail);
        if (failure.hint[0])
            fprintf(stderr, "hint: %s\n", failure.hint);
        return EXIT_CONFIG;
    }
    if (config->help) {
        fputs(config_usage, stdout);
        return EXIT_SUCCESS;
    }
    if (config->version) {
        puts("quantd " QUANTD_VERSION);
        return EXIT_SUCCESS;
    }
    if (config->check) {
        puts("the configuration is fine");
        if (config_needs_token(config))
            printf("other machines reach '%s': quantd starts only when 'quantctl token create' "
                   "has made a token\n",
                   config_needs_token(config));
        return EXIT_SUCCESS;
    }
    if (config->check_cluster)
        return check_cluster(config);
    log_set_level(config->log_level);
    kernels_choose(argv);
    program.config = config;
    return run(&program);
}
