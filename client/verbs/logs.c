// SPDX-License-Identifier: Apache-2.0
/* What quantd said of a job, by its events: a line each, with its time. */
#include "api/wire.h"
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/job/each.h"
#include "client/job/layers.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

/* ---- events as text; nothing for an event that says nothing ---- */

static void put_started(struct strbuf *line, const json_t *data) {
    strbuf_printf(line, "started on %s, attempt %" PRId64, answer_text(data, "device"),
                  answer_int(data, "attempt", 1));
}

static void put_reordered(struct strbuf *line, const json_t *data) {
    strbuf_printf(line, "priority %" PRId64 "%s", answer_int(data, "priority", 0),
                  json_is_true(json_object_get(data, "held")) ? ", held" : "");
}

static void put_resumed(struct strbuf *line, const json_t *data) {
    strbuf_printf(line, "resumed");
    if (json_object_get(data, "layer"))
        strbuf_printf(line, " at layer %" PRId64, answer_int(data, "layer", 0));
}

static void put_phase(struct strbuf *line, const json_t *data) {
    strbuf_printf(line, "phase: %s", answer_text(data, "phase"));
}

static void put_layer(struct strbuf *line, const json_t *data) {
    cleanup(freep) char *text = NULL;
    struct layers sum = {};

    layers_add(&sum, data, INFINITY);
    text = layers_line(data, &sum);
    strbuf_printf(line, "%s", text ? text : "");
}

static void put_eval(struct strbuf *line, const json_t *data) {
    char value[TEXT_SIZE], error[TEXT_SIZE];

    text_perplexity(answer_number(data, "perplexity"), value);
    text_perplexity(answer_number(data, "stderr"), error);
    strbuf_printf(line, "perplexity of %s: %s, standard error %s", answer_text(data, "set"), value,
                  error);
}

static void put_plan(struct strbuf *line, const json_t *data) {
    const json_t *chosen = json_object_get(data, "chosen");

    strbuf_printf(line, "plan: %.2f bits on average, predicted KL divergence %.4f",
                  answer_number(chosen, "bits"), answer_number(chosen, "kl"));
}

static void put_failed(struct strbuf *line, const json_t *data) {
    const json_t *error = json_object_get(data, "error");

    strbuf_printf(line, "failed: %s", answer_text(error, "detail"));
    if (answer_text(error, "hint")[0])
        strbuf_printf(line, " (hint: %s)", answer_text(error, "hint"));
}

static const struct {
    const char *type;
    const char *text;                                     /* followed by the member @key */
    const char *key;                                      /* NULL: none */
    void (*put)(struct strbuf *line, const json_t *data); /* in their place */
} event_kinds[] = {
    {WIRE_EVENT_JOB_QUEUED, "queued"},
    {WIRE_EVENT_JOB_REORDERED, .put = put_reordered},
    {WIRE_EVENT_JOB_STARTED, .put = put_started},
    {WIRE_EVENT_JOB_RESUMED, .put = put_resumed},
    {WIRE_EVENT_PHASE_STARTED, .put = put_phase},
    {WIRE_EVENT_PLAN_FINISHED, .put = put_plan},
    {WIRE_EVENT_LAYER_FINISHED, .put = put_layer},
    {WIRE_EVENT_EVAL_FINISHED, .put = put_eval},
    {WIRE_EVENT_JOB_WARNING, "warning: ", "detail"},
    {WIRE_EVENT_JOB_PAUSED, "paused: ", "detail"},
    {WIRE_EVENT_JOB_INTERRUPTED, "interrupted: ", "reason"},
    {WIRE_EVENT_JOB_CANCELLING, "asked to stop"},
    {WIRE_EVENT_JOB_CANCELLED, "cancelled"},
    {WIRE_EVENT_JOB_FAILED, .put = put_failed},
    {WIRE_EVENT_JOB_SUCCEEDED, "succeeded"},
};

static void put_event(struct strbuf *line, const json_t *event) {
    const json_t *data = json_object_get(event, "data");

    for (size_t i = 0; i < ARRAY_SIZE(event_kinds); i++) {
        if (!str_equal(event_kinds[i].type, answer_text(event, "type")))
            continue;
        if (event_kinds[i].put)
            event_kinds[i].put(line, data);
        else
            strbuf_printf(line, "%s%s", event_kinds[i].text,
                          event_kinds[i].key ? answer_text(data, event_kinds[i].key) : "");
    }
}

static int print_event(const struct client *client, const json_t *event, struct failure *failure) {
    cleanup(strbuf_done) struct strbuf line = {};
    double at = answer_time(event, "at");
    char time[CLOCK_TEXT_SIZE] = "";

    put_event(&line, event);
    if (line.failed)
        return failure_oom(failure);
    if (line.length == 0)
        return 0;
    text_clean(line.data);
    if (fabs(at) < 1e11)
        clock_format((int64_t)(at * 1000), time);
    fprintf(client->terminal.file, "%.10s %.8s UTC  %s\n", time, time[0] ? time + 11 : "",
            line.data);
    return 0;
}

/* ---- all events of a job ---- */

/* The events after @*after: each is printed, or with --json kept in @all. */
static int get_part(struct client *client, uint64_t id, int64_t *after, json_t *all, bool *ret_more,
                    struct failure *failure) {
    cleanup(json_decrefp) json_t *list = NULL;
    const json_t *events, *event;
    int64_t before = *after;
    char path[96];
    size_t i;
    int r = 0;

    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64 "/events?limit=%d&after=%" PRId64, id,
             WIRE_LIMIT_MAX, *after);
    r = http_get(client->http, path, &list, failure);
    events = json_object_get(list, "data");
    json_array_foreach(events, i, event) {
        if (r)
            break;
        *after = answer_int(event, "seq", *after);
        r = client->json ? (json_array_append(all, (json_t *)event) ? failure_oom(failure) : 0)
                         : print_event(client, event, failure);
    }
    *ret_more = !r && *after > before && json_is_true(json_object_get(list, "has_more"));
    return r;
}

static int print_log(struct client *client, const struct args *args, uint64_t id,
                     json_t **ret_events, struct failure *failure) {
    cleanup(json_decrefp) json_t *all = json_array();
    int64_t after = 0;
    bool more = true;
    int r = all ? 0 : failure_oom(failure);

    if (!r && args->n_positional > 1 && !client->json)
        fprintf(client->terminal.file, "job %" PRIu64 "\n", id);
    while (!r && more)
        r = get_part(client, id, &after, all, &more, failure);
    if (r)
        return r;
    *ret_events = steal_ptr(all);
    return EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    return each_job(client, args, &(struct job_action){print_log}, failure);
}

const struct verb verb_logs = {
    .name = "logs",
    .usage = "ID...",
    .summary = "show what quantd reported of jobs, with the times",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
