// SPDX-License-Identifier: Apache-2.0
/*
 * Event streams: how what one job does gets to five hundred clients, and why a slow one costs
 * nothing.
 *
 * Who holds what
 *   The store holds every event as a row; a row is the truth. A stream holds a cursor, the seq of
 *   the newest row that it has looked at, and at most CHUNK_ROWS frames that it is sending
 *   (stream.c). The fan-out holds the list of all streams and the newest RECENT_EVENTS rows as
 *   frames (recent.h). A frame is the bytes of one event as they are sent (frame.h): made once,
 *   never changed, shared by all streams that send it, freed by the last of them.
 *
 * Which thread
 *   Any thread of the daemon stores an event and then calls kick(), which writes to an eventfd: it
 *   neither locks nor waits. The pump, the fan-out's own thread, sleeps on that eventfd. Once
 *   awake it reads from the store what is new, for all streams by one query, makes frames, gives
 *   each stream that it concerns a signal, and resumes those that sleep. A thread of
 *   libmicrohttpd calls stream_read() for a stream that may send: it takes the signals
 *   (fanout_take()), then the next frames (fanout_events()), and copies their bytes out. Without
 *   signals the connection is suspended in the same step, so no signal gets lost between the two.
 *
 * Where a stream's events come from
 *   From the recent frames when its cursor lies within them, as that of a stream that keeps up
 *   does: no query. Else from the store, by the stream itself: that is the one that joins with an
 *   old cursor, the one that was slow, and the one for which hidden rows are in between (a row of
 *   a private job is only given out by the store, which knows who may see it).
 *
 * How a slow reader costs nothing
 *   No thread waits for a stream. The pump sets signals, a bit mask, so a thousand events for a
 *   stream that does not read are one bit; progress, which is not stored, is one frame that the
 *   next one replaces. What a client leaves unread is bounded: some frames, one block of
 *   libmicrohttpd, and a socket buffer. It goes on after its cursor when it reads again, or ends
 *   after idle_seconds without.
 *
 * What it costs otherwise
 *   A burst of events costs one query (the pump waits COALESCE_NS after it was woken), an idle
 *   stream costs nothing: it is suspended, libmicrohttpd does not poll it. So the pump does two
 *   things for it: a heartbeat every WIRE_HEARTBEAT_SECONDS, and a look each second at whether the
 *   client hung up. Streams are resumed a few at a time (SLICE), so that a request that comes in
 *   meanwhile does not wait for five hundred of them.
 *
 * The end
 *   fanout_end_streams() sets FANOUT_STOP and resumes all; each ends its response. Only then may
 *   libmicrohttpd be stopped: with a suspended connection it would abort the process.
 *
 * Lock: fanout->lock is innermost but for libmicrohttpd's own; the service is never called under
 * it. The suspended flag changes only under it, so no connection is resumed that is not suspended.
 */
#pragma once

#include "api/service.h"
#include "api/stream/frame.h"

#include <stdbool.h>
#include <stdint.h>

#define FANOUT_STREAMS_MAX 512

struct fanout;
struct MHD_Connection;

/* What a stream has to do now. */
enum fanout_signal {
    FANOUT_ROWS = 1,     /* stored events may be there */
    FANOUT_PROGRESS = 2, /* its job changed: fanout_progress() has it */
    FANOUT_BEAT = 4,     /* it was silent for WIRE_HEARTBEAT_SECONDS, or its client hung up */
    FANOUT_STOP = 8,     /* the API stops */
};

/* The fan-out's part of a stream; zero-initialise, fill in the first five. */
struct subscriber {
    struct MHD_Connection *connection;
    int fd;            /* of it; -1: not known */
    const char *owner; /* the caller that reads it; borrowed */
    int64_t job;       /* 0: all jobs */
    uint64_t version;  /* of the job as last seen */

    struct subscriber *previous, *next;
    unsigned signals; /* enum fanout_signal */
    bool suspended;
    struct frame *progress; /* the newest; NULL: none since fanout_progress() */
    double last_sent;       /* monotonic seconds */
};

/*
 * fanout_start() - a fan-out with its thread for at most @max_streams, but no more than
 * FANOUT_STREAMS_MAX, and @owner_streams (0: any number) of one owner; the caller owns *ret_fanout.
 * Return: 0 or -errno.
 */
int fanout_start(struct service *service, int max_streams, int owner_streams,
                 struct fanout **ret_fanout, struct failure *failure);

/*
 * fanout_add() - take part, from now until fanout_remove(). Return: 0; -EAGAIN: full or stopping;
 * -EDQUOT: the owner has as many as one may have.
 */
int fanout_add(struct fanout *fanout, struct subscriber *subscriber);
void fanout_remove(struct fanout *fanout, struct subscriber *subscriber);

/*
 * fanout_take() - the signals of a stream, which are cleared. With none, and unless @busy, the
 * connection is suspended until there are some. From the connection's content reader only.
 */
unsigned fanout_take(struct fanout *fanout, struct subscriber *subscriber, bool busy);

/* fanout_events() - the next events of a stream, see recent_take(). */
int fanout_events(struct fanout *fanout, const struct subscriber *subscriber, uint64_t *cursor,
                  struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more);

/* fanout_progress() - the newest progress of the stream's job; the caller uses it; may be NULL. */
struct frame *fanout_progress(struct fanout *fanout, struct subscriber *subscriber);

/* fanout_sent() - the stream has something to send now. */
void fanout_sent(struct fanout *fanout, struct subscriber *subscriber);

/*
 * fanout_end_streams() - give FANOUT_STOP to all, and wait until they are gone, at most @seconds:
 * one whose client does not read stays. No stream is suspended after it.
 */
void fanout_end_streams(struct fanout *fanout, double seconds);

/* fanout_count() - how many streams take part. */
int fanout_count(struct fanout *fanout);

/* fanout_free() - end the thread; all subscribers must be removed. NULL is fine. */
void fanout_free(struct fanout *fanout);
