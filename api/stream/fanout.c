// SPDX-License-Identifier: Apache-2.0
#include "api/stream/fanout.h"

#include "api/stream/recent.h"
#include "api/wire.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 0.25 /* between two looks at the jobs that are watched */
#define TICK_MS 1000          /* how exact heartbeats are, and how soon a hang-up is seen */
#define COALESCE_NS (5 * 1000L * 1000L) /* wakes so close together are answered by one query */
#define PUMP_CHUNKS 16                  /* queries before it looks at anything else */
#define PUMP_ROWS 64                    /* events that one query of the pump reads */
#define SLICE 8                         /* streams that are resumed at once, ... */
#define SLICE_NS (1000L * 1000L)        /* ... and how long after it the next ones are */

struct hub {
    struct service *service;
    int max_subscribers, max_of_owner;
    int event_fd; /* written to wake the pump */
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t gone; /* n_subscribers became 0 */
    struct subscriber *first;
    int n_subscribers;
    bool stopping;
    struct recent recent; /* its newest is the last event that the pump has seen */
    bool store_failed;    /* so the pump cannot see what is new */

    /* The pump's own. */
    double last_progress, last_look;
    bool progress_due;
    struct {
        int64_t job;
        bool is_public;
    } seen; /* the job that is_public() asked for last */
};

/* Callable by anybody at any time: it neither blocks nor locks. */
static void kick(void *ctx) {
    struct hub *hub = ctx;
    uint64_t one = 1;
    ssize_t n = write(hub->event_fd, &one, sizeof(one));

    (void)n; /* EAGAIN: the counter is full, so the pump is awake anyway */
}

/* Under the lock. */
static void resume(struct subscriber *subscriber) {
    subscriber->suspended = false;
    MHD_resume_connection(subscriber->connection);
}

/* Under the lock. */
static void give_rows(struct hub *hub, int64_t job) {
    for (struct subscriber *s = hub->first; s; s = s->next)
        if (s->job == 0 || job == 0 || s->job == job)
            s->tasks |= HUB_ROWS;
}

/* Return: are there more streams that have a task and sleep? */
static bool resume_slice(struct hub *hub) {
    bool more = false;
    int n = 0;

    pthread_mutex_lock(&hub->lock);
    for (struct subscriber *s = hub->first; s && !more; s = s->next) {
        if (!s->tasks || !s->suspended)
            continue;
        more = n == SLICE;
        if (n++ < SLICE)
            resume(s);
    }
    pthread_mutex_unlock(&hub->lock);
    return more;
}

/* A stream that was woken costs some 10 us of a thread that also serves requests. */
static void resume_all(struct hub *hub) {
    static const struct timespec pause = {.tv_nsec = SLICE_NS};

    while (resume_slice(hub))
        nanosleep(&pause, NULL);
}

/* Without streams there is nothing to look for: only keep up. */
static bool nobody_listens(struct hub *hub) {
    uint64_t newest = hub->service->last_seq(hub->service->ctx);
    bool nobody;

    /* A stream that joins after this point reads the store itself first, so it misses nothing. */
    pthread_mutex_lock(&hub->lock);
    nobody = hub->n_subscribers == 0;
    if (nobody)
        recent_clear(&hub->recent, newest);
    pthread_mutex_unlock(&hub->lock);
    return nobody;
}

/* May everybody see @job? That never changes, and most events come in runs of one job. */
static bool is_public(struct hub *hub, int64_t job) {
    static const struct caller anybody = {.role = ROLE_READ};
    cleanup(json_decrefp) json_t *object = NULL;
    struct failure failure;
    uint64_t version;

    if (hub->seen.job != job) {
        hub->seen.job = job;
        hub->seen.is_public = hub->service->job(hub->service->ctx, &anybody, job, 0, &object,
                                                &version, &failure) == 0;
    }
    return hub->seen.is_public;
}

/* Events of the store as frames, all or none. Return: 0 or -ENOMEM. */
static int make_frames(struct hub *hub, const json_t *events, struct frame **ret_frames) {
    json_t *event;
    size_t i;

    json_array_foreach(events, i, event) {
        ret_frames[i] = frame_event(event);
        if (!ret_frames[i]) {
            while (i > 0)
                frame_free(ret_frames[--i]);
            return -ENOMEM;
        }
        ret_frames[i]->is_public = is_public(hub, ret_frames[i]->job);
    }
    return 0;
}

/* One chunk of new events: gives them to who waits for them. Return: are there more? */
static bool pump_chunk(struct hub *hub) {
    cleanup(json_decrefp) json_t *events = NULL;
    struct frame *frames[PUMP_ROWS];
    struct failure failure;
    bool ended = false;
    size_t n;
    int r;

    r = hub->service->events(hub->service->ctx, &caller_daemon, 0, hub->recent.newest, PUMP_ROWS,
                             &events, &ended, &failure);
    if (r == 0)
        r = make_frames(hub, events, frames);
    n = r ? 0 : json_array_size(events);
    pthread_mutex_lock(&hub->lock);
    hub->store_failed = r != 0;
    /* The streams ask themselves, and end if the store is broken. */
    if (r)
        give_rows(hub, 0);
    for (size_t i = 0; i < n; i++) {
        give_rows(hub, frames[i]->job);
        recent_add(&hub->recent, frames[i]);
    }
    pthread_mutex_unlock(&hub->lock);
    return n == PUMP_ROWS;
}

/* Bounded, so that a fast producer keeps neither heartbeats nor the end waiting. */
static void pump_rows(struct hub *hub) {
    for (int i = 0; i < PUMP_CHUNKS; i++)
        if (nobody_listens(hub) || !pump_chunk(hub))
            return;
    kick(hub);
}

/*
 * The jobs that are watched, each once, with the oldest version that one of its streams has seen,
 * at @ret_jobs and @ret_versions (room for HUB_STREAMS_MAX). Return: how many.
 */
static int watched_jobs(struct hub *hub, int64_t *ret_jobs, uint64_t *ret_versions) {
    int n = 0;

    pthread_mutex_lock(&hub->lock);
    for (struct subscriber *s = hub->first; s; s = s->next) {
        int i = 0;

        if (s->job == 0)
            continue;
        while (i < n && ret_jobs[i] != s->job)
            i++;
        ret_versions[i] = i < n ? MIN(ret_versions[i], s->version) : s->version;
        ret_jobs[i] = s->job;
        n += i == n;
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
        cleanup(frame_freep) struct frame *frame = NULL;
        uint64_t version = versions[i];
        struct failure failure;

        if (hub->service->job(hub->service->ctx, &caller_daemon, jobs[i], versions[i], &job,
                              &version, &failure) ||
            !job)
            continue;
        frame = frame_progress(job);
        pthread_mutex_lock(&hub->lock);
        for (struct subscriber *s = hub->first; s; s = s->next) {
            if (s->job != jobs[i] || s->version >= version)
                continue;
            s->version = version;
            if (frame) {
                frame_free(s->progress);
                s->progress = frame_use(frame);
                s->tasks |= HUB_PROGRESS;
            }
        }
        pthread_mutex_unlock(&hub->lock);
    }
}

/*
 * Nobody watches the socket of a suspended connection: a client that is gone would keep its place
 * until there is something to send. Under the lock.
 */
static void beat_those_who_hung_up(struct hub *hub) {
    struct pollfd fds[HUB_STREAMS_MAX];
    int n = 0, i = 0;

    for (struct subscriber *s = hub->first; s; s = s->next)
        fds[n++] = (struct pollfd){.fd = s->suspended ? s->fd : -1, .events = POLLRDHUP};
    if (poll(fds, (nfds_t)n, 0) <= 0)
        return;
    for (struct subscriber *s = hub->first; s; s = s->next)
        if (fds[i++].revents)
            s->tasks |= HUB_BEAT;
}

static void pump_beats(struct hub *hub, double now) {
    pthread_mutex_lock(&hub->lock);
    for (struct subscriber *s = hub->first; s; s = s->next)
        if (now - s->last_sent >= WIRE_HEARTBEAT_SECONDS)
            s->tasks |= HUB_BEAT;
    if (now - hub->last_look >= TICK_MS / 1000.0) {
        hub->last_look = now;
        beat_those_who_hung_up(hub);
    }
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
            resume_all(hub);
            nanosleep(&coalesce, NULL);
        }
        now = clock_monotonic();
        if (hub->progress_due && now - hub->last_progress >= PROGRESS_SECONDS) {
            hub->progress_due = false;
            hub->last_progress = now;
            pump_progress(hub);
        }
        pump_beats(hub, now);
        resume_all(hub);
    }
}

int hub_start(struct service *service, int max_streams, int owner_streams, struct hub **ret_hub,
              struct failure *failure) {
    struct hub *hub = calloc(1, sizeof(*hub));
    pthread_condattr_t attr;
    int r;

    if (!hub)
        return failure_oom(failure);
    hub->service = service;
    hub->max_subscribers = MIN(max_streams, HUB_STREAMS_MAX);
    hub->max_of_owner = owner_streams;
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
    recent_clear(&hub->recent, service->last_seq(service->ctx));
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

/* Under the lock. Return: 0, -EAGAIN or -EDQUOT. */
static int check_room(const struct hub *hub, const char *owner) {
    int n = 0;

    for (struct subscriber *s = hub->first; s; s = s->next)
        n += str_equal(s->owner, owner);
    if (hub->stopping || hub->n_subscribers >= hub->max_subscribers)
        return -EAGAIN;
    return hub->max_of_owner && n >= hub->max_of_owner ? -EDQUOT : 0;
}

int hub_add(struct hub *hub, struct subscriber *subscriber) {
    bool is_first;
    int r;

    pthread_mutex_lock(&hub->lock);
    r = check_room(hub, subscriber->owner);
    if (r) {
        pthread_mutex_unlock(&hub->lock);
        return r;
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
    frame_free(subscriber->progress);
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

int hub_events(struct hub *hub, const struct subscriber *subscriber, uint64_t *cursor,
               struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more) {
    int n = -ESTALE;

    pthread_mutex_lock(&hub->lock);
    if (!hub->store_failed)
        n = recent_take(&hub->recent, subscriber->job, cursor, ret_frames, max, max_bytes,
                        ret_more);
    pthread_mutex_unlock(&hub->lock);
    return n;
}

struct frame *hub_progress(struct hub *hub, struct subscriber *subscriber) {
    struct frame *frame;

    pthread_mutex_lock(&hub->lock);
    frame = steal_ptr(subscriber->progress);
    pthread_mutex_unlock(&hub->lock);
    return frame;
}

void hub_sent(struct hub *hub, struct subscriber *subscriber) {
    double now = clock_monotonic();

    pthread_mutex_lock(&hub->lock);
    subscriber->last_sent = now;
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
    for (struct subscriber *s = hub->first; s; s = s->next) {
        s->tasks |= HUB_STOP;
        if (s->suspended)
            resume(s);
    }
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
    recent_clear(&hub->recent, 0);
    pthread_cond_destroy(&hub->gone);
    pthread_mutex_destroy(&hub->lock);
    close(hub->event_fd);
    free(hub);
}
