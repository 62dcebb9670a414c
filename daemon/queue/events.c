// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/events.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define WAKE_EVERY 0.25 /* seconds */
#define STORE_EVERY 1.0

/* A running job. */
struct slot {
    int64_t job_id; /* 0: free */
    json_t *data;   /* newest progress; owned; never changed once it is here */
    uint64_t version;
    double woken_at, stored_at; /* monotonic */
};

struct events {
    struct store *store;
    pthread_mutex_t mutex; /* guards the slots; taken inside the store's, never around it */
    struct slot *slots;    /* [n_slots], owned: as many as jobs ever had progress at a time */
    int n_slots;
    /* Guards what is below. Not the other one: who is woken may run at once, in its waker's place.
     */
    pthread_mutex_t wake_mutex;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

struct events *events_new(struct store *store) {
    struct events *events = calloc(1, sizeof(*events));

    if (!events)
        return NULL;
    events->store = store;
    pthread_mutex_init(&events->mutex, NULL);
    pthread_mutex_init(&events->wake_mutex, NULL);
    return events;
}

void events_free(struct events *events) {
    if (!events)
        return;
    for (int i = 0; i < events->n_slots; i++)
        json_decref(events->slots[i].data);
    free(events->slots);
    pthread_mutex_destroy(&events->mutex);
    pthread_mutex_destroy(&events->wake_mutex);
    free(events);
}

void events_subscribe(struct events *events, void (*wake)(void *ctx), void *ctx) {
    pthread_mutex_lock(&events->wake_mutex);
    events->wake = wake;
    events->wake_ctx = ctx;
    pthread_mutex_unlock(&events->wake_mutex);
}

void events_wake(struct events *events) {
    pthread_mutex_lock(&events->wake_mutex);
    if (events->wake)
        events->wake(events->wake_ctx);
    pthread_mutex_unlock(&events->wake_mutex);
}

int events_append(struct events *events, int64_t job_id, const char *type, const json_t *data,
                  struct failure *failure) {
    return events_append_marked(events, job_id, type, data, NULL, failure);
}

int events_append_marked(struct events *events, int64_t job_id, const char *type,
                         const json_t *data, const struct run_mark *mark, struct failure *failure) {
    int r = store_begin(events->store, STORE_WORK, failure);

    if (r)
        return r;
    r = store_append_event(events->store, job_id, type, clock_wall_ms(), data, NULL);
    if (!r)
        r = store_renew_lease(events->store, job_id);
    if (!r)
        r = store_set_run_mark(events->store, mark);
    r = store_end(events->store, r, failure);
    if (!r)
        events_wake(events);
    return r;
}

/* The slot of @job_id, or NULL. */
static struct slot *find_slot(struct events *events, int64_t job_id) {
    for (int i = 0; i < events->n_slots; i++) {
        if (events->slots[i].job_id == job_id)
            return &events->slots[i];
    }
    return NULL;
}

/* The same, and a free one for a job that has none; NULL: no memory. */
static struct slot *take_slot(struct events *events, int64_t job_id) {
    struct slot *slot = find_slot(events, job_id), *slots;

    if (!slot)
        slot = find_slot(events, 0);
    if (!slot) {
        slots = reallocarray(events->slots, events->n_slots + 1, sizeof(*slots));
        if (!slots)
            return NULL;
        events->slots = slots;
        slot = &slots[events->n_slots++];
        *slot = (struct slot){};
    }
    slot->job_id = job_id;
    return slot;
}

int events_progress(struct events *events, int64_t job_id, const char *type, json_t *data,
                    bool whole, struct failure *failure) {
    return events_progress_marked(events, job_id, type, data, whole, NULL, failure);
}

int events_progress_marked(struct events *events, int64_t job_id, const char *type, json_t *data,
                           bool whole, const struct run_mark *mark, struct failure *failure) {
    cleanup(json_decrefp) json_t *copy = whole ? json_clone(data) : NULL, *old = NULL;
    double now = clock_monotonic();
    bool store = false, wake = false;
    struct slot *slot;

    if (whole && !copy)
        return failure_oom(failure);
    pthread_mutex_lock(&events->mutex);
    slot = take_slot(events, job_id);
    if (slot) {
        if (whole) {
            old = slot->data;
            slot->data = steal_ptr(copy);
            slot->version = store_version_next(events->store);
        }
        store = now - slot->stored_at >= STORE_EVERY;
        if (store)
            slot->stored_at = slot->woken_at = now;
        wake = now - slot->woken_at >= WAKE_EVERY;
        if (wake)
            slot->woken_at = now;
    }
    pthread_mutex_unlock(&events->mutex);
    if (wake)
        events_wake(events);
    return store ? events_append_marked(events, job_id, type, data, mark, failure) : 0;
}

json_t *events_current(struct events *events, int64_t job_id, uint64_t *ret_version) {
    struct slot *slot;
    json_t *data = NULL;

    *ret_version = 0;
    pthread_mutex_lock(&events->mutex);
    slot = find_slot(events, job_id);
    if (slot) {
        data = json_clone(slot->data);
        *ret_version = slot->version;
    }
    pthread_mutex_unlock(&events->mutex);
    return data;
}

uint64_t events_version(struct events *events, int64_t job_id) {
    const struct slot *slot;
    uint64_t version = 0;

    pthread_mutex_lock(&events->mutex);
    slot = find_slot(events, job_id);
    if (slot)
        version = slot->version;
    pthread_mutex_unlock(&events->mutex);
    return version;
}

void events_forget(struct events *events, int64_t job_id) {
    struct slot *slot;

    pthread_mutex_lock(&events->mutex);
    slot = find_slot(events, job_id);
    if (slot) {
        json_decref(slot->data);
        *slot = (struct slot){};
    }
    pthread_mutex_unlock(&events->mutex);
}
