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

struct fanout {
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
    struct fanout *fanout = ctx;
    uint64_t one = 1;
    ssize_t n = write(fanout->event_fd, &one, sizeof(one));

    (void)n; /* EAGAIN: the counter is full, so the pump is awake anyway */
}

/* Under the lock. */
static void resume(struct subscriber *subscriber) {
    subscriber->suspended = false;
    MHD_resume_connection(subscriber->connection);
}

/* Under the lock. */
static void give_rows(struct fanout *fanout, int64_t job) {
    for (struct subscriber *s = fanout->first; s; s = s->next)
        if (s->job == 0 || job == 0 || s->job == job)
            s->signals |= FANOUT_ROWS;
}

/* Return: are there more streams that have a task and sleep? */
static bool resume_slice(struct fanout *fanout) {
    bool more = false;
    int n = 0;

    pthread_mutex_lock(&fanout->lock);
    for (struct subscriber *s = fanout->first; s && !more; s = s->next) {
        if (!s->signals || !s->suspended)
            continue;
        more = n == SLICE;
        if (n++ < SLICE)
            resume(s);
    }
    pthread_mutex_unlock(&fanout->lock);
    return more;
}

/* A stream that was woken costs some 10 us of a thread that also serves requests. */
static void resume_all(struct fanout *fanout) {
    static const struct timespec pause = {.tv_nsec = SLICE_NS};

    while (resume_slice(fanout))
        nanosleep(&pause, NULL);
}

/* Without streams there is nothing to look for: only keep up. */
static bool has_no_streams(struct fanout *fanout) {
    uint64_t newest = fanout->service->last_seq(fanout->service->ctx);
    bool none;

    /* A stream that joins after this point reads the store itself first, so it misses nothing. */
    pthread_mutex_lock(&fanout->lock);
    none = fanout->n_subscribers == 0;
    if (none)
        recent_clear(&fanout->recent, newest);
    pthread_mutex_unlock(&fanout->lock);
    return none;
}

/* May all viewers see @job? That never changes, and most events come in runs of one job. */
static bool is_public(struct fanout *fanout, int64_t job) {
    static const struct caller anybody = {.role = ROLE_READ};
    cleanup(json_decrefp) json_t *object = NULL;
    struct failure failure;
    uint64_t version;

    if (fanout->seen.job != job) {
        fanout->seen.job = job;
        fanout->seen.is_public = fanout->service->job(fanout->service->ctx, &anybody, job, 0,
                                                      &object, &version, &failure) == 0;
    }
    return fanout->seen.is_public;
}

/* Events of the store as frames, all or none. Return: 0 or -ENOMEM. */
static int make_frames(struct fanout *fanout, const json_t *events, struct frame **ret_frames) {
    json_t *event;
    size_t i;

    json_array_foreach(events, i, event) {
        ret_frames[i] = frame_event(event);
        if (!ret_frames[i]) {
            while (i > 0)
                frame_free(ret_frames[--i]);
            return -ENOMEM;
        }
        ret_frames[i]->is_public = is_public(fanout, ret_frames[i]->job);
    }
    return 0;
}

/* One chunk of new events: gives them to who waits for them. Return: are there more? */
static bool pump_chunk(struct fanout *fanout) {
    cleanup(json_decrefp) json_t *events = NULL;
    struct frame *frames[PUMP_ROWS];
    struct failure failure;
    bool ended = false;
    size_t n;
    int r;

    r = fanout->service->events(fanout->service->ctx, &caller_daemon, 0, fanout->recent.newest,
                                PUMP_ROWS, &events, &ended, &failure);
    if (r == 0)
        r = make_frames(fanout, events, frames);
    n = r ? 0 : json_array_size(events);
    pthread_mutex_lock(&fanout->lock);
    fanout->store_failed = r != 0;
    /* The streams ask themselves, and end if the store is broken. */
    if (r)
        give_rows(fanout, 0);
    for (size_t i = 0; i < n; i++) {
        give_rows(fanout, frames[i]->job);
        recent_add(&fanout->recent, frames[i]);
    }
    pthread_mutex_unlock(&fanout->lock);
    return n == PUMP_ROWS;
}

/* Bounded, so that a fast producer keeps neither heartbeats nor the end waiting. */
static void pump_rows(struct fanout *fanout) {
    for (int i = 0; i < PUMP_CHUNKS; i++)
        if (has_no_streams(fanout) || !pump_chunk(fanout))
            return;
    kick(fanout);
}

/*
 * The jobs that are watched, each once, with the oldest version that one of its streams has seen,
 * at @ret_jobs and @ret_versions (room for FANOUT_STREAMS_MAX). Return: how many.
 */
static int watched_jobs(struct fanout *fanout, int64_t *ret_jobs, uint64_t *ret_versions) {
    int n = 0;

    pthread_mutex_lock(&fanout->lock);
    for (struct subscriber *s = fanout->first; s; s = s->next) {
        int i = 0;

        if (s->job == 0)
            continue;
        while (i < n && ret_jobs[i] != s->job)
            i++;
        ret_versions[i] = i < n ? MIN(ret_versions[i], s->version) : s->version;
        ret_jobs[i] = s->job;
        n += i == n;
    }
    pthread_mutex_unlock(&fanout->lock);
    return n;
}

static void pump_progress(struct fanout *fanout) {
    int64_t jobs[FANOUT_STREAMS_MAX];
    uint64_t versions[FANOUT_STREAMS_MAX];
    int n = watched_jobs(fanout, jobs, versions);

    for (int i = 0; i < n; i++) {
        cleanup(json_decrefp) json_t *job = NULL;
        cleanup(frame_freep) struct frame *frame = NULL;
        uint64_t version = versions[i];
        struct failure failure;

        if (fanout->service->job(fanout->service->ctx, &caller_daemon, jobs[i], versions[i], &job,
                                 &version, &failure) ||
            !job)
            continue;
        frame = frame_progress(job);
        pthread_mutex_lock(&fanout->lock);
        for (struct subscriber *s = fanout->first; s; s = s->next) {
            if (s->job != jobs[i] || s->version >= version)
                continue;
            s->version = version;
            if (frame) {
                frame_free(s->progress);
                s->progress = frame_use(frame);
                s->signals |= FANOUT_PROGRESS;
            }
        }
        pthread_mutex_unlock(&fanout->lock);
    }
}

/*
 * No thread polls the socket of a suspended connection: a client that is gone would keep its place
 * until there is something to send. Under the lock.
 */
static void beat_those_who_hung_up(struct fanout *fanout) {
    struct pollfd fds[FANOUT_STREAMS_MAX];
    int n = 0, i = 0;

    for (struct subscriber *s = fanout->first; s; s = s->next)
        fds[n++] = (struct pollfd){.fd = s->suspended ? s->fd : -1, .events = POLLRDHUP};
    if (poll(fds, (nfds_t)n, 0) <= 0)
        return;
    for (struct subscriber *s = fanout->first; s; s = s->next)
        if (fds[i++].revents)
            s->signals |= FANOUT_BEAT;
}

static void pump_beats(struct fanout *fanout, double now) {
    pthread_mutex_lock(&fanout->lock);
    for (struct subscriber *s = fanout->first; s; s = s->next)
        if (now - s->last_sent >= WIRE_HEARTBEAT_SECONDS)
            s->signals |= FANOUT_BEAT;
    if (now - fanout->last_look >= TICK_MS / 1000.0) {
        fanout->last_look = now;
        beat_those_who_hung_up(fanout);
    }
    pthread_mutex_unlock(&fanout->lock);
}

/* Milliseconds that the pump may sleep; -1: until it is woken; 0 with *ret_stop: it ends. */
static int pump_timeout(struct fanout *fanout, bool *ret_stop) {
    int timeout = -1;

    pthread_mutex_lock(&fanout->lock);
    *ret_stop = fanout->stopping;
    if (fanout->n_subscribers > 0)
        timeout = fanout->progress_due ? (int)(PROGRESS_SECONDS * 1000) : TICK_MS;
    pthread_mutex_unlock(&fanout->lock);
    return timeout;
}

static void *pump(void *arg) {
    static const struct timespec coalesce = {.tv_nsec = COALESCE_NS};
    struct fanout *fanout = arg;
    bool stop = false;

    for (;;) {
        struct pollfd pollfd = {.fd = fanout->event_fd, .events = POLLIN};
        int timeout = pump_timeout(fanout, &stop);
        uint64_t count;
        double now;

        if (stop)
            return NULL;
        if (poll(&pollfd, 1, timeout) > 0) {
            ssize_t n = read(fanout->event_fd, &count, sizeof(count));

            (void)n;
            fanout->progress_due = true;
            pump_rows(fanout);
            resume_all(fanout);
            nanosleep(&coalesce, NULL);
        }
        now = clock_monotonic();
        if (fanout->progress_due && now - fanout->last_progress >= PROGRESS_SECONDS) {
            fanout->progress_due = false;
            fanout->last_progress = now;
            pump_progress(fanout);
        }
        pump_beats(fanout, now);
        resume_all(fanout);
    }
}

int fanout_start(struct service *service, int max_streams, int owner_streams,
                 struct fanout **ret_fanout, struct failure *failure) {
    struct fanout *fanout = calloc(1, sizeof(*fanout));
    pthread_condattr_t attr;
    int r;

    if (!fanout)
        return failure_oom(failure);
    fanout->service = service;
    fanout->max_subscribers = MIN(max_streams, FANOUT_STREAMS_MAX);
    fanout->max_of_owner = owner_streams;
    fanout->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fanout->event_fd < 0) {
        r = failure_errno(failure, -errno, "cannot make", "eventfd");
        free(fanout);
        return r;
    }
    pthread_mutex_init(&fanout->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&fanout->gone, &attr);
    pthread_condattr_destroy(&attr);
    recent_clear(&fanout->recent, service->last_seq(service->ctx));
    r = -pthread_create(&fanout->thread, NULL, pump, fanout);
    if (r) {
        failure_errno(failure, r, "cannot start", "event pump");
        pthread_cond_destroy(&fanout->gone);
        pthread_mutex_destroy(&fanout->lock);
        close(fanout->event_fd);
        free(fanout);
        return r;
    }
    service->subscribe(service->ctx, kick, fanout);
    *ret_fanout = fanout;
    return 0;
}

/* Under the lock. Return: 0, -EAGAIN or -EDQUOT. */
static int check_room(const struct fanout *fanout, const char *owner) {
    int n = 0;

    for (struct subscriber *s = fanout->first; s; s = s->next)
        n += str_equal(s->owner, owner);
    if (fanout->stopping || fanout->n_subscribers >= fanout->max_subscribers)
        return -EAGAIN;
    return fanout->max_of_owner && n >= fanout->max_of_owner ? -EDQUOT : 0;
}

int fanout_add(struct fanout *fanout, struct subscriber *subscriber) {
    bool is_first;
    int r;

    pthread_mutex_lock(&fanout->lock);
    r = check_room(fanout, subscriber->owner);
    if (r) {
        pthread_mutex_unlock(&fanout->lock);
        return r;
    }
    subscriber->signals = FANOUT_ROWS;
    subscriber->last_sent = clock_monotonic();
    subscriber->previous = NULL;
    subscriber->next = fanout->first;
    if (fanout->first)
        fanout->first->previous = subscriber;
    fanout->first = subscriber;
    is_first = fanout->n_subscribers++ == 0;
    pthread_mutex_unlock(&fanout->lock);
    if (is_first)
        kick(fanout); /* it sleeps without a timeout while there are no streams */
    return 0;
}

void fanout_remove(struct fanout *fanout, struct subscriber *subscriber) {
    pthread_mutex_lock(&fanout->lock);
    if (subscriber->previous)
        subscriber->previous->next = subscriber->next;
    else
        fanout->first = subscriber->next;
    if (subscriber->next)
        subscriber->next->previous = subscriber->previous;
    if (--fanout->n_subscribers == 0)
        pthread_cond_broadcast(&fanout->gone);
    pthread_mutex_unlock(&fanout->lock);
    frame_free(subscriber->progress);
}

unsigned fanout_take(struct fanout *fanout, struct subscriber *subscriber, bool busy) {
    unsigned signals;

    pthread_mutex_lock(&fanout->lock);
    signals = subscriber->signals;
    subscriber->signals = 0;
    if (fanout->stopping) {
        signals = FANOUT_STOP;
    } else if (!signals && !busy) {
        subscriber->suspended = true;
        MHD_suspend_connection(subscriber->connection);
    }
    pthread_mutex_unlock(&fanout->lock);
    return signals;
}

int fanout_events(struct fanout *fanout, const struct subscriber *subscriber, uint64_t *cursor,
                  struct frame **ret_frames, int max, size_t max_bytes, bool *ret_more) {
    int n = -ESTALE;

    pthread_mutex_lock(&fanout->lock);
    if (!fanout->store_failed)
        n = recent_take(&fanout->recent, subscriber->job, cursor, ret_frames, max, max_bytes,
                        ret_more);
    pthread_mutex_unlock(&fanout->lock);
    return n;
}

struct frame *fanout_progress(struct fanout *fanout, struct subscriber *subscriber) {
    struct frame *frame;

    pthread_mutex_lock(&fanout->lock);
    frame = steal_ptr(subscriber->progress);
    pthread_mutex_unlock(&fanout->lock);
    return frame;
}

void fanout_sent(struct fanout *fanout, struct subscriber *subscriber) {
    double now = clock_monotonic();

    pthread_mutex_lock(&fanout->lock);
    subscriber->last_sent = now;
    pthread_mutex_unlock(&fanout->lock);
}

int fanout_count(struct fanout *fanout) {
    int n;

    pthread_mutex_lock(&fanout->lock);
    n = fanout->n_subscribers;
    pthread_mutex_unlock(&fanout->lock);
    return n;
}

void fanout_end_streams(struct fanout *fanout, double seconds) {
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&fanout->lock);
    fanout->stopping = true;
    for (struct subscriber *s = fanout->first; s; s = s->next) {
        s->signals |= FANOUT_STOP;
        if (s->suspended)
            resume(s);
    }
    while (fanout->n_subscribers > 0 && r == 0)
        r = pthread_cond_timedwait(&fanout->gone, &fanout->lock, &until);
    pthread_mutex_unlock(&fanout->lock);
}

void fanout_free(struct fanout *fanout) {
    if (!fanout)
        return;
    fanout->service->subscribe(fanout->service->ctx, NULL, NULL);
    pthread_mutex_lock(&fanout->lock);
    fanout->stopping = true;
    pthread_mutex_unlock(&fanout->lock);
    kick(fanout);
    pthread_join(fanout->thread, NULL);
    recent_clear(&fanout->recent, 0);
    pthread_cond_destroy(&fanout->gone);
    pthread_mutex_destroy(&fanout->lock);
    close(fanout->event_fd);
    free(fanout);
}
