// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/command.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAP_MS 10 /* between looks at a program that has closed its outputs */

struct pipes {
    int in, out[2], err[2]; /* out, err: read, written */
};

static void pipes_done(struct pipes *pipes) {
    const int fds[] = {pipes->in, pipes->out[0], pipes->out[1], pipes->err[0], pipes->err[1]};

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* The input is in its pipe, as far as that holds it, before the program starts. */
static int open_input(const char *input, int *ret_fd) {
    size_t size = strlen(input);
    int fds[2], r = 0;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
        return -errno;
    if (write(fds[1], input, size) != (ssize_t)size)
        r = -E2BIG;
    close(fds[1]);
    if (!r && fcntl(fds[0], F_SETFL, 0))
        r = -errno;
    if (r)
        close(fds[0]);
    else
        *ret_fd = fds[0];
    return r;
}

static int open_pipes(const char *input, struct pipes *pipes) {
    int r = open_input(input, &pipes->in);

    if (!r && (pipe2(pipes->out, O_CLOEXEC) || pipe2(pipes->err, O_CLOEXEC)))
        r = -errno;
    if (!r &&
        (fcntl(pipes->out[0], F_SETFL, O_NONBLOCK) || fcntl(pipes->err[0], F_SETFL, O_NONBLOCK)))
        r = -errno;
    return r;
}

/* In a group of its own, with no signal blocked or ignored. */
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF) ||
           posix_spawnattr_setpgroup(attributes, 0) ||
           posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &all);
}

/* Return: 0 or -errno. */
static int spawn(const struct pipes *pipes, const char *const *argv, const char *const *environment,
                 pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int r;

    if (posix_spawn_file_actions_init(&actions))
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    if (posix_spawn_file_actions_adddup2(&actions, pipes->in, STDIN_FILENO) ||
        posix_spawn_file_actions_adddup2(&actions, pipes->out[1], STDOUT_FILENO) ||
        posix_spawn_file_actions_adddup2(&actions, pipes->err[1], STDERR_FILENO) ||
        set_attributes(&attributes))
        r = -ENOMEM;
    else
        r = -posix_spawn(ret_pid, argv[0], &actions, &attributes, (char *const *)argv,
                         (char *const *)environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return r;
}

int command_start(struct command *command, const char *const *argv, const char *const *environment,
                  const char *input, double seconds, struct failure *failure) {
    cleanup(pipes_done) struct pipes pipes = {-1, {-1, -1}, {-1, -1}};
    pid_t pid = 0;
    int r = open_pipes(input, &pipes);

    if (!r)
        r = spawn(&pipes, argv, environment, &pid);
    if (r)
        return failure_errno(failure, r, "cannot run", argv[0]);
    *command = (struct command){
        .pid = pid, .fds = {pipes.out[0], pipes.err[0]}, .until = clock_monotonic() + seconds};
    pipes.out[0] = pipes.err[0] = -1;
    return 0;
}

int command_poll(const struct command *command, struct pollfd fds[2]) {
    double left = command->until - clock_monotonic();

    for (int i = 0; i < 2; i++)
        fds[i] = (struct pollfd){.fd = command->pid ? command->fds[i] : -1, .events = POLLIN};
    if (!command->pid)
        return -1;
    if (command->fds[0] < 0 && command->fds[1] < 0)
        return REAP_MS;
    return (int)(MAX(left, 0) * 1000) + 1;
}

/* Takes what has come of output @i; a program that says too much is not listened to any more. */
static void take(struct command *command, int i) {
    char buffer[8192];
    ssize_t n = 1;

    while (command->fds[i] >= 0 && n > 0 && !command->too_much) {
        n = read(command->fds[i], buffer, sizeof(buffer));
        if (n > 0 && command->texts[i].length + (size_t)n <= COMMAND_OUTPUT_MAX)
            strbuf_append(&command->texts[i], buffer, (size_t)n);
        else if (n > 0)
            command->too_much = true;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(command->fds[i]);
            command->fds[i] = -1;
        }
    }
}

static void close_fds(struct command *command) {
    for (int i = 0; i < 2; i++) {
        if (command->fds[i] >= 0)
            close(command->fds[i]);
        command->fds[i] = -1;
    }
}

bool command_step(struct command *command, int *ret_status) {
    int status = 0;
    pid_t pid;

    take(command, 0);
    take(command, 1);
    if (!command->killed && (command->too_much || clock_monotonic() >= command->until)) {
        command->killed = true;
        kill(-command->pid, SIGKILL);
    }
    pid = waitpid(command->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return false;
    /* What a child of it may still hold open is not waited for. */
    take(command, 0);
    take(command, 1);
    close_fds(command);
    command->pid = 0;
    *ret_status = pid > 0 && WIFEXITED(status) && !command->killed && !command->too_much &&
                          !command->texts[0].failed && !command->texts[1].failed
                      ? WEXITSTATUS(status)
                      : -1;
    return true;
}

void command_done(struct command *command) {
    if (command->pid) {
        kill(-command->pid, SIGKILL);
        waitpid(command->pid, NULL, 0);
        close_fds(command);
    }
    strbuf_done(&command->texts[0]);
    strbuf_done(&command->texts[1]);
    *command = (struct command){};
}
