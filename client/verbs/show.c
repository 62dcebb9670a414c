// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/job/columns/parameters.h"
#include "client/job/columns/rows.h"
#include "client/job/each.h"
#include "client/job/group/group.h"
#include "client/job/job.h"
#include "client/job/report.h"
#include "client/screen/label.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

static const struct arg_option options[] = {
    SHEET_OPTIONS,
};

/* "2026-11-22T09:30:00.125Z" as "2026-11-22 09:30:00 UTC"; @since: what it is compared with. */
static void print_time(const struct terminal *terminal, const json_t *job, const char *label,
                       const char *key, const char *since, const char *words) {
    double seconds = answer_time(job, key),
           then = since ? answer_time(job, since) : (double)time(NULL);
    char text[CLOCK_TEXT_SIZE], distance[TEXT_SIZE];

    if (!(fabs(seconds) < 1e11))
        return;
    clock_format((int64_t)(seconds * 1000), text);
    if (since)
        text_duration(fabs(seconds - then), distance);
    else
        text_age(fabs(seconds - then), distance);
    if (isfinite(then))
        label_print(terminal, label, "%.10s %.8s UTC, %s%s", text, text + 11,
                    since ? words : distance, since ? distance : words);
    else
        label_print(terminal, label, "%.10s %.8s UTC", text, text + 11);
}

static void print_eval(const struct terminal *terminal, const json_t *params) {
    cleanup(json_decrefp) json_t *sets = parameter_text(json_object_get(params, "eval"));

    label_print(terminal, "eval", "%s", sets ? json_string_value(sets) : "");
}

/* What the title leaves out. */
static void print_params(const struct terminal *terminal, const json_t *params) {
    static const char *const keys[] = {"preset", "nsamples", "seqlen", "batch",
                                       "seed",   "percdamp", "format", "for"};
    cleanup(freep) char *text = NULL;
    struct strbuf all = {};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const json_t *value = json_object_get(params, keys[i]);
        cleanup(json_decrefp) json_t *shown = parameter_text(value);

        if (value && !json_is_null(value) && shown)
            strbuf_printf(&all, "%s%s %s", all.length ? ", " : "", keys[i],
                          json_string_value(shown));
    }
    text = strbuf_steal(&all);
    label_print(terminal, "params", "%s", text ? text : "");
}

/* One line each: the first that fits holds. */
static void print_rules(const struct terminal *terminal, const json_t *params) {
    const json_t *rule;
    size_t i;

    json_array_foreach(json_object_get(params, "rules"), i, rule) {
        cleanup(json_decrefp) json_t *text = parameter_text(rule);

        label_print(terminal, i ? "" : "rules", "%s", text ? json_string_value(text) : "");
    }
}

static void print_labels(const struct terminal *terminal, const json_t *job) {
    json_t *labels = json_object_get(job, "labels"), *value;
    cleanup(freep) char *text = NULL;
    struct strbuf all = {};
    const char *key;

    json_object_foreach(labels, key, value) {
        if (json_is_string(value))
            strbuf_printf(&all, "%s%s=%s", all.length ? ", " : "", key, json_string_value(value));
    }
    text = strbuf_steal(&all);
    label_print(terminal, "labels", "%s", text ? text : "");
}

static void print_progress(const struct terminal *terminal, const json_t *job) {
    const json_t *progress = json_object_get(job, "progress");
    double fraction = answer_number(progress, "fraction"),
           eta = answer_number(progress, "eta_seconds");
    double rate = answer_number(progress, "tokens_per_second");
    int64_t layers = answer_int(progress, "layers_total", 0);
    cleanup(freep) char *text = NULL;
    char amount[TEXT_SIZE];
    struct strbuf all = {};

    if (job_has_ended(job) || !answer_text(progress, "phase")[0])
        return;
    strbuf_puts(&all, answer_text(progress, "phase"));
    if (layers > 0)
        strbuf_printf(&all, ", layer %" PRId64 "/%" PRId64,
                      MIN(answer_int(progress, "layer", 0) + 1, layers), layers);
    if (isfinite(fraction))
        strbuf_printf(&all, ", %.0f %%", floor(fraction * 100));
    text_duration(eta, amount);
    if (eta >= 0)
        strbuf_printf(&all, ", %s left", amount);
    text_count(rate, amount);
    if (rate > 0)
        strbuf_printf(&all, ", %s tokens/s", amount);
    text = strbuf_steal(&all);
    label_print(terminal, "progress", "%s", text ? text : "");
}

static void print_status(const struct terminal *terminal, const json_t *job) {
    const json_t *paused = json_object_get(job, "paused");
    int64_t position = answer_int(job, "queue_position", 0),
            attempt = answer_int(job, "attempt", 1);
    const char *status = answer_text(job, "status"), *hint = answer_text(paused, "hint");

    if (str_equal(status, "queued") && json_is_true(json_object_get(job, "held")))
        label_print(terminal, "status", "held; quantctl release %" PRId64 " lets it start",
                    job_id(job));
    else if (position > 0)
        label_print(terminal, "status", "%s, number %" PRId64 " in the queue", status, position);
    else if (attempt > 1)
        label_print(terminal, "status", "%s, attempt %" PRId64, status, attempt);
    else
        label_print(terminal, "status", "%s", status);
    label_print(terminal, "paused", "%s%s%s", answer_text(paused, "detail"), hint[0] ? "; " : "",
                hint);
    if (json_is_true(json_object_get(job, "private")))
        label_print(terminal, "private", "only its owner and admins see it");
}

/* Where it is on a cluster, or was. */
static void print_engine(const struct terminal *terminal, const json_t *job) {
    const json_t *engine = json_object_get(job, "engine");
    const char *state = answer_text(engine, "state"), *reason = answer_text(engine, "reason");
    const char *node = answer_text(engine, "node");
    double starts = answer_time(engine, "starts_at") - (double)time(NULL);
    bool expected = job_waits_on_cluster(job) && starts > 0;
    char text[TEXT_SIZE];

    if (!json_is_object(engine))
        return;
    text_duration(starts, text);
    label_print(terminal, "engine", "%s job %" PRId64 "%s%s%s%s%s%s%s%s%s",
                answer_text(engine, "name"), answer_int(engine, "id", 0), state[0] ? ", " : "",
                state, reason[0] ? " (" : "", reason, reason[0] ? ")" : "", node[0] ? " on " : "",
                node, expected ? ", expected to start in " : "", expected ? text : "");
}

static void print_head(const struct terminal *terminal, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    cleanup(freep) char *title = job_title(job);

    fprintf(terminal->file, "%sjob %" PRId64 ": %s%s\n", terminal_style(terminal, STYLE_BOLD),
            job_id(job), title ? title : "", terminal_style(terminal, STYLE_PLAIN));
    print_status(terminal, job);
    label_print(terminal, "name", "%s", answer_text(job, "name"));
    label_print(terminal, "owner", "%s", answer_text(job, "owner"));
    if (answer_int(job, "priority", 0))
        label_print(terminal, "priority", "%" PRId64, answer_int(job, "priority", 0));
    print_labels(terminal, job);
    label_print(terminal, "model", "%s", answer_text(params, "model"));
    label_print(terminal, "dataset", "%s", answer_text(params, "dataset"));
    print_eval(terminal, params);
    print_params(terminal, params);
    print_rules(terminal, params);
    print_time(terminal, job, "created", "created_at", NULL, " ago");
    print_time(terminal, job, "started", "started_at", "created_at", "after ");
    print_time(terminal, job, "finished", "finished_at", "started_at", "after ");
    print_engine(terminal, job);
    label_print(terminal, "notify", "%s", answer_text(job, "notify"));
    print_progress(terminal, job);
}

static int show(struct client *client, const struct args *args, uint64_t id, json_t **ret_job,
                struct failure *failure) {
    const struct terminal *terminal = &client->terminal;
    cleanup(json_decrefp) json_t *layers = NULL;
    struct layers sum = {};
    uint64_t first;
    int r;

    r = each_get(client, id, ret_job, failure);
    if (r || client->json)
        return r;
    r = report_layers(client, *ret_job, &sum, &layers, failure);
    if (r)
        return r;
    if (!args_job_id(args->positional[0], &first, failure) && id != first)
        fputc('\n', terminal->file);
    print_head(terminal, *ret_job);
    report_error(terminal, *ret_job);
    return report_result(terminal, *ret_job, &sum, false, failure);
}

static int show_group(struct client *client, const struct args *args, uint64_t id,
                      json_t **ret_group, struct failure *failure) {
    uint64_t first;
    int r = group_get(client, id, ret_group, failure);

    if (r || client->json)
        return r;
    if (!args_group_id(args->positional[0], &first) || id != first)
        fputc('\n', client->terminal.file);
    return group_show(client, *ret_group, failure);
}

static int show_sheet(struct client *client, const struct args *args, enum sheet_format format,
                      struct failure *failure) {
    cleanup(json_decrefp) json_t *jobs = json_array(), *ids = NULL;
    json_t *id, *job;
    uint64_t group;
    size_t i;
    int r = group_ids(client, args, &ids, failure);

    if (r)
        return r;
    json_array_foreach(ids, i, id) {
        r = each_get(client, (uint64_t)json_integer_value(id), &job, failure);
        if (r)
            return r;
        if (json_array_append_new(jobs, job))
            return failure_oom(failure);
    }
    /* Of a group what differs is of interest. */
    return rows_print(client, jobs, format, args_group_id(args->positional[0], &group), failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    enum sheet_format format;
    int r = rows_format(args, &format, failure);

    if (r || format != SHEET_NONE)
        return r ? r : show_sheet(client, args, format, failure);
    return each_job(client, args, &(struct job_action){show, show_group}, failure);
}

const struct verb verb_show = {
    .name = "show",
    .usage = "ID|GROUP...",
    .summary = "show jobs or groups: parameters, results",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
