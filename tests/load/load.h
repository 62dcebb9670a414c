// SPDX-License-Identifier: Apache-2.0
/*
 * Many clients in one process: streams that are read, streams that are not, and pollers that send
 * back the ETag they were given. One thread for the streams, one for the pollers.
 */
#pragma once

#include "api/stream/sse.h"
#include "base/macros.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_STREAMS_MAX 4096
#define LOAD_JOBS_MAX 4096

struct load {
    const char *address; /* "unix:PATH" or "ADDRESS:PORT" */
    const char *token;   /* NULL: none */
    int n_streams;       /* those that are never read among them */
    int n_silent, n_pollers;
    double interval;  /* seconds between two requests of a poller */
    double seconds;   /* that pollers run */
    double end_after; /* seconds to wait for the streams' end after that */

    atomic_long job;      /* that streams of one job follow; a stream that ended goes to the next */
    long ended;           /* a job that has ended: pollers look at it too */
    atomic_int n_open;    /* streams that were answered 200 so far */
    atomic_bool stopping; /* measured: no new connections; streams are to end by themselves */
};

/* ---- http.c: just enough of a client ---- */

/* One response as its bytes come in; zero-initialise. */
struct reply {
    int status;
    bool has_head, chunked, done;
    size_t left; /* of the body, or of the chunk */
    int state;   /* within the chunks */
    char etag[96];
    char head[4096];
    size_t n_head;
};

/* load_connect() - a non-blocking connection. Return: the fd, or -errno. */
int load_connect(const struct load *load);

/* load_get() - send a GET of @path with the lines @headers ("": none). Return: 0 or -errno. */
int load_get(const struct load *load, int fd, const char *path, const char *headers);

/* reply_feed() - the next bytes; @body gets those of the body. Return: 0, -EBADMSG, or @body's. */
int reply_feed(struct reply *reply, const char *data, size_t size,
               int (*body)(void *ctx, const char *data, size_t size), void *ctx);

/* ---- streams.c ---- */

/* What the readers of one job's whole stream got; all must have got the same. */
struct job_seen {
    long id;
    long n_readers, n_events;
    uint64_t sum; /* of the events' ids */
};

struct streams_report {
    long n_connects, n_refused, n_broken; /* broken: not by the server's proper end */
    long n_events, n_progress;            /* stored ones; others */
    long n_lost;      /* ids missing, twice or out of order; readers that differ */
    long n_dropped;   /* streams that were not read, by the server */
    long n_at_stop;   /* streams of readers when load->stopping was seen, ... */
    long n_clean_end; /* ... and those that ended properly after it */
    long n_unended;   /* streams that were still open when waiting was over */
    struct job_seen jobs[LOAD_JOBS_MAX];
    int n_jobs;
};

/* streams_run() - until all streams have ended after load->stopping. Return: 0 or -errno. */
int streams_run(struct load *load, struct streams_report *report);

/* ---- pollers.c ---- */

/* Seconds from the moment a request was due to the last byte of its answer. */
struct latencies {
    double *at;
    size_t n, capacity;
};

struct pollers_report {
    struct latencies fresh, same; /* 200; 304 */
    long n_errors;                /* any other status, broken connections */
};

/* pollers_run() - for load->seconds. Return: 0 or -errno. */
int pollers_run(struct load *load, struct pollers_report *report);
