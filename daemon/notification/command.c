// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/notification/send.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 60.0
#define LOOK_NS 50000000

/* The body as a file to be read from its start; a descriptor or -errno. */
static int body_file(const char *body) {
    int fd = memfd_create("notification", MFD_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = file_write_all(fd, body, strlen(body));
    if (!r && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r)
        close(fd);
    return r ? r : fd;
}

/* In a group of its own, with the signals of a new process, and no file of the daemon. */
static int spawn(const char *path, int body, char *const *environment, pid_t *ret_pid) {
    char *const words[] = {(char *)path, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    int r;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    r = -posix_spawn_file_actions_adddup2(&files, body, STDIN_FILENO);
    if (!r)
        r = -posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!r)
        r = -posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!r)
        r = -posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    if (!r) {
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                  POSIX_SPAWN_SETSIGMASK);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setsigmask(&attributes, &none);
        r = -posix_spawn(ret_pid, path, &files, &attributes, words, environment);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return r;
}

/* Waits for its end, or kills it and all that it has started. */
static int await(const struct notification *notification, pid_t pid, struct failure *failure) {
    double until = clock_monotonic() + SECONDS;
    bool late = false, stopped = false;
    int status = 0;
    pid_t r;

    while ((r = waitpid(pid, &status, WNOHANG)) == 0 || (r < 0 && errno == EINTR)) {
        late = clock_monotonic() > until;
        stopped = *notification->stop;
        if (late || stopped)
            break;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    if (late || stopped) {
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    if (stopped)
        return -ECANCELED;
    if (late)
        return failure_set(failure, -ETIMEDOUT, "notify_failed", NULL,
                           "the command did not end within %.0f seconds", SECONDS);
    if (r > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return failure_set(failure, -EIO, "notify_failed", NULL, "the command ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int send_command(const struct notification *notification, const char *path,
                 struct failure *failure) {
    cleanup(freep) char *job = str_format("QUANTD_JOB=%" PRId64, notification->job);
    cleanup(freep) char *status = str_format("QUANTD_STATUS=%s", notification->status);
    static char path_entry[] = "PATH=/usr/local/bin:/usr/bin:/bin", language[] = "LANG=C.UTF-8";
    char *const environment[] = {path_entry, language, job, status, NULL};
    cleanup(closep) int body = -1;
    pid_t pid;
    int r;

    if (!job || !status)
        return failure_oom(failure);
    body = body_file(notification->body);
    r = body < 0 ? body : spawn(path, body, environment, &pid);
    return r ? failure_errno(failure, r, "cannot run", path) : await(notification, pid, failure);
}
