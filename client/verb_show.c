// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "client/client.h"
#include "client/job.h"
#include "client/report.h"
#include "client/table.h"
#include "client/text.h"

#include <inttypes.h>
#include <math.h>

static void print_text(const struct terminal *terminal, const char *label, const char *text) {
    cleanup(freep) char *clean = text_cleaned(text);

    if (clean && clean[0])
        fprintf(terminal->file, "%-9s %s\n", label, clean);
}

/* "2026-11-22T09:30:00.125Z" as "2026-11-22 09:30:00 UTC" */
static void print_time(const struct terminal *terminal, const char *label, const json_t *job,
                       const char *key) {
    double seconds = job_time(job, key);
    char text[CLOCK_TEXT_SIZE];

    if (!(fabs(seconds) < 1e11))
        return;
    clock_format((int64_t)(seconds * 1000), text);
    fprintf(terminal->file, "%-9s %.10s %.8s UTC\n", label, text, text + 11);
}

static void print_model(const struct terminal *terminal, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    cleanup(freep) char *eval = NULL;
    struct strbuf sets = {};
    json_t *set;
    size_t i;

    print_text(terminal, "model", job_text(params, "model"));
    print_text(terminal, "dataset", job_text(params, "dataset"));
    json_array_foreach(json_object_get(params, "eval"), i, set) {
        if (json_is_string(set))
            strbuf_printf(&sets, "%s%s", i ? ", " : "", json_string_value(set));
    }
    eval = strbuf_steal(&sets);
    print_text(terminal, "eval", eval ? eval : "");
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
    print_text(terminal, "labels", text ? text : "");
}

static void print_progress(const struct terminal *terminal, const json_t *job) {
    const json_t *progress = json_object_get(job, "progress");
    double fraction = job_number(progress, "fraction"), eta = job_number(progress, "eta_seconds");
    cleanup(freep) char *phase = text_cleaned(job_text(progress, "phase"));
    int64_t layers = job_int(progress, "layers_total", 0);
    char left[TEXT_SIZE];

    if (job_has_ended(job) || !phase || !phase[0])
        return;
    fprintf(terminal->file, "%-9s %s", "progress", phase);
    if (layers > 0)
        fprintf(terminal->file, ", layer %" PRId64 "/%" PRId64,
                MIN(job_int(progress, "layer", 0) + 1, layers), layers);
    if (isfinite(fraction))
        fprintf(terminal->file, ", %.0f %%", fraction * 100);
    text_duration(eta, left);
    fprintf(terminal->file, eta >= 0 ? ", %s left\n" : "\n", left);
}

static void print_head(const struct terminal *terminal, const json_t *job) {
    cleanup(freep) char *title = job_title(job);
    int64_t position = job_int(job, "queue_position", 0), attempt = job_int(job, "attempt", 1);

    fprintf(terminal->file, "%sjob %" PRId64 ": %s%s\n", terminal_style(terminal, STYLE_BOLD),
            job_id(job), title ? title : "", terminal_style(terminal, STYLE_PLAIN));
    print_text(terminal, "status", job_text(job, "status"));
    if (position > 0)
        fprintf(terminal->file, "%-9s %" PRId64 " in the queue\n", "position", position);
    if (attempt > 1)
        fprintf(terminal->file, "%-9s %" PRId64 "\n", "attempt", attempt);
    print_text(terminal, "name", job_text(job, "name"));
    print_text(terminal, "owner", job_text(job, "owner"));
    if (job_int(job, "priority", 0))
        fprintf(terminal->file, "%-9s %" PRId64 "\n", "priority", job_int(job, "priority", 0));
    print_labels(terminal, job);
    print_model(terminal, job);
    print_time(terminal, "created", job, "created_at");
    print_time(terminal, "started", job, "started_at");
    print_time(terminal, "finished", job, "finished_at");
    print_progress(terminal, job);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    const struct terminal *terminal = &client->terminal;
    cleanup(json_decrefp) json_t *job = NULL, *layers = NULL;
    struct job_layers sum = {};
    char path[64];
    uint64_t id;
    int r;

    r = args_job_id(args->positional[0], &id, failure);
    if (r)
        return r;
    snprintf(path, sizeof(path), "/v1/jobs/%" PRIu64, id);
    r = http_get(client->http, path, &job, failure);
    if (r)
        return r;
    if (client->json)
        return client_print_json(job, failure);
    r = report_layers(client, job, &sum, &layers, failure);
    if (r)
        return r;
    print_head(terminal, job);
    report_error(terminal, job);
    return report_result(terminal, job, &sum, failure);
}

const struct verb verb_show = {
    .name = "show",
    .usage = "ID",
    .summary = "all about a job: parameters, perplexities, worst matrices",
    .least = 1,
    .most = 1,
    .run = run,
};
