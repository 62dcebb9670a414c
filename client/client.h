// SPDX-License-Identifier: Apache-2.0
/* What each verb of quantctl is given, and what it returns. One thread. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "client/args.h"
#include "client/http/http.h"
#include "client/screen/terminal.h"

#include <stdbool.h>
#include <stdint.h>

/* What quantctl exits with; documented in quantctl(1). */
enum exit_status {
    EXIT_OK = 0,
    EXIT_JOB_FAILED = 1,
    EXIT_UNHEALTHY = 1, /* of doctor */
    EXIT_USAGE = 2,
    EXIT_DAEMON = 3, /* it cannot be reached, or answered with an error */
    EXIT_JOB_CANCELLED = 4,
    EXIT_LOCAL = 5, /* an error on this machine: disk full, no permission */
    EXIT_DETACHED = 130,
};

struct client {
    struct http *http;
    bool json;                /* one JSON value on stdout, and nothing else */
    struct terminal terminal; /* text for people: stdout, or stderr with --json */
};

struct verb {
    const char *name;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line */
    const char *details; /* lines below the options; NULL: none */
    struct arg_table table;
    int least, most; /* positional arguments */
    /* Return: an exit status, or -errno with the failure filled in. */
    int (*run)(struct client *client, const struct args *args, struct failure *failure);
};

/* All of them, in the order of help; NULL ends the list (client/verbs/verbs.c). */
extern const struct verb *const verbs[];

/*
 * client_run() - the whole program: parse @argv, run the verb, print the error. Return: the exit
 * status.
 */
int client_run(int argc, char **argv);

/* client_exit_status() - the exit status for a failure with the negative errno @r. */
int client_exit_status(int r);

/* client_print_failure() - @failure with its hint on stderr. */
void client_print_failure(const struct failure *failure);

/* client_print_json() - @value on stdout, indented, in ASCII. Return: 0 or -EIO. */
int client_print_json(const json_t *value, struct failure *failure);
