// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/groups/group_json.h"

#include "base/json.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *status_of(const struct group_row *row) {
    int64_t waiting = row->n[JOB_QUEUED], active = row->n[JOB_RUNNING] + row->n[JOB_CANCELLING];
    int64_t ended = row->n[JOB_SUCCEEDED] + row->n[JOB_FAILED] + row->n[JOB_CANCELLED];

    if (waiting && !active && !ended)
        return job_status_name(JOB_QUEUED);
    if (waiting || active)
        return job_status_name(JOB_RUNNING);
    /* What was retried is as its retry. */
    if (row->n[JOB_FAILED] > row->n_failed_again)
        return job_status_name(JOB_FAILED);
    return job_status_name(row->n[JOB_CANCELLED] > row->n_cancelled_again ? JOB_CANCELLED
                                                                          : JOB_SUCCEEDED);
}

static json_t *counts_json(const struct group_row *row) {
    json_t *counts = json_object();

    for (int i = 0; i < N_JOB_STATUS; i++) {
        if (json_object_set_new(counts, job_status_name(i), json_integer(row->n[i]))) {
            json_decref(counts);
            return NULL;
        }
    }
    return counts;
}

static json_t *url_json(const char *format, int64_t id) {
    cleanup(freep) char *text = str_format(format, id);

    return text ? json_string(text) : NULL;
}

json_t *group_summary(const struct group_row *row) {
    return json_pack("{ss sI ss ss sb ss? ss so sO so so s{so so so}}", "object", "group", "id",
                     (json_int_t)row->id, "name", row->name, "owner", row->owner, "private",
                     row->private, "model", row->model, "status", status_of(row), "counts",
                     counts_json(row), "varies", row->varies, "created_at",
                     json_time(row->created_at), "finished_at", json_time(row->finished_at), "urls",
                     "self", url_json("/v1/groups/%" PRId64, row->id), "jobs",
                     url_json("/v1/jobs?group=%" PRId64, row->id), "cancel",
                     url_json("/v1/groups/%" PRId64 "/cancel", row->id));
}

/* -------- members -------- */

/* A new reference to @name of @object, else to @otherwise, which is taken over. */
static json_t *get_or(json_t *object, const char *name, json_t *otherwise) {
    json_t *value = json_object_get(object, name);

    if (!value)
        return otherwise;
    json_decref(otherwise);
    return json_incref(value);
}

static json_t *values_json(const struct group_row *row, json_t *params) {
    json_t *values = json_object(), *name;
    size_t i;

    json_array_foreach(row->varies, i, name) {
        const char *key = json_string_value(name);

        if (key && json_object_set_new(values, key, get_or(params, key, json_null()))) {
            json_decref(values);
            return NULL;
        }
    }
    return values;
}

static json_t *member_json(const struct group_row *row, json_t *job) {
    json_t *result = json_object_get(job, "result");

    return json_pack(
        "{sO sO sO sO so so so so so so so sb so so so}", "id", json_object_get(job, "id"), "name",
        json_object_get(job, "name"), "kind", json_object_get(job, "kind"), "status",
        json_object_get(job, "status"), "values", values_json(row, json_object_get(job, "params")),
        "bits_per_weight", get_or(result, "bits_per_weight", json_null()), "size_bytes",
        get_or(result, "size_bytes", json_null()), "perplexity",
        get_or(result, "perplexity", json_object()), "baseline",
        get_or(result, "baseline", json_object()), "difference",
        get_or(result, "difference", json_object()), "seconds",
        get_or(json_object_get(result, "seconds"), "total", json_null()), "pareto", 0, "progress",
        get_or(job, "progress", json_null()), "error", get_or(job, "error", json_null()), "url",
        get_or(json_object_get(job, "urls"), "self", json_null()));
}

/* -------- which members are worth their size -------- */

/* The mean of @figure over the sets of @object, or of its log; NAN: there is none. */
static double mean_of(json_t *object, const char *figure, bool log_of) {
    double sum = 0;
    const char *set;
    json_t *of;

    json_object_foreach(object, set, of) {
        double value = json_number_value(json_object_get(of, figure));

        sum += log_of ? log(value) : value;
    }
    return sum / (double)json_object_size(object);
}

/* Do all members that have a result say how far they are from the original? */
static bool all_differ(json_t *members) {
    json_t *member;
    size_t i;

    json_array_foreach(members, i, member) {
        if (json_object_size(json_object_get(member, "perplexity")) &&
            !json_object_size(json_object_get(member, "difference")))
            return false;
    }
    return true;
}

static double loss_of(json_t *member, bool by_difference) {
    return by_difference ? mean_of(json_object_get(member, "difference"), "kl_mean", false)
                         : mean_of(json_object_get(member, "perplexity"), "value", true);
}

/* Is @other at most as large and as bad as @member, and better in one? */
static bool beats(json_t *other, json_t *member, bool by_difference) {
    double size = json_number_value(json_object_get(member, "size_bytes"));
    double other_size = json_number_value(json_object_get(other, "size_bytes"));
    double loss = loss_of(member, by_difference), other_loss = loss_of(other, by_difference);

    return other_size > 0 && other_size <= size && other_loss <= loss &&
           (other_size < size || other_loss < loss);
}

static int mark_pareto(json_t *members) {
    bool by_difference = all_differ(members);
    json_t *member, *other;
    size_t i, j;

    json_array_foreach(members, i, member) {
        bool best = json_is_integer(json_object_get(member, "size_bytes")) &&
                    isfinite(loss_of(member, by_difference));

        json_array_foreach(members, j, other) best = best && !beats(other, member, by_difference);
        if (json_object_set_new(member, "pareto", json_boolean(best)))
            return -1;
    }
    return 0;
}

/* -------- the whole -------- */

/* The counts and the end are those of the jobs that are shown: @row may be a moment older. */
static json_t *summary_of(const struct group_row *row, json_t *jobs) {
    struct group_row shown = *row;
    const char *last = "";
    json_t *job, *group;
    size_t i;

    for (int s = 0; s < N_JOB_STATUS; s++)
        shown.n[s] = 0;
    json_array_foreach(jobs, i, job) {
        const char *end = json_string_value(json_object_get(job, "finished_at"));
        enum job_status status;

        if (!job_status_from_name(json_string_value(json_object_get(job, "status")), &status))
            shown.n[status]++;
        if (end && strcmp(end, last) > 0)
            last = end;
    }
    if (shown.n[JOB_QUEUED] || shown.n[JOB_RUNNING] || shown.n[JOB_CANCELLING])
        last = "";
    group = group_summary(&shown);
    /* All times are printed alike, so that they sort as texts. */
    if (group &&
        json_object_set_new(group, "finished_at", last[0] ? json_string(last) : json_null())) {
        json_decref(group);
        return NULL;
    }
    return group;
}

json_t *group_to_json(const struct group_row *row, json_t *jobs) {
    cleanup(json_decrefp) json_t *group = summary_of(row, jobs);
    cleanup(json_decrefp) json_t *members = json_array();
    double seconds = 0;
    json_t *job;
    size_t i;

    json_array_foreach(jobs, i, job) {
        json_t *member = member_json(row, job);

        if (json_array_append_new(members, member))
            return NULL;
        seconds += json_number_value(json_object_get(member, "seconds"));
    }
    if (!group || mark_pareto(members) ||
        json_object_set_new(group, "seconds", json_real(seconds)) ||
        json_object_set(group, "members", members))
        return NULL;
    return steal_ptr(group);
}
