// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/notify.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

/* What the service manager must not answer with a restart, see quantd.service. */
#define EXIT_CONFIG 2

static void print_failure(const struct failure *failure) {
    log_error("%s%s%s", failure->detail, failure->hint[0] ? "; " : "", failure->hint);
}

/* Signals become readable, in the main thread alone: all others inherit the mask. */
static int open_signals(void) {
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL))
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Returns when a signal asks to stop, or a device needs a new process. */
static void wait_for_end(struct daemon *daemon, int signals) {
    struct pollfd fds[] = {{signals, POLLIN, 0}, {daemon->failed_fd, POLLIN, 0}};
    struct signalfd_siginfo info;

    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    if (fds[1].revents)
        log_error("a device failed, a new process is needed");
    else if (read(signals, &info, sizeof(info)) == sizeof(info))
        log_info("stopping: %s", strsignal((int)info.ssi_signo));
}

static int run(const struct config *config) {
    cleanup(closep) int signals = open_signals();
    struct daemon *daemon = NULL;
    struct failure failure;
    bool device_failed;

    if (signals < 0) {
        log_error("cannot take signals");
        return EXIT_FAILURE;
    }
    if (daemon_start(config, &daemon, &failure)) {
        print_failure(&failure);
        return EXIT_FAILURE;
    }
    log_info("quantd %s serves, state in '%s'", QUANTD_VERSION, config->state_dir);
    notify_status("serving");
    notify_ready();
    wait_for_end(daemon, signals);

    notify_stopping();
    device_failed = daemon->device_failed;
    /* A worker that hangs cannot be freed; the next start recovers its job. */
    if (daemon_stop(daemon))
        _exit(EXIT_FAILURE);
    log_info("stopped");
    return device_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    cleanup(config_freep) struct config *config = NULL;
    struct failure failure;

    umask(0077);
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
        return EXIT_SUCCESS;
    }
    log_set_level(config->log_level);
    return run(config);
}
