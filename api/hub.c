// SPDX-License-Identifier: Apache-2.0
#include "api/hub.h"

#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/macros.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 0.25           /* between two looks at the jobs that are watched */
#define TICK_MS 1000                    /* how exact heartbeats are */
#define COALESCE_NS (5 * 1000L * 1000L) /* wakes so close together are answered by one query */
#define PUMP_CHUNKS 16                  /* queries before it looks at anything else */
#define PUMP_ROWS 64                    /* events that one query of the pump reads */

struct hub {
    struct service *service;
    int max_subscribers;
    int event_fd; /* written to wake the pump */
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t gone; /* n_subscribers became 0 */
    struct subscriber *first;
    int n_subscribers;
    bool stopping;

    /* The pump's own. */
    uint64_t cursor; /* newest event whose streams were resumed */
    double last_progress;
    bool progress_due;
};

/* Callable by anybody at any time: it neither blocks nor locks. */
static void kick(void *ctx) {
    struct hub *hub = ctx;
    uint64_t one = 1;
    ssize_t n = write(hub->event_fd, &one, sizeof(one));

    (void)n; /* EAGAIN: the counter is full, so the pump is awake anyway */
}

/* Under the lock. */
static void give(struct subscriber *subscriber, enum hub_task task) {
    subscriber->tasks |= task;
    if (subscriber->suspended) {
        subscriber->suspended = false;
        MHD_resume_connection(subscriber->connection);
    }
}

static void give_rows(struct hub *hub, int64_t job) {
    for (struct subscriber *s = hub->first; s; s = s->next)
        if (s->job == 0 || job == 0 || s->job == job)
            give(s, HUB_ROWS);
}

/* Without streams there is nothing to look for: only keep up. */
static bool nobody_listens(struct hub *hub) {
    uint64_t newest = hub->service->last_seq(hub->service->ctx);
    bool nobody;

    /* A stream that joins after this point reads the store itself first, so it misses nothing. */
    pthread_mutex_lock(&hub->lock);
    nobody = hub->n_subscribers == 0;
    pthread_mutex_unlock(&hub->lock);
    if (nobody)
        hub->cursor = newest;
    return nobody;
}

/* One chunk of new events: resumes who waits for them. Return: are there more? */
static bool pump_chunk(struct hub *hub) {
    cleanup(json_decrefp) json_t *events = NULL;
    struct failure failure;
    bool ended = false;
    size_t i;
    json_t *event;
    int r;

    r = hub->service->events(hub->service->ctx, &caller_daemon, 0, hub->cursor, PUMP_ROWS, &events,
                             &ended, &failure);
    pthread_mutex_lock(&hub->lock);
    if (r) {
        /* The streams ask themselves, and end if the store is broken. */
        give_rows(hub, 0);
        pthread_mutex_unlock(&hub->lock);
        return false;
    }
    json_array_foreach(events, i, event) {
        uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));

        hub->cursor = MAX(hub->cursor, seq);
        give_rows(hub, json_integer_value(json_object_get(event, "job")));
    }
    pthread_mutex_unlock(&hub->lock);
    return json_array_size(events) == PUMP_ROWS;
}

/* Bounded, so that a fast producer keeps neither heartbeats nor the end waiting. */
static void pump_rows(struct hub *hub) {
    for (int i = 0; i < PUMP_CHUNKS; i++)
        if (nobody_listens(hub) || !pump_chunk(hub))
            return;
    kick(hub);
}

/* The jobs that are watched, each once, at @ret_jobs (room for HUB_STREAMS_MAX). */
static int watched_jobs(struct hub *hub, int64_t *ret_jobs, uint64_t *ret_versions) {
    int n = 0;

    pthread_mutex_lock(&hub->lock);
    for (struct subscriber *s = hub->first; s; s = s->next) {
        int i = 0;

        if (s->job == 0)
            continue;
        while (i < n && ret_jobs[i] != s->job)
            i++;
        if (i < n)
            continue;
        ret_jobs[n] = s->job;
        ret_versions[n++] = s->version;
    }
    pthread_mutex_unlock(&hub->lock);
    return n;
}

static void pump_progress(struct hub *hub) {
    int64_t jobs[HUB_STREAMS_MAX];
    uint64_t versions[HUB_STREAMS_MAX];
    int n = watched_jobs(hub, jobs, versions);

    for (int i = 0; i < n; i++) {
        cleanup(json_decrefp) json_t *job = NULL;
        uint64_t version = versions[i];
        struct failure failure;

        if (hub->service->job(hub->service->ctx, &caller_daemon, jobs[i], versions[i], &job,
                              &version, &failure))
            continue;
        pthread_mutex_lock(&hub->lock);
        for (struct subscriber *s = hub->first; s; s = s->next)
            if (s->job == jobs[i] && s->version != version)
                give(s, HUB_PROGRESS);
        pthread_mutex_unlock(&hub->lock);
    }
}

static void pump_beats(struct hub *hub, double now) {
    pthread_mutex_lock(&hub->lock);
    for (struct subscriber *s = hub->first; s; s = s->next)
        if (now - s->last_sent >= WIRE_HEARTBEAT_SECONDS)
            give(s, HUB_BEAT);
    pthread_mutex_unlock(&hub->lock);
}

/* Milliseconds that the pump may sleep; -1: until it is woken; 0 with *ret_stop: it ends. */
static int pump_timeout(struct hub *hub, bool *ret_stop) {
    int timeout = -1;

    pthread_mutex_lock(&hub->lock);
    *ret_stop = hub->stopping;
    if (hub->n_subscribers > 0)
        timeout = hub->progress_due ? (int)(PROGRESS_SECONDS * 1000) : TICK_MS;
    pthread_mutex_unlock(&hub->lock);
    return timeout;
}

static void *pump(void *arg) {
    static const struct timespec coalesce = {.tv_nsec = COALESCE_NS};
    struct hub *hub = arg;
    bool stop = false;

    for (;;) {
        struct pollfd pollfd = {.fd = hub->event_fd, .events = POLLIN};
        int timeout = pump_timeout(hub, &stop);
        uint64_t count;
        double now;

        if (stop)
            return NULL;
        if (poll(&pollfd, 1, timeout) > 0) {
            ssize_t n = read(hub->event_fd, &count, sizeof(count));

            (void)n;
            hub->progress_due = true;
            pump_rows(hub);
            nanosleep(&coalesce, NULL);
        }
        now = clock_monotonic();
        if (hub->progress_due && now - hub->last_progress >= PROGRESS_SECONDS) {
            hub->progress_due = false;
            hub->last_progress = now;
            pump_progress(hub);
        }
        pump_beats(hub, now);
    }
}

int hub_start(struct service *service, int max_streams, struct hub **ret_hub,
              struct failure *failure) {
    struct hub *hub = calloc(1, sizeof(*hub));
    pthread_condattr_t attr;
    int r;

    if (!hub)
        return failure_oom(failure);
    hub->service = service;
    hub->max_subscribers = MIN(max_streams, HUB_STREAMS_MAX);
    hub->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->event_fd < 0) {
        r = failure_errno(failure, -errno, "cannot make", "eventfd");
        free(hub);
        return r;
    }
    pthread_mutex_init(&hub->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&hub->gone, &attr);
    pthread_condattr_destroy(&attr);
    hub->cursor = service->last_seq(service->ctx);
    r = -pthread_create(&hub->thread, NULL, pump, hub);
    if (r) {
        failure_errno(failure, r, "cannot start", "event pump");
        pthread_cond_destroy(&hub->gone);
        pthread_mutex_destroy(&hub->lock);
        close(hub->event_fd);
        free(hub);
        return r;
    }
    service->subscribe(service->ctx, kick, hub);
    *ret_hub = hub;
    return 0;
}

int hub_add(struct hub *hub, struct subscriber *subscriber) {
    bool is_first;

    pthread_mutex_lock(&hub->lock);
    if (hub->stopping || hub->n_subscribers >= hub->max_subscribers) {
        pthread_mutex_unlock(&hub->lock);
        return -EAGAIN;
    }
    subscriber->tasks = HUB_ROWS;
    subscriber->last_sent = clock_monotonic();
    subscriber->previous = NULL;
    subscriber->next = hub->first;
    if (hub->first)
        hub->first->previous = subscriber;
    hub->first = subscriber;
    is_first = hub->n_subscribers++ == 0;
    pthread_mutex_unlock(&hub->lock);
    if (is_first)
        kick(hub); /* it sleeps without a timeout while nobody listens */
    return 0;
}

void hub_remove(struct hub *hub, struct subscriber *subscriber) {
    pthread_mutex_lock(&hub->lock);
    if (subscriber->previous)
        subscriber->previous->next = subscriber->next;
    else
        hub->first = subscriber->next;
    if (subscriber->next)
        subscriber->next->previous = subscriber->previous;
    if (--hub->n_subscribers == 0)
        pthread_cond_broadcast(&hub->gone);
    pthread_mutex_unlock(&hub->lock);
}

unsigned hub_take(struct hub *hub, struct subscriber *subscriber, bool busy) {
    unsigned tasks;

    pthread_mutex_lock(&hub->lock);
    tasks = subscriber->tasks;
    subscriber->tasks = 0;
    if (hub->stopping) {
        tasks = HUB_STOP;
    } else if (!tasks && !busy) {
        subscriber->suspended = true;
        MHD_suspend_connection(subscriber->connection);
    }
    pthread_mutex_unlock(&hub->lock);
    return tasks;
}

void hub_note(struct hub *hub, struct subscriber *subscriber, uint64_t version, bool sent) {
    double now = clock_monotonic();

    pthread_mutex_lock(&hub->lock);
    if (sent)
        subscriber->last_sent = now;
    subscriber->version = version;
    pthread_mutex_unlock(&hub->lock);
}

int hub_count(struct hub *hub) {
    int n;

    pthread_mutex_lock(&hub->lock);
    n = hub->n_subscribers;
    pthread_mutex_unlock(&hub->lock);
    return n;
}

void hub_end_streams(struct hub *hub, double seconds) {
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    for (struct subscriber *s = hub->first; s; s = s->next)
        give(s, HUB_STOP);
    while (hub->n_subscribers > 0 && r == 0)
        r = pthread_cond_timedwait(&hub->gone, &hub->lock, &until);
    pthread_mutex_unlock(&hub->lock);
}

void hub_free(struct hub *hub) {
    if (!hub)
        return;
    hub->service->subscribe(hub->service->ctx, NULL, NULL);
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    pthread_mutex_unlock(&hub->lock);
    kick(hub);
    pthread_join(hub->thread, NULL);
    pthread_cond_destroy(&hub->gone);
    pthread_mutex_destroy(&hub->lock);
    close(hub->event_fd);
    free(hub);
}
