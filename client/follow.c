// SPDX-License-Identifier: Apache-2.0
#include "client/follow.h"

#include "api/sse.h"
#include "api/wire.h"
#include "base/clock.h"
#include "client/fetch.h"
#include "client/job.h"
#include "client/progress.h"
#include "client/report.h"
#include "client/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define RETRY_FIRST_SECONDS 0.5
#define RETRY_MOST_SECONDS 15.0
#define GIVE_UP_SECONDS 600.0
#define ASK_SECONDS 10.0
#define WARNINGS_SHOWN 5 /* a model has thousands of matrices; the report counts them all */

struct follow {
    struct client *client;
    struct progress progress;
    struct sse_parser parser;
    struct failure *failure;
    int64_t id;
    uint64_t cursor;  /* id of the last event that was handled */
    char phase[32];   /* as the last plain line said */
    double percdamp;  /* asked for; more is worth a word */
    bool ended;       /* its last event came */
    bool queued, ask; /* it waits; the stream was left to ask for its place */
    double asked_at;  /* clock_monotonic() */
    int n_warnings;
    double lost_at;       /* clock_monotonic() when the connection broke; 0: it stands */
    double retry_seconds; /* how long to wait before the next try */
};

/* What an event does to the picture; @data is its data, an object or NULL. */
struct event_kind {
    const char *type;
    void (*show)(struct follow *follow, const json_t *data);
    bool last; /* no event of the job follows */
};

static void show_phase(struct follow *follow, const char *phase) {
    if (!phase[0] || str_equal(phase, follow->phase))
        return;
    snprintf(follow->phase, sizeof(follow->phase), "%s", phase);
    follow->progress.note[0] = '\0';
    if (!follow->progress.terminal->redraw)
        progress_say(&follow->progress, STYLE_PLAIN, "%s", phase);
}

/* What a job waits for: its files. */
static void show_pull(struct follow *follow, const json_t *data) {
    char bytes[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE];

    text_bytes(job_number(data, "bytes"), bytes);
    text_bytes(job_number(data, "bytes_total"), total);
    text_bytes(job_number(data, "rate"), rate);
    if (job_number(data, "bytes_total") > 0)
        progress_set_step(&follow->progress, "pull  %s of %s", bytes, total);
    else
        progress_set_step(&follow->progress, "pull  %s", bytes);
    if (job_number(data, "rate") > 0)
        progress_set_note(&follow->progress, "%s, %s/s", job_text(data, "file"), rate);
    else
        progress_set_note(&follow->progress, "%s", job_text(data, "file"));
}

static void show_progress(struct follow *follow, const json_t *data) {
    const char *phase = job_text(data, "phase");
    int64_t layer = job_int(data, "layer", -1), total = job_int(data, "layers_total", 0);

    if (!json_is_object(data))
        return;
    show_phase(follow, phase);
    if (str_equal(phase, "quantize") && layer >= 0 && total > 0)
        progress_set_step(&follow->progress, "%s  layer %" PRId64 "/%" PRId64, phase,
                          MIN(layer + 1, total), total);
    else if (str_equal(phase, "pull"))
        show_pull(follow, data);
    else if (phase[0])
        progress_set_step(&follow->progress, "%s", phase);
    progress_set_done(&follow->progress, job_number(data, "fraction"),
                      job_number(data, "eta_seconds"));
}

static void show_job(struct follow *follow, const json_t *data) {
    int64_t position = job_int(data, "queue_position", 0);
    const char *status = job_text(data, "status");
    const json_t *progress = json_object_get(data, "progress");

    follow->queued = str_equal(status, "queued");
    if (follow->queued && str_equal(job_text(progress, "phase"), "pull")) {
        show_progress(follow, progress);
    } else if (follow->queued) {
        follow->phase[0] = '\0';
        progress_set_done(&follow->progress, NAN, NAN);
        if (position > 1)
            progress_set_step(&follow->progress, "queued, %" PRId64 " ahead", position - 1);
        else
            progress_set_step(&follow->progress, "queued, next in line");
    } else if (str_equal(status, "cancelling")) {
        progress_set_step(&follow->progress, "cancelling");
    } else if (str_equal(status, "running")) {
        show_progress(follow, progress);
    }
}

static void show_phase_event(struct follow *follow, const json_t *data) {
    const char *phase = job_text(data, "phase");

    show_phase(follow, phase);
    progress_set_step(&follow->progress, "%s", phase);
}

static void show_layer(struct follow *follow, const json_t *data) {
    struct job_layers sum = {};
    struct strbuf line = {};
    char seconds[TEXT_SIZE];

    job_layers_add(&sum, data, follow->percdamp);
    text_duration(job_number(data, "seconds"), seconds);
    strbuf_printf(&line, "layer %" PRId64 ": %" PRId64 " matrices in %s",
                  job_int(data, "layer", 0) + 1, sum.n_matrices, seconds);
    if (sum.n_worst)
        strbuf_printf(&line, ", worst error %.3g in %s", sum.worst[0].error,
                      job_matrix_name(sum.worst[0].name));
    if (sum.n_nearest && sum.n_nearest < sum.n_matrices)
        strbuf_printf(&line, ", %" PRId64 " to nearest", sum.n_nearest);
    if (sum.n_raised)
        strbuf_printf(&line, ", damping raised for %" PRId64, sum.n_raised);
    if (!line.failed) {
        progress_set_note(&follow->progress, "%s", line.data);
        if (!follow->progress.terminal->redraw)
            progress_say(&follow->progress, STYLE_PLAIN, "%s", line.data);
    }
    strbuf_done(&line);
}

static void show_eval_progress(struct follow *follow, const json_t *data) {
    progress_set_step(&follow->progress, "evaluate");
    progress_set_note(&follow->progress, "%s: window %" PRId64 " of %" PRId64,
                      job_text(data, "set"), job_int(data, "window", 0),
                      job_int(data, "windows", 0));
}

static void show_eval(struct follow *follow, const json_t *data) {
    char value[TEXT_SIZE];

    text_perplexity(job_number(data, "perplexity"), value);
    progress_say(&follow->progress, STYLE_PLAIN, "perplexity of %s: %s", job_text(data, "set"),
                 value);
}

static void show_resumed(struct follow *follow, const json_t *data) {
    progress_say(&follow->progress, STYLE_YELLOW, "resumed after layer %" PRId64,
                 job_int(data, "layer", 0));
}

static void show_warning(struct follow *follow, const json_t *data) {
    if (follow->n_warnings < WARNINGS_SHOWN)
        progress_say(&follow->progress, STYLE_YELLOW, "warning: %s", job_text(data, "detail"));
    else if (follow->n_warnings == WARNINGS_SHOWN)
        progress_say(&follow->progress, STYLE_YELLOW, "more warnings are counted at the end");
    follow->n_warnings++;
}

static void show_interrupted(struct follow *follow, const json_t *data) {
    follow->phase[0] = '\0';
    progress_say(&follow->progress, STYLE_YELLOW, "interrupted: %s; queued again",
                 job_text(data, "reason"));
}

static void show_started(struct follow *follow, const json_t *data) {
    (void)data;
    follow->queued = false;
    progress_set_step(&follow->progress, "started");
}

static const struct event_kind event_kinds[] = {
    {WIRE_EVENT_JOB, show_job, false},
    {WIRE_EVENT_PROGRESS, show_progress, false},
    {"job.started", show_started, false},
    {"job.resumed", show_resumed, false},
    {"job.interrupted", show_interrupted, false},
    {"job.warning", show_warning, false},
    {"phase.started", show_phase_event, false},
    {"layer.finished", show_layer, false},
    {"eval.progress", show_eval_progress, false},
    {"eval.finished", show_eval, false},
    {"job.succeeded", NULL, true},
    {"job.failed", NULL, true},
    {"job.cancelled", NULL, true},
};

static int handle_event(void *ctx, const struct sse_event *event) {
    cleanup(json_decrefp) json_t *envelope = NULL;
    struct follow *follow = ctx;
    uint64_t id = 0;

    if (follow->lost_at) {
        progress_say(&follow->progress, STYLE_PLAIN, "connected again");
        follow->lost_at = 0;
    }
    follow->retry_seconds = RETRY_FIRST_SECONDS;
    if (json_parse(event->data, event->size, "event", "bad_answer", &envelope, NULL))
        return 0;
    if (str_equal(event->type, WIRE_EVENT_RESET)) {
        follow->cursor = 0;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(event_kinds); i++) {
        const struct event_kind *kind = &event_kinds[i];

        if (!str_equal(kind->type, event->type))
            continue;
        if (kind->show)
            kind->show(follow, str_equal(event->type, WIRE_EVENT_JOB)
                                   ? envelope
                                   : json_object_get(envelope, "data"));
        follow->ended = follow->ended || kind->last;
    }
    if (event->id[0] && str_parse_u64(event->id, UINT64_MAX, &id) == 0)
        follow->cursor = MAX(follow->cursor, id);
    progress_draw(&follow->progress);
    return follow->ended;
}

static int take_stream(void *ctx, const char *data, size_t size) {
    struct follow *follow = ctx;

    return sse_parser_feed(&follow->parser, data, size, handle_event, follow, follow->failure);
}

/* The place in the queue is in no event: now and then the stream is left to ask for it. */
static int tick(void *ctx) {
    struct follow *follow = ctx;

    progress_draw(&follow->progress);
    follow->ask = follow->queued && clock_monotonic() - follow->asked_at > ASK_SECONDS;
    return follow->ask;
}

/* One connection, as long as it holds; then the job as it is now. */
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
        return failure_set(failure, -EPROTO, "bad_answer", "is this the address of quantd?",
                           "cannot use the answer of '%s': it is not job %" PRId64,
                           http_server(http), follow->id);
    return 0;
}

/* Return: 0: try again; or @r, after the wait was too long or cut short. */
static int wait_to_retry(struct follow *follow, int r, struct failure *failure) {
    double now = clock_monotonic(), until = now + follow->retry_seconds;

    if (!follow->lost_at) {
        follow->lost_at = now;
        progress_say(&follow->progress, STYLE_YELLOW,
                     "lost quantd at '%s'; the job is safe there, trying again for %.0f minutes",
                     http_server(follow->client->http), GIVE_UP_SECONDS / 60);
    }
    if (now - follow->lost_at > GIVE_UP_SECONDS)
        return r ? r
                 : failure_set(failure, -EPROTO, "bad_answer", NULL,
                               "cannot follow job %" PRId64 ": its events end early", follow->id);
    progress_set_step(&follow->progress, "waiting for quantd");
    progress_set_done(&follow->progress, NAN, NAN);
    while (clock_monotonic() < until && !interrupt_caught()) {
        progress_draw(&follow->progress);
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
        .percdamp = fmax(job_number(json_object_get(*job, "params"), "percdamp"), 0),
        .retry_seconds = RETRY_FIRST_SECONDS,
    };
    cleanup(freep) char *what = job_title(*job), *title = NULL;
    int r = 0;

    title = what ? str_format("job %" PRId64 ": %s", follow.id, what) : NULL;
    if (!title)
        return failure_oom(failure);
    if (follow.id == 0)
        return failure_set(failure, -EPROTO, "bad_answer", "is this the address of quantd?",
                           "cannot use the answer of '%s': it is not a job",
                           http_server(client->http));
    interrupt_catch();
    progress_begin(&follow.progress, &client->terminal, title);
    if (!client->terminal.redraw)
        progress_say(&follow.progress, STYLE_PLAIN, "%s", title);
    show_job(&follow, *job);
    progress_draw(&follow.progress);
    while (!job_has_ended(*job)) {
        r = follow_once(&follow, job, failure);
        if (r && !http_is_transient(client->http, r))
            break;
        if (!r && (job_has_ended(*job) || follow.ask)) {
            show_job(&follow, *job);
            continue;
        }
        r = wait_to_retry(&follow, r, failure);
        if (r)
            break;
    }
    progress_end(&follow.progress);
    sse_parser_done(&follow.parser);
    return r;
}

static void say_detached(const struct client *client, int64_t id) {
    fprintf(client->terminal.file,
            "job %" PRId64 " goes on; come back with: quantctl watch %" PRId64
            "; stop it with: quantctl cancel %" PRId64 "\n",
            id, id, id);
}

int follow_to_the_end(struct client *client, json_t **job, const char *save, bool force,
                      struct failure *failure) {
    int64_t id = job_id(*job);
    int r, status;

    r = follow_job(client, job, failure);
    if (r == -EINTR) {
        say_detached(client, id);
        if (client->json && client_print_json(*job, failure))
            return -EIO;
        return EXIT_DETACHED;
    }
    if (r)
        return r;
    status = job_exit_status(*job);
    r = report_job(client, *job, failure);
    if (!r && save && status == EXIT_OK)
        r = fetch_job(client, id, save, force, failure);
    if (client->json && client_print_json(*job, failure))
        return -EIO;
    return r ? r : status;
}
