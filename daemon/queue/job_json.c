// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/job_json.h"

#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/queue/submission.h"

#include <ctype.h>
#include <inttypes.h>

/* What a result shows; the rest is for the daemon's own use. */
static const char *const result_fields[] = {
    "perplexity", "baseline",        "difference", "no_difference", "original",
    "size_bytes", "bits_per_weight", "seconds",    "peak_memory",   "plan"};

/* A new reference to @value, null for NULL. */
static json_t *or_null(json_t *value) {
    return value ? json_incref(value) : json_null();
}

/* What a job waits for beside its turn, null: nothing; NULL when out of memory. */
static json_t *paused_json(const struct job_row *row) {
    if (!row->paused)
        return json_null();
    return json_pack("{sO sO sO so}", "code", json_object_get(row->paused, "code"), "detail",
                     json_object_get(row->paused, "detail"), "hint",
                     json_object_get(row->paused, "hint"), "since", json_time(row->paused_at));
}

/* Where its newest run on a cluster is, null: it had none; NULL when out of memory. */
static json_t *engine_json(const struct job_row *row) {
    json_t *engine, *starts_at;

    if (!row->engine)
        return json_null();
    engine = json_clone(row->engine);
    starts_at = json_time(json_integer_value(json_object_get(row->engine, "starts_at")));
    if (json_object_set_new(engine, "starts_at", starts_at)) {
        json_decref(engine);
        return NULL;
    }
    return engine;
}

static json_t *url_json(int64_t id, const char *rest) {
    char text[256];

    snprintf(text, sizeof(text), "/v1/jobs/%" PRId64 "%s", id, rest);
    return json_string(text);
}

static json_t *urls_json(int64_t id) {
    return json_pack("{so so so so so}", "self", url_json(id, ""), "events",
                     url_json(id, "/events"), "layers", url_json(id, "/layers"), "artifacts",
                     url_json(id, "/artifacts"), "cancel", url_json(id, "/cancel"));
}

json_t *job_result(json_t *result) {
    cleanup(json_decrefp) json_t *shown = result ? json_object() : NULL;

    for (size_t i = 0; i < ARRAY_SIZE(result_fields) && shown; i++) {
        json_t *value = json_object_get(result, result_fields[i]);

        if (value && json_object_set(shown, result_fields[i], value))
            return NULL;
    }
    return steal_ptr(shown);
}

/* [{name, bytes, sha256, url}], owned by the caller; NULL when out of memory. */
static json_t *job_artifacts(const struct job_row *row) {
    json_t *list = json_array(), *item;
    size_t i;

    json_array_foreach(json_object_get(row->result, "artifacts"), i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        json_t *shown;
        char path[160];

        if (!list || !str_is_safe_name(name))
            continue;
        snprintf(path, sizeof(path), "/artifacts/%s", name);
        shown = json_pack("{sO sO sO so}", "name", json_object_get(item, "name"), "bytes",
                          json_object_get(item, "bytes"), "sha256", json_object_get(item, "sha256"),
                          "url", url_json(row->id, path));
        if (json_array_append_new(list, shown)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *failure_to_json(const struct failure *failure) {
    char title[sizeof(failure->code)];

    /* "disk_full" becomes "Disk full". */
    snprintf(title, sizeof(title), "%s", failure->code);
    for (char *at = title; *at; at++) {
        if (*at == '_')
            *at = ' ';
    }
    title[0] = (char)toupper((unsigned char)title[0]);
    return json_pack("{ss ss ss ss sb}", "code", failure->code, "title", title, "detail",
                     failure->detail, "hint", failure->hint, "retryable", failure->retryable);
}

json_t *job_to_json(const struct job_row *row, json_t *progress) {
    cleanup(json_decrefp) json_t *job = json_pack(
        "{sI ss ss ss ss sO ss sb sb si si so}", "id", (json_int_t)row->id, "kind", row->kind,
        "status", job_status_name(row->status), "owner", row->owner, "name", row->name, "labels",
        row->labels, "where", row->executor ? row->executor : JOBS_ANYWHERE, "private",
        row->private, "held", row->held, "priority", row->priority, "attempt", row->attempt,
        "params", params_renewed(row->params));
    json_t *result = row->result ? job_result(row->result) : json_null();
    cleanup(json_decrefp) json_t *rest =
        json_pack("{so so so sf so so so so sn so so so so so}", "group", or_null(row->group),
                  "paused", paused_json(row), "engine", engine_json(row), "paused_seconds",
                  (double)row->paused_ms / 1000, "model", or_null(row->model), "created_at",
                  json_time(row->created_at), "started_at", json_time(row->started_at),
                  "finished_at", json_time(row->finished_at), "queue_position", "progress",
                  or_null(progress ? progress : row->progress), "result", result, "artifacts",
                  job_artifacts(row), "error", or_null(row->error), "urls", urls_json(row->id));

    if (!job || !rest || json_object_update(job, rest))
        return NULL;
    return steal_ptr(job);
}

json_t *job_pause_to_json(const struct failure *why) {
    return json_pack("{ss ss ss}", "code", why->code, "detail", why->detail, "hint", why->hint);
}
