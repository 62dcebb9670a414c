// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/holds.h"

#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define FOR_GOOD 1000000000 /* thirty years */

/* Seconds; doubled each time. */
static const struct {
    int first, max;
} spans[N_HOLD_KINDS] = {
    [HOLD_SMALL] = {FOR_GOOD, FOR_GOOD},
    [HOLD_CLUSTER] = {30, 960},
    [HOLD_MEMORY] = {1, 60},
    [HOLD_DISK] = {20, 640}, /* longer than the disk itself is left alone: see files/disk.h */
};

struct hold {
    int64_t id;
    enum hold_kind kind;
    char device[32];
    int seconds;  /* the last time */
    double until; /* monotonic; may be over: it is known how long the last one was */
};

struct holds {
    pthread_mutex_t mutex; /* guards all below */
    struct hold *at;       /* [n], owned */
    int n;
};

struct holds *holds_new(void) {
    struct holds *holds = calloc(1, sizeof(*holds));

    if (holds)
        pthread_mutex_init(&holds->mutex, NULL);
    return holds;
}

void holds_free(struct holds *holds) {
    if (!holds)
        return;
    pthread_mutex_destroy(&holds->mutex);
    free(holds->at);
    free(holds);
}

static struct hold *find(struct holds *holds, int64_t id, enum hold_kind kind, const char *device) {
    for (int i = 0; i < holds->n; i++) {
        struct hold *hold = &holds->at[i];

        if (hold->id == id && hold->kind == kind &&
            (kind == HOLD_DISK || str_equal(hold->device, device)))
            return hold;
    }
    return NULL;
}

static struct hold *find_or_add(struct holds *holds, int64_t id, enum hold_kind kind,
                                const char *device) {
    struct hold *hold = find(holds, id, kind, device), *at;

    if (hold)
        return hold;
    at = reallocarray(holds->at, holds->n + 1, sizeof(*at));
    if (!at)
        return NULL;
    holds->at = at;
    hold = &at[holds->n++];
    *hold = (struct hold){.id = id, .kind = kind};
    snprintf(hold->device, sizeof(hold->device), "%s", device);
    return hold;
}

void holds_add(struct holds *holds, int64_t id, enum hold_kind kind, const char *device) {
    struct hold *hold;

    if (!holds)
        return;
    pthread_mutex_lock(&holds->mutex);
    hold = find_or_add(holds, id, kind, device);
    if (hold) {
        hold->seconds = hold->seconds ? MIN(2 * hold->seconds, spans[kind].max) : spans[kind].first;
        hold->until = clock_monotonic() + hold->seconds;
    }
    pthread_mutex_unlock(&holds->mutex);
}

void holds_drop(struct holds *holds, int64_t id) {
    int n = 0;

    if (!holds)
        return;
    pthread_mutex_lock(&holds->mutex);
    for (int i = 0; i < holds->n; i++) {
        if (holds->at[i].id != id)
            holds->at[n++] = holds->at[i];
    }
    holds->n = n;
    pthread_mutex_unlock(&holds->mutex);
}

static bool applies(const struct hold *hold, const char *device, double now) {
    return hold->until > now &&
           (hold->kind == HOLD_DISK || !device || str_equal(hold->device, device));
}

int holds_list(struct holds *holds, const char *device, enum hold_kind most, json_t **ret_ids) {
    cleanup(json_decrefp) json_t *ids = json_array();
    double now = clock_monotonic();
    int r = ids ? 0 : -ENOMEM;

    if (!r && holds) {
        pthread_mutex_lock(&holds->mutex);
        for (int i = 0; i < holds->n && !r; i++) {
            const struct hold *hold = &holds->at[i];

            if (hold->kind <= most && applies(hold, device, now))
                r = json_array_append_new(ids, json_integer(hold->id)) ? -ENOMEM : 0;
        }
        pthread_mutex_unlock(&holds->mutex);
    }
    if (!r)
        *ret_ids = steal_ptr(ids);
    return r;
}

double holds_next(struct holds *holds, const char *device) {
    double now = clock_monotonic(), next = 0;

    if (!holds)
        return 0;
    pthread_mutex_lock(&holds->mutex);
    for (int i = 0; i < holds->n; i++) {
        const struct hold *hold = &holds->at[i];

        if (applies(hold, device, now) && (!next || hold->until < next))
            next = hold->until;
    }
    pthread_mutex_unlock(&holds->mutex);
    return next;
}
