// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_SECONDS 0.2
#define TICK_MS 100

enum kind { KIND_SILENT, KIND_ALL, KIND_JOB };

struct client {
    enum kind kind;
    int fd;          /* -1: not connected */
    double retry_at; /* when it is not connected */
    long job;        /* KIND_JOB */
    uint64_t last;   /* id of the newest stored event */
    long n_events;   /* stored ones of the job */
    uint64_t sum;    /* of their ids */
    bool complete;   /* with the job's last event */
    struct reply reply;
    struct sse_parser parser;
    struct run *run;
};

struct run {
    struct load *load;
    struct streams_report *report;
    int epoll;
    double deadline; /* 0: until load->stopping */
    int n_open;
    struct client clients[LOAD_STREAMS_MAX];
};

static int on_event(void *ctx, const struct sse_event *event) {
    struct client *client = ctx;
    struct streams_report *report = client->run->report;
    uint64_t id = strtoull(event->id, NULL, 10);

    if (id == client->last) {
        report->n_progress++;
        return 0;
    }
    report->n_events++;
    client->n_events++;
    client->sum += id;
    client->complete = strcmp(event->type, "job.succeeded") == 0;
    /* Of all jobs none may be missing; those of one job at least go up. */
    if (id < client->last || (client->kind == KIND_ALL && id != client->last + 1))
        report->n_lost++;
    client->last = id;
    return 0;
}

static int on_body(void *ctx, const char *data, size_t size) {
    struct client *client = ctx;
    struct failure failure;

    return sse_parser_feed(&client->parser, data, size, on_event, client, &failure);
}

/* A whole stream of a job: every reader has to have got the same. */
static void compare(struct streams_report *report, const struct client *client) {
    int i = 0;

    while (i < report->n_jobs && report->jobs[i].id != client->job)
        i++;
    if (i == LOAD_JOBS_MAX)
        return;
    if (i == report->n_jobs) {
        report->n_jobs++;
        report->jobs[i] =
            (struct job_seen){.id = client->job, .n_events = client->n_events, .sum = client->sum};
    }
    report->jobs[i].n_readers++;
    report->n_lost +=
        report->jobs[i].n_events != client->n_events || report->jobs[i].sum != client->sum;
}

static void restart(struct client *client) {
    client->last = 0;
    client->n_events = 0;
    client->sum = 0;
    client->complete = false;
    sse_parser_done(&client->parser);
    client->parser = (struct sse_parser){};
}

static void disconnect(struct run *run, struct client *client) {
    close(client->fd);
    client->fd = -1;
    client->retry_at = clock_monotonic() + RETRY_SECONDS;
    run->n_open--;
}

static void connect_client(struct run *run, struct client *client) {
    struct epoll_event event = {.events = client->kind == KIND_SILENT ? EPOLLRDHUP : EPOLLIN,
                                .data.ptr = client};
    char path[96], headers[128];

    client->fd = load_connect(run->load);
    if (client->fd < 0) {
        run->report->n_broken++;
        client->retry_at = clock_monotonic() + RETRY_SECONDS;
        return;
    }
    run->n_open++;
    run->report->n_connects++;
    if (client->kind == KIND_JOB)
        snprintf(path, sizeof(path), "/v1/jobs/%ld/events", client->job);
    else
        snprintf(path, sizeof(path), "/v1/events?after=0");
    snprintf(headers, sizeof(headers), "Accept: text/event-stream\r\n");
    if (client->last)
        snprintf(headers + strlen(headers), sizeof(headers) - strlen(headers),
                 "Last-Event-ID: %" PRIu64 "\r\n", client->last);
    client->reply = (struct reply){};
    sse_parser_restart(&client->parser);
    if (load_get(run->load, client->fd, path, headers) ||
        epoll_ctl(run->epoll, EPOLL_CTL_ADD, client->fd, &event)) {
        run->report->n_broken++;
        disconnect(run, client);
    }
}

/* Its end: the last chunk has come. */
static void ended(struct run *run, struct client *client) {
    run->report->n_clean_end += run->deadline > 0;
    if (client->reply.status != 200) {
        /* 404: the next job is not there yet. */
        run->report->n_refused += client->reply.status != 404;
    } else {
        if (client->kind == KIND_JOB && client->complete) {
            compare(run->report, client);
            restart(client);
            client->job++;
        }
    }
    disconnect(run, client);
}

static void receive(struct run *run, struct client *client) {
    bool had_head = client->reply.has_head;
    char buffer[65536];
    ssize_t n = recv(client->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || reply_feed(&client->reply, buffer, (size_t)n, on_body, client)) {
        run->report->n_broken++;
        disconnect(run, client);
        return;
    }
    if (!had_head && client->reply.status == 200) {
        atomic_fetch_add(&run->load->n_open, 1);
        if (client->kind == KIND_JOB && client->job > atomic_load(&run->load->job))
            atomic_store(&run->load->job, client->job);
    }
    if (client->reply.done)
        ended(run, client);
}

static void on_ready(struct run *run, struct client *client, uint32_t events) {
    if (client->kind != KIND_SILENT) {
        receive(run, client);
        return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        run->report->n_dropped += !atomic_load(&run->load->stopping);
        disconnect(run, client);
    }
}

/* A client whose job has just ended is between two streams, and opens no more. */
static void count_readers(struct run *run) {
    for (int i = 0; i < run->load->n_streams; i++)
        run->report->n_at_stop += run->clients[i].kind != KIND_SILENT && run->clients[i].fd >= 0;
}

/* Return: is there anything left to wait for? */
static bool tick(struct run *run) {
    double now = clock_monotonic();

    if (atomic_load(&run->load->stopping)) {
        if (run->deadline == 0) {
            run->deadline = now + run->load->end_after;
            count_readers(run);
        }
        return run->n_open > 0 && now < run->deadline;
    }
    for (int i = 0; i < run->load->n_streams; i++)
        if (run->clients[i].fd < 0 && now >= run->clients[i].retry_at)
            connect_client(run, &run->clients[i]);
    return true;
}

int streams_run(struct load *load, struct streams_report *report) {
    struct run *run = calloc(1, sizeof(*run));
    struct epoll_event events[256];

    if (!run)
        return -ENOMEM;
    run->load = load;
    run->report = report;
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < load->n_streams; i++)
        run->clients[i] = (struct client){.kind = i < load->n_silent ? KIND_SILENT
                                                  : i % 2            ? KIND_ALL
                                                                     : KIND_JOB,
                                          .fd = -1,
                                          .job = atomic_load(&load->job),
                                          .run = run};
    while (tick(run)) {
        int n = epoll_wait(run->epoll, events, ARRAY_SIZE(events), TICK_MS);

        for (int i = 0; i < n; i++)
            on_ready(run, events[i].data.ptr, events[i].events);
    }
    report->n_unended = run->n_open;
    for (int i = 0; i < load->n_streams; i++) {
        sse_parser_done(&run->clients[i].parser);
        if (run->clients[i].fd >= 0)
            close(run->clients[i].fd);
    }
    close(run->epoll);
    free(run);
    return 0;
}
