// SPDX-License-Identifier: Apache-2.0
/*
 * Requests on their way in, of one listener. A client that sends one slowly holds a connection for
 * as long, so both time and number are bounded:
 *
 * - A head has intake_limits.seconds, from the opening of the connection or from the end of the
 *   answer before it. A body has as many, and one more for each INTAKE_BODY_RATE bytes that came.
 *   Who is later is cut off.
 * - With more than intake_limits.max connections in all, those that wait for a request or its rest
 *   make room: the oldest that never got an answer, else the oldest that is idle after one, else
 *   the oldest body. So some connections of the listener are always free. A request that comes in
 *   at once waits for microseconds, so it is not hit.
 *
 * Cut off is by shutdown(): libmicrohttpd sees the end and closes. Any thread, but one visitor by
 * one at a time.
 */
#pragma once

#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>

#define INTAKE_BODY_RATE 4096       /* bytes a second */
#define INTAKE_BODY_MAX (64 * 1024) /* bytes that earn time: more is dropped anyway */

struct intake;
struct user;

enum intake_stage {
    INTAKE_HEAD,  /* waits for a request */
    INTAKE_BODY,  /* its head is complete */
    INTAKE_READY, /* all of it came; it is answered: no concern of the intake */
    INTAKE_CUT,   /* was cut off, is about to be closed */
};

/* A connection. */
struct visitor {
    struct user *user; /* the user that opened it; borrowed, may be NULL */
    int fd;
    enum intake_stage stage;
    double since;  /* monotonic: when the stage began */
    size_t n_body; /* bytes of body that came */
    bool was_answered;
    struct visitor *previous, *next;
};

struct intake_limits {
    int max;     /* connections before one that waits has to go */
    int seconds; /* as above */
};

/* intake_start() - with a thread of its own; owned by the caller. Return: 0 or -errno. */
int intake_start(struct intake_limits limits, struct intake **ret_intake, struct failure *failure);

/* intake_free() - end the thread; all visitors are closed. NULL is fine. */
void intake_free(struct intake *intake);

/* intake_open() - the connection @fd of @user waits for its first request. NULL: out of memory. */
struct visitor *intake_open(struct intake *intake, int fd, struct user *user);

/* intake_make_room() - cut off a connection of @user that waits. Return: false: none does. */
bool intake_make_room(struct intake *intake, const struct user *user);

/* intake_close() - it is about to be closed; frees @visitor. */
void intake_close(struct intake *intake, struct visitor *visitor);

void intake_head(struct intake *intake, struct visitor *visitor); /* a head is complete */
void intake_body(struct intake *intake, struct visitor *visitor, size_t size); /* more bytes */
void intake_ready(struct intake *intake, struct visitor *visitor); /* all of the request is here */
void intake_next(struct intake *intake, struct visitor *visitor);  /* it was answered */
