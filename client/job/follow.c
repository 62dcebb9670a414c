// SPDX-License-Identifier: Apache-2.0
#include "client/job/follow.h"

#include "api/stream/sse.h"
#include "api/wire.h"
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/job/display_draw.h"
#include "client/job/job.h"
#include "client/job/report.h"
#include "client/save/save.h"
#include "client/screen/interrupt.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define RETRY_FIRST_SECONDS 0.5
#define RETRY_MOST_SECONDS 15.0
#define GIVE_UP_SECONDS 600.0
#define ASK_SECONDS 10.0

struct follow {
    struct client *client;
    struct display display;
    struct sse_parser parser;
    struct failure *failure;
    int64_t id;
    uint64_t cursor;      /* id of the last event that was handled */
    bool ended;           /* its last event came */
    bool queued, ask;     /* it waits; the stream was closed to GET the job */
    bool asked_facts;     /* once is enough */
    double asked_at;      /* clock_monotonic() */
    double lost_at;       /* clock_monotonic() when the connection broke; 0: connected */
    double retry_seconds; /* how long to wait before the next try */
};

static int handle_event(void *ctx, const struct sse_event *event) {
    cleanup(json_decrefp) json_t *envelope = NULL;
    struct follow *follow = ctx;
    uint64_t id = 0;

    if (follow->lost_at) {
        display_trouble(&follow->display, NULL);
        follow->lost_at = 0;
    }
    follow->retry_seconds = RETRY_FIRST_SECONDS;
    if (json_parse(event->data, event->size, "event", "bad_answer", &envelope, NULL))
        return 0;
    if (str_equal(event->type, WIRE_EVENT_RESET)) {
        follow->cursor = 0;
        return 0;
    }
    if (str_equal(event->type, WIRE_EVENT_JOB)) {
        follow->queued = str_equal(answer_text(envelope, "status"), "queued");
        display_job(&follow->display, envelope);
    } else {
        follow->queued = follow->queued && !str_equal(event->type, WIRE_EVENT_JOB_STARTED);
        follow->ended |= display_event(&follow->display, envelope);
    }
    if (event->id[0] && str_parse_u64(event->id, UINT64_MAX, &id) == 0)
        follow->cursor = MAX(follow->cursor, id);
    display_draw(&follow->display, false);
    return follow->ended;
}

static int take_stream(void *ctx, const char *data, size_t size) {
    struct follow *follow = ctx;

    return sse_parser_feed(&follow->parser, data, size, handle_event, follow, follow->failure);
}

/* Not all facts are in events: from time to time the stream is closed to GET the job. */
static int tick(void *ctx) {
    struct follow *follow = ctx;
    bool facts = !follow->asked_facts && display_lacks_facts(&follow->display);

    display_draw(&follow->display, interrupt_resized());
    follow->asked_facts |= facts;
    follow->ask = facts || (follow->queued && clock_monotonic() - follow->asked_at > ASK_SECONDS);
    return follow->ask;
}

/* For the name of the device; an error leaves it out. */
static void ask_devices(struct follow *follow) {
    cleanup(json_decrefp) json_t *devices = NULL;

    if (follow->client->terminal.redraw &&
        http_get(follow->client->http, "/v1/devices", &devices, NULL) == 0)
        display_devices(&follow->display, devices);
}

/* One connection until it ends; then the job as it is now. */
static int follow_once(struct follow *follow, json_t **job, struct failure *failure) {
    struct http_sink sink = {.ctx = follow, .data = take_stream, .tick = tick};
    struct http *http = follow->client->http;
    json_t *newer = NULL;
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64 "/events", follow->id);
    sse_parser_restart(&follow->parser);
    follow->ask = false;
    follow->asked_at = clock_monotonic();
    ask_devices(follow);
    r = http_stream(http, path, follow->cursor, &sink, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64, follow->id);
    r = http_get(http, path, &newer, failure);
    if (r)
        return r;
    json_decref(*job);
    *job = newer;
    if (job_id(newer) != follow->id)
        return failure_set(
            failure, -EPROTO, "bad_answer", "check that this is the address of quantd",
            "invalid answer from '%s': it is not job %" PRId64, http_server(http), follow->id);
    return 0;
}

/* Shown while the connection is lost. */
static void show_trouble(struct follow *follow, double until) {
    char text[256], lost[TEXT_SIZE];
    double now = clock_monotonic();

    text_duration(now - follow->lost_at, lost);
    if (follow->client->terminal.redraw)
        snprintf(text, sizeof(text),
                 "connection lost %s ago; the job continues on quantd; next try in %.0f s", lost,
                 ceil(fmax(until - now, 0)));
    else
        snprintf(
            text, sizeof(text),
            "connection to '%.80s' lost; the job continues there; trying again for %.0f minutes",
            http_server(follow->client->http), GIVE_UP_SECONDS / 60);
    display_trouble(&follow->display, text);
    display_draw(&follow->display, interrupt_resized());
}

/* Return: 0: try again; @r: it has taken too long; -EINTR. */
static int wait_to_retry(struct follow *follow, int r, struct failure *failure) {
    double now = clock_monotonic(), until = now + follow->retry_seconds;

    if (!follow->lost_at)
        follow->lost_at = now;
    if (now - follow->lost_at > GIVE_UP_SECONDS)
        return r ? r
                 : failure_set(failure, -EPROTO, "bad_answer", NULL,
                               "cannot follow job %" PRId64 ": its stream of events ends early",
                               follow->id);
    while (clock_monotonic() < until && !interrupt_caught()) {
        show_trouble(follow, until);
        interrupt_sleep(MIN(0.2, follow->retry_seconds));
    }
    follow->retry_seconds = MIN(follow->retry_seconds * 2, RETRY_MOST_SECONDS);
    if (interrupt_caught())
        return failure_set(failure, -EINTR, "interrupted", NULL, "interrupted");
    return 0;
}

int follow_job(struct client *client, json_t **job, struct failure *failure) {
    struct follow follow = {
        .client = client,
        .failure = failure,
        .id = job_id(*job),
        .retry_seconds = RETRY_FIRST_SECONDS,
    };
    int r = 0;

    if (follow.id == 0)
        return failure_set(failure, -EPROTO, "bad_answer",
                           "check that this is the address of quantd",
                           "invalid answer from '%s': it is not a job", http_server(client->http));
    interrupt_catch();
    display_begin(&follow.display, &client->terminal, *job);
    display_draw(&follow.display, true);
    while (!job_has_ended(*job)) {
        r = follow_once(&follow, job, failure);
        if (r && !http_is_transient(client->http, r))
            break;
        if (!r && (job_has_ended(*job) || follow.ask)) {
            display_job(&follow.display, *job);
            continue;
        }
        r = wait_to_retry(&follow, r, failure);
        if (r)
            break;
    }
    display_end(&follow.display);
    sse_parser_done(&follow.parser);
    return r;
}

/* What the user can do next; with @save nothing has been saved yet. */
static int say_detached(const struct client *client, int64_t id, const char *save, bool force) {
    cleanup(freep) char *dir = save ? text_shell_word(save) : NULL;
    const char *more = force ? " --force" : "";
    FILE *file = client->terminal.file;

    if (save && !dir)
        return -ENOMEM;
    fprintf(file, "job %" PRId64 " continues%s\n", id, save ? "; nothing is saved yet" : "");
    if (save)
        fprintf(file,
                "  follow it and save: quantctl watch %" PRId64 " --save %s%s\n"
                "  save when it has ended: quantctl download %" PRId64 " %s%s\n",
                id, dir, more, id, dir, more);
    else
        fprintf(file, "  follow it: quantctl watch %" PRId64 "\n", id);
    fprintf(file, "  stop it: quantctl cancel %" PRId64 "\n", id);
    return 0;
}

int follow_to_the_end(struct client *client, json_t **job, const char *save, bool force,
                      struct failure *failure) {
    int64_t id = job_id(*job);
    int r, status;

    r = follow_job(client, job, failure);
    if (r == -EINTR) {
        if (say_detached(client, id, save, force))
            return failure_oom(failure);
        return EXIT_DETACHED;
    }
    if (r)
        return r;
    status = job_exit_status(*job);
    r = report_job(client, *job, save != NULL, failure);
    if (!r && save && status == EXIT_OK)
        r = save_job(client, id, save, force, failure);
    return r ? r : status;
}
