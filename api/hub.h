// SPDX-License-Identifier: Apache-2.0
/*
 * Who waits for events. A stream that has nothing to send suspends its connection; one thread,
 * the pump, is woken by the service, looks once at what is new, and resumes just the streams that
 * it concerns. So a wake storm costs one query, and an idle stream costs nothing.
 *
 * Lock: hub->lock is innermost but for libmicrohttpd's own; the service is never called under it.
 * The suspended flag changes only under it, so no connection is resumed that is not suspended.
 */
#pragma once

#include "api/service.h"

#include <stdbool.h>
#include <stdint.h>

#define HUB_STREAMS_MAX 512

struct hub;
struct MHD_Connection;

/* What a stream has to do now. */
enum hub_task {
    HUB_ROWS = 1,     /* stored events may be there */
    HUB_PROGRESS = 2, /* its job changed */
    HUB_BEAT = 4,     /* it was silent for WIRE_HEARTBEAT_SECONDS */
    HUB_STOP = 8,     /* the API stops */
};

/* The hub's part of a stream; zero-initialise, fill in the first three. */
struct subscriber {
    struct MHD_Connection *connection;
    int64_t job;      /* 0: all jobs */
    uint64_t version; /* of the job as last seen; changed by hub_note() */

    struct subscriber *previous, *next;
    unsigned tasks; /* enum hub_task */
    bool suspended;
    double last_sent; /* monotonic seconds */
};

/*
 * hub_start() - a hub with its thread for at most @max_streams, but no more than HUB_STREAMS_MAX;
 * the caller owns *ret_hub. Return: 0 or -errno.
 */
int hub_start(struct service *service, int max_streams, struct hub **ret_hub,
              struct failure *failure);

/* hub_add() - take part, from now until hub_remove(). Return: 0, or -EAGAIN: full or stopping. */
int hub_add(struct hub *hub, struct subscriber *subscriber);
void hub_remove(struct hub *hub, struct subscriber *subscriber);

/*
 * hub_take() - the tasks of a stream, which are cleared. With none, and unless @busy, the
 * connection is suspended until there are some. From the connection's content reader only.
 */
unsigned hub_take(struct hub *hub, struct subscriber *subscriber, bool busy);

/* hub_note() - the stream has seen its job at @version; @sent: it has something to send now. */
void hub_note(struct hub *hub, struct subscriber *subscriber, uint64_t version, bool sent);

/*
 * hub_end_streams() - give HUB_STOP to all, and wait until they are gone, at most @seconds: one
 * whose client does not read stays. No stream is suspended after it.
 */
void hub_end_streams(struct hub *hub, double seconds);

/* hub_count() - how many streams take part. */
int hub_count(struct hub *hub);

/* hub_free() - end the thread; all subscribers must be removed. NULL is fine. */
void hub_free(struct hub *hub);
