// SPDX-License-Identifier: Apache-2.0
/*
 * One program of Slurm at a time, as a child process that is never waited for: its input is there
 * when it starts, its output is taken as it comes, and it is killed when its time is over.
 */
#pragma once

#include "base/failure.h"
#include "base/str.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

#define COMMAND_OUTPUT_MAX (16 << 20) /* bytes that are kept of each output; more is an error */

/* Starts as zero. Used by one thread. */
struct command {
    pid_t pid;              /* 0: none runs */
    int fds[2];             /* its standard output and error; -1: it has closed it */
    struct strbuf texts[2]; /* what it has written; owned */
    bool too_much;          /* it wrote more than is kept */
    bool killed;            /* its time was over */
    double until;           /* monotonic: then it is killed */
};

/*
 * command_start() - run the program argv[0] with @argv, @environment and @input (at most 64 KiB) on
 * its standard input, for @seconds at most. Nothing may run in @command. Return: 0 or -errno with
 * the failure.
 */
int command_start(struct command *command, const char *const *argv, const char *const *environment,
                  const char *input, double seconds, struct failure *failure);

/* command_poll() - what to wait for: fills in 2 of @fds. Return: ms to wait at most, -1: any. */
int command_poll(const struct command *command, struct pollfd fds[2]);

/*
 * command_step() - take what has come. Return: true once it has ended; *ret_status is its exit
 * status then, -1 when a signal ended it, it wrote too much or its time was over. Its texts stay
 * until command_done().
 */
bool command_step(struct command *command, int *ret_status);

/* command_done() - it is killed if it still runs, and its texts are freed. */
void command_done(struct command *command);
