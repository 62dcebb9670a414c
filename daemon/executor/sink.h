// SPDX-License-Identifier: Apache-2.0
/*
 * The event sink: what an event of a run does to the store, to its watchers and to the job's row,
 * and what its end does. The events come from the pipeline's observer where the run is in this
 * process, and as lines of JSON (daemon/jobdir/line.h) where it is not; both do the same.
 *
 * While another program holds the database the sink waits: an event is not lost, nor does the job
 * fail.
 */
#pragma once

#include "daemon/jobdir/end.h"
#include "daemon/queue/jobs.h"

#include <stdatomic.h>

/* All pointers are borrowed; used by one thread. What is not named here starts as zero. */
struct sink {
    struct jobs *jobs;
    const struct job_row *row;   /* which was claimed */
    const char *device;          /* what it runs on */
    const atomic_bool *cancel;   /* the job shall end */
    const atomic_bool *stop;     /* the daemon shall end: the job goes back to the queue */
    const struct run_mark *mark; /* how far its events were read, with the one that is reported now;
                                    NULL: they come from no file */
    void (*alive)(void *ctx);    /* called at every sign of life, some times a second */
    /* As in struct worker_config, for more memory than this device has; NULL: none may run it. */
    const char *(*larger)(void *ctx, bool *ret_usable);
    void *ctx;

    /* The sink's own. */
    char fingerprint[65];   /* of the model, once it is known */
    bool refused;           /* the store did not take an event, ... */
    struct failure failure; /* ... because of this */
    bool full;              /* the run has to stop until there is room, ... */
    struct failure no_room; /* ... because of this */
};

/*
 * sink_event() - the run reports @kind, of those in daemon/pipeline/job.h and daemon/jobdir/line.h.
 * @data is borrowed; what the daemon knows more is added to it. Return: 0, or -errno: the run has
 * to stop; the sink knows why.
 */
int sink_event(struct sink *sink, const char *kind, json_t *data);

/*
 * sink_line() - the same for a line of @size bytes, without its newline; hostile. *ret_ended: it
 * was the last one, and the caller, who owns *ret_end then, decides what it means. Return: 0 or
 * -errno with the failure; -ECANCELED: it is to be reported again later.
 */
int sink_line(struct sink *sink, const char *text, size_t size, bool *ret_ended,
              struct run_end *ret_end, struct failure *failure);

/* sink_stops() - shall the run stop at its next step? */
bool sink_stops(const struct sink *sink);

/*
 * sink_end() - record that the run has ended, or that the job goes back to the queue. A store that
 * cannot record it is asked again until @stop. @end is borrowed. Return: 0; -ECANCELED: it is not
 * recorded.
 */
int sink_end(struct sink *sink, const struct run_end *end);
