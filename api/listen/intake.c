// SPDX-License-Identifier: Apache-2.0
#include "api/listen/intake.h"

#include "base/clock.h"
#include "base/log/log.h"
#include "base/macros.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define TICK_SECONDS 0.1 /* how exact a deadline is */
#define LOG_SECONDS 60   /* between two lines of the log */

struct intake {
    struct intake_limits limits;
    pthread_t thread;

    pthread_mutex_t mutex;  /* of all below, and of the visitors */
    pthread_cond_t changed; /* a visitor came when there was none that waits, or it stops */
    bool stopping;
    struct visitor *first; /* all that are open */
    int n_open, n_waiting; /* of them; n_open without those that were cut off */
    int n_late, n_crowded; /* cut off since the log last said so */
    double logged;
};

static bool waits(const struct visitor *visitor) {
    return visitor->stage == INTAKE_HEAD || visitor->stage == INTAKE_BODY;
}

static double deadline(const struct intake *intake, const struct visitor *visitor) {
    double earned = (double)MIN(visitor->n_body, (size_t)INTAKE_BODY_MAX) / INTAKE_BODY_RATE;

    return waits(visitor) ? visitor->since + intake->limits.seconds + earned : INFINITY;
}

/* The functions down to the next line are called under the mutex. */

static void set_stage(struct intake *intake, struct visitor *visitor, enum intake_stage stage) {
    bool waited = waits(visitor);

    if (visitor->stage == INTAKE_CUT)
        return;
    intake->n_open -= stage == INTAKE_CUT;
    visitor->stage = stage;
    visitor->since = clock_monotonic();
    visitor->n_body = 0;
    intake->n_waiting += waits(visitor) - waited;
    if (!waited && intake->n_waiting == 1)
        pthread_cond_signal(&intake->changed);
}

static void cut_off(struct intake *intake, struct visitor *visitor) {
    shutdown(visitor->fd, SHUT_RDWR);
    set_stage(intake, visitor, INTAKE_CUT);
}

/* The lower, the sooner it has to go when there are too many. */
enum worth { WORTH_NEW, WORTH_IDLE, WORTH_BODY };

static enum worth worth(const struct visitor *visitor) {
    if (visitor->stage == INTAKE_BODY)
        return WORTH_BODY;
    return visitor->was_answered ? WORTH_IDLE : WORTH_NEW;
}

/* One of those that wait goes, of @user unless that is NULL. Return: is there one? */
static bool cut_one(struct intake *intake, const struct user *user) {
    struct visitor *chosen = NULL;

    for (struct visitor *v = intake->first; v; v = v->next) {
        if (!waits(v) || (user && v->user != user))
            continue;
        if (!chosen || worth(v) < worth(chosen) ||
            (worth(v) == worth(chosen) && v->since < chosen->since))
            chosen = v;
    }
    if (!chosen)
        return false;
    cut_off(intake, chosen);
    intake->n_crowded++;
    return true;
}

/* Cuts off those that are late. Return: when to look again. */
static double cut_late(struct intake *intake, double now) {
    double next = INFINITY;

    for (struct visitor *v = intake->first; v; v = v->next) {
        if (deadline(intake, v) <= now) {
            /* That an answered one brings no other request is how most end. */
            intake->n_late += worth(v) != WORTH_IDLE;
            cut_off(intake, v);
        }
        next = MIN(next, deadline(intake, v));
    }
    return MAX(next, now + TICK_SECONDS);
}

/* One line a minute, however many there are. */
static void log_cuts(struct intake *intake, double now) {
    if (intake->n_late + intake->n_crowded == 0 || now - intake->logged < LOG_SECONDS)
        return;
    log_notice(
        "connections closed: %d whose request did not come within %d s, %d that waited for a "
        "request while others needed room",
        intake->n_late, intake->limits.seconds, intake->n_crowded);
    intake->n_late = intake->n_crowded = 0;
    intake->logged = now;
}

/* ---------------------------------------------------------------------------------------------- */

/* Until the monotonic time @next, or a change. Under the mutex. */
static void sleep_until(struct intake *intake, double next) {
    struct timespec until;

    if (isinf(next)) {
        pthread_cond_wait(&intake->changed, &intake->mutex);
        return;
    }
    until.tv_sec = (time_t)next;
    until.tv_nsec = (long)((next - (double)until.tv_sec) * 1e9);
    pthread_cond_timedwait(&intake->changed, &intake->mutex, &until);
}

static void *watch(void *arg) {
    struct intake *intake = arg;

    pthread_mutex_lock(&intake->mutex);
    while (!intake->stopping) {
        double now = clock_monotonic(), next = cut_late(intake, now);

        log_cuts(intake, now);
        sleep_until(intake, next);
    }
    pthread_mutex_unlock(&intake->mutex);
    return NULL;
}

static void destroy(struct intake *intake) {
    pthread_cond_destroy(&intake->changed);
    pthread_mutex_destroy(&intake->mutex);
    free(intake);
}

int intake_start(struct intake_limits limits, struct intake **ret_intake, struct failure *failure) {
    struct intake *intake = calloc(1, sizeof(*intake));
    pthread_condattr_t attr;
    int r;

    if (!intake)
        return failure_oom(failure);
    intake->limits = limits;
    intake->logged = -INFINITY;
    pthread_mutex_init(&intake->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&intake->changed, &attr);
    pthread_condattr_destroy(&attr);
    r = -pthread_create(&intake->thread, NULL, watch, intake);
    if (r) {
        destroy(intake);
        return failure_errno(failure, r, "cannot start", "thread of the listener");
    }
    *ret_intake = intake;
    return 0;
}

void intake_free(struct intake *intake) {
    if (!intake)
        return;
    pthread_mutex_lock(&intake->mutex);
    intake->stopping = true;
    pthread_cond_signal(&intake->changed);
    pthread_mutex_unlock(&intake->mutex);
    pthread_join(intake->thread, NULL);
    destroy(intake);
}

struct visitor *intake_open(struct intake *intake, int fd, struct user *user) {
    struct visitor *visitor = calloc(1, sizeof(*visitor));

    if (!visitor)
        return NULL;
    pthread_mutex_lock(&intake->mutex);
    if (++intake->n_open > intake->limits.max)
        cut_one(intake, NULL);
    *visitor =
        (struct visitor){.user = user, .fd = fd, .stage = INTAKE_READY, .next = intake->first};
    if (intake->first)
        intake->first->previous = visitor;
    intake->first = visitor;
    set_stage(intake, visitor, INTAKE_HEAD);
    pthread_mutex_unlock(&intake->mutex);
    return visitor;
}

bool intake_make_room(struct intake *intake, const struct user *user) {
    bool done;

    pthread_mutex_lock(&intake->mutex);
    done = cut_one(intake, user);
    pthread_mutex_unlock(&intake->mutex);
    return done;
}

void intake_close(struct intake *intake, struct visitor *visitor) {
    pthread_mutex_lock(&intake->mutex);
    set_stage(intake, visitor, INTAKE_CUT);
    if (visitor->previous)
        visitor->previous->next = visitor->next;
    else
        intake->first = visitor->next;
    if (visitor->next)
        visitor->next->previous = visitor->previous;
    pthread_mutex_unlock(&intake->mutex);
    free(visitor);
}

void intake_head(struct intake *intake, struct visitor *visitor) {
    pthread_mutex_lock(&intake->mutex);
    set_stage(intake, visitor, INTAKE_BODY);
    pthread_mutex_unlock(&intake->mutex);
}

void intake_body(struct intake *intake, struct visitor *visitor, size_t size) {
    pthread_mutex_lock(&intake->mutex);
    visitor->n_body += size;
    pthread_mutex_unlock(&intake->mutex);
}

void intake_ready(struct intake *intake, struct visitor *visitor) {
    pthread_mutex_lock(&intake->mutex);
    set_stage(intake, visitor, INTAKE_READY);
    pthread_mutex_unlock(&intake->mutex);
}

void intake_next(struct intake *intake, struct visitor *visitor) {
    pthread_mutex_lock(&intake->mutex);
    visitor->was_answered = true;
    set_stage(intake, visitor, INTAKE_HEAD);
    pthread_mutex_unlock(&intake->mutex);
}
