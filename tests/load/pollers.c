// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a poller asks in turn: the job that runs, one that has ended, all jobs. */
enum target { TARGET_RUNNING, TARGET_ENDED, TARGET_LIST, N_TARGETS };

struct poller {
    int fd;
    bool busy;
    double due;   /* of the request that comes next */
    double began; /* the request in flight counts from here */
    unsigned n_asked;
    long job;
    char etags[N_TARGETS][96];
    struct reply reply;
};

static int record(struct latencies *latencies, double seconds) {
    if (latencies->n == latencies->capacity) {
        size_t capacity = latencies->capacity ? latencies->capacity * 2 : 4096;
        double *at = realloc(latencies->at, capacity * sizeof(*at));

        if (!at)
            return -ENOMEM;
        latencies->at = at;
        latencies->capacity = capacity;
    }
    latencies->at[latencies->n++] = seconds;
    return 0;
}

static int skip_body(void *ctx, const char *data, size_t size) {
    (void)ctx;
    (void)data;
    (void)size;
    return 0;
}

static int ask(const struct load *load, struct poller *poller) {
    enum target target = poller->n_asked % N_TARGETS;
    long job = atomic_load(&load->job);
    char path[64], headers[128] = "";

    if (job != poller->job)
        poller->etags[TARGET_RUNNING][0] = '\0';
    poller->job = job;
    if (target == TARGET_LIST)
        snprintf(path, sizeof(path), "/v1/jobs?limit=20");
    else
        snprintf(path, sizeof(path), "/v1/jobs/%ld", target == TARGET_ENDED ? load->ended : job);
    if (poller->etags[target][0])
        snprintf(headers, sizeof(headers), "If-None-Match: %s\r\n", poller->etags[target]);
    poller->reply = (struct reply){};
    poller->busy = true;
    return load_get(load, poller->fd, path, headers);
}

static int answered(struct load *load, struct poller *poller, struct pollers_report *report) {
    const struct reply *reply = &poller->reply;
    double now = clock_monotonic();
    int r = 0;

    if (reply->status == 200)
        r = record(&report->fresh, now - poller->began);
    else if (reply->status == 304)
        r = record(&report->same, now - poller->began);
    else
        report->n_errors++;
    snprintf(poller->etags[poller->n_asked % N_TARGETS], sizeof(poller->etags[0]), "%s",
             reply->etag);
    poller->n_asked++;
    poller->busy = false;
    poller->due += load->interval;
    /* A server that was too slow for the next one to be sent in time is blamed for that too. */
    poller->began = poller->due < now ? poller->due : 0;
    return r;
}

static int receive(struct load *load, struct poller *poller, struct pollers_report *report) {
    char buffer[65536];
    ssize_t n = recv(poller->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    int r;

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        return -EPIPE;
    r = reply_feed(&poller->reply, buffer, (size_t)n, skip_body, NULL);
    if (r == 0 && poller->reply.done)
        r = answered(load, poller, report);
    return r;
}

static int open_poller(const struct load *load, int epoll, struct poller *poller) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = poller};

    if (poller->fd >= 0)
        close(poller->fd);
    poller->busy = false;
    poller->fd = load_connect(load);
    if (poller->fd < 0)
        return poller->fd;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, poller->fd, &event) ? -errno : 0;
}

static void failed(const struct load *load, struct poller *poller, int epoll,
                   struct pollers_report *report) {
    report->n_errors++;
    poller->due += load->interval;
    poller->began = 0;
    open_poller(load, epoll, poller);
}

/* Sends what is due. Return: seconds until the next one. */
static double send_due(struct load *load, struct poller *pollers, int epoll,
                       struct pollers_report *report) {
    double now = clock_monotonic(), next = now + 0.1;

    for (int i = 0; i < load->n_pollers; i++) {
        struct poller *poller = &pollers[i];

        if (!poller->busy && poller->due <= now) {
            if (poller->began == 0)
                poller->began = clock_monotonic();
            if (ask(load, poller))
                failed(load, poller, epoll, report);
        }
        if (!poller->busy)
            next = MIN(next, poller->due);
    }
    return MAX(next - now, 0);
}

static int poll_all(struct load *load, struct poller *pollers, int epoll,
                    struct pollers_report *report) {
    double end = clock_monotonic() + load->seconds;
    struct epoll_event events[64];

    while (clock_monotonic() < end) {
        int timeout = (int)(send_due(load, pollers, epoll, report) * 1000) + 1;
        int n = epoll_wait(epoll, events, ARRAY_SIZE(events), timeout);

        for (int i = 0; i < n; i++) {
            struct poller *poller = events[i].data.ptr;
            int r = receive(load, poller, report);

            if (r == -ENOMEM)
                return r;
            if (r)
                failed(load, poller, epoll, report);
        }
    }
    return 0;
}

int pollers_run(struct load *load, struct pollers_report *report) {
    struct poller *pollers = calloc((size_t)load->n_pollers + 1, sizeof(*pollers));
    int epoll = epoll_create1(EPOLL_CLOEXEC), r = 0;
    double begin = clock_monotonic();

    if (!pollers || epoll < 0)
        r = -ENOMEM;
    for (int i = 0; r == 0 && i < load->n_pollers; i++) {
        pollers[i].fd = -1;
        r = open_poller(load, epoll, &pollers[i]);
        /* Spread over the interval: a steady rate. */
        pollers[i].due = begin + load->interval * i / load->n_pollers;
    }
    if (r == 0)
        r = poll_all(load, pollers, epoll, report);
    for (int i = 0; r == 0 && i < load->n_pollers; i++)
        report->n_errors += pollers[i].busy && clock_monotonic() - pollers[i].began > 1;
    for (int i = 0; pollers && i < load->n_pollers; i++)
        if (pollers[i].fd > 0)
            close(pollers[i].fd);
    if (epoll >= 0)
        close(epoll);
    free(pollers);
    return r;
}
