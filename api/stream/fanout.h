// SPDX-License-Identifier: Apache-2.0
/*
 * Who waits for events. A stream that has nothing to send suspends its connection; one thread,
 * the pump, is woken by the service, looks once at what is new, writes it out once for all
 * (api/stream/frame.h), and resumes just the streams that it concerns. So a wake storm costs one
 * query, and an idle stream costs nothing. It resumes them a few at a time: a request that comes in
 * meanwhile does not wait for all of them.
 *
 * Lock: hub->lock is innermost but for libmicrohttpd's own; the service is never called under it.
 * The suspended flag changes only under it, so no connection is resumed that is not suspended.
 */
#pragma once

#include "api/service.h"
#include "api/stream/frame.h"

#include <stdbool.h>
#include <stdint.h>

#define HUB_STREAMS_MAX 512

struct hub;
struct MHD_Connection;

/* What a stream has to do now. */
enum hub_task {
    HUB_ROWS = 1,     /* stored events may be there */
    HUB_PROGRESS = 2, /* its job changed: hub_progress() has it */
    HUB_BEAT = 4,     /* it was silent for WIRE_HEARTBEAT_SECONDS, or its client hung up */
    HUB_STOP = 8,     /* the API stops */
};

/* The hub's part of a stream; zero-initialise, fill in the first five. */
struct subscriber {
    struct MHD_Connection *connection;
    int fd;            /* of it; -1: not known */
    const char *owner; /* who reads it; borrowed */
    int64_t job;       /* 0: all jobs */
    uint64_t version;  /* of the job as last seen */

    struct subscriber *previous, *next;
    unsigned tasks; /* enum hub_task */
    bool suspended;
    struct frame *progress; /* the newest; NULL: none since hub_progress() */
    double last_sent;       /* monotonic seconds */
};

/*
 * hub_start() - a hub with its thread for at most @max_streams, but no more than HUB_STREAMS_MAX,
 * and @owner_streams (0: any number) of one owner; the caller owns *ret_hub. Return: 0 or -errno.
 */
int hub_start(struct service *service, int max_streams, int owner_streams, struct hub **ret_hub,
              struct failure *failure);

/*
 * hub_add() - take part, from now until hub_remove(). Return: 0; -EAGAIN: full or stopping;
 * -EDQUOT: the owner has as many as one may have.
 */
int hub_add(struct hub *hub, struct subscriber *subscriber);
void hub_remove(struct hub *hub, struct subscriber *subscriber);

/*
 * hub_take() - the tasks of a stream, which are cleared. With none, and unless @busy, the
 * connection is suspended until there are some. From the connection's content reader only.
 */
unsigned hub_take(struct hub *hub, struct subscriber *subscriber, bool busy);

/* hub_events() - the next events of a stream, see recent_take(). */
int hub_events(struct hub *hub, const struct subscriber *subscriber, uint64_t *cursor,
               struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more);

/* hub_progress() - the newest progress of the stream's job; the caller uses it; may be NULL. */
struct frame *hub_progress(struct hub *hub, struct subscriber *subscriber);

/* hub_sent() - the stream has something to send now. */
void hub_sent(struct hub *hub, struct subscriber *subscriber);

/*
 * hub_end_streams() - give HUB_STOP to all, and wait until they are gone, at most @seconds: one
 * whose client does not read stays. No stream is suspended after it.
 */
void hub_end_streams(struct hub *hub, double seconds);

/* hub_count() - how many streams take part. */
int hub_count(struct hub *hub);

/* hub_free() - end the thread; all subscribers must be removed. NULL is fine. */
void hub_free(struct hub *hub);
