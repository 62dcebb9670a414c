// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/queue/now.h"

#include "base/macros.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/job.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define DEVICES_MAX 64
#define NARROW 60 /* terminals up to here show less */
#define HISTORY_PATH "/v1/jobs?status=succeeded&limit=200"
#define ACTIVE_PATH "/v1/jobs?status=running,cancelling,queued&limit=500"

void now_done(struct now *now) {
    json_decref(now->devices);
    json_decref(now->active);
    json_decref(now->past);
}

static const json_t *data(const json_t *list) {
    return json_object_get(list, "data");
}

/* ---- how long a job will take ---- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Do both the same work, as far as their times tell? */
static bool is_alike(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"model", "wbits", "method"};
    const json_t *p = json_object_get(a, "params"), *q = json_object_get(b, "params");

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const json_t *x = json_object_get(p, keys[i]), *y = json_object_get(q, keys[i]);

        if (x != y && !json_equal((json_t *)x, (json_t *)y))
            return false;
    }
    return str_equal(answer_text(a, "kind"), answer_text(b, "kind"));
}

/* The median of what earlier jobs of the same kind, model, bits and method took; NAN: none. */
static double expected_seconds(const json_t *job, const json_t *past) {
    cleanup(freep) double *times = calloc(json_array_size(past) + 1, sizeof(*times));
    const json_t *other;
    size_t n = 0, i;

    json_array_foreach(past, i, other) {
        double seconds =
            answer_number(json_object_get(json_object_get(other, "result"), "seconds"), "total");

        if (times && isfinite(seconds) && is_alike(job, other))
            times[n++] = seconds;
    }
    if (n == 0)
        return NAN;
    qsort(times, n, sizeof(*times), compare_doubles);
    return times[n / 2];
}

/* ---- when a job will start ---- */

/* Seconds until each device is free; NAN: not known, as of a cluster. */
struct outlook {
    double free[DEVICES_MAX];
    int n;
    int64_t position; /* of the last job that was placed */
};

static bool runs(const json_t *job) {
    return !str_equal(answer_text(job, "status"), "queued");
}

static const json_t *job_on(const json_t *device, const json_t *active) {
    const json_t *job;
    size_t i;

    json_array_foreach(active, i, job) {
        if (job_id(job) == answer_int(device, "job", 0))
            return job;
    }
    return NULL;
}

static bool is_cluster(const json_t *device) {
    return json_is_object(json_object_get(device, "jobs"));
}

/* Was @job, which runs, given to the cluster @device, and do none of @devices run it? */
static bool is_on_cluster(const json_t *job, const json_t *device, const json_t *devices) {
    const json_t *other;
    size_t i;

    json_array_foreach(devices, i, other) {
        if (answer_int(other, "job", 0) == job_id(job))
            return false;
    }
    return runs(job) && str_equal(answer_text(json_object_get(job, "engine"), "name"),
                                  answer_text(device, "id"));
}

static void outlook_init(struct outlook *outlook, const struct now *now) {
    const json_t *device;
    size_t i;

    *outlook = (struct outlook){};
    json_array_foreach(data(now->devices), i, device) {
        const json_t *job = job_on(device, data(now->active));
        bool idle = answer_int(device, "job", 0) == 0 && !is_cluster(device);

        if (outlook->n == DEVICES_MAX)
            break;
        outlook->free[outlook->n++] =
            idle ? 0 : answer_number(json_object_get(job, "progress"), "eta_seconds");
    }
}

/*
 * The seconds until the next job of the queue starts, which then takes the device for @seconds.
 * NAN: not known, and so are those of all behind it. A gap in the positions is a job that is
 * hidden.
 */
static double outlook_place(struct outlook *outlook, int64_t position, double seconds) {
    int first = -1;
    double start;

    for (int i = 0; i < outlook->n; i++) {
        if (isnan(outlook->free[i]))
            return NAN;
        if (first < 0 || outlook->free[i] < outlook->free[first])
            first = i;
    }
    if (first < 0 || position != outlook->position + 1)
        return NAN;
    outlook->position = position;
    start = outlook->free[first];
    outlook->free[first] += seconds;
    return start;
}

/* ---- output ---- */

/* A device, or one of the jobs of a cluster. @what: the cell for the job */
static void add_device(struct table *table, const char *id, const char *name, const char *what,
                       const json_t *job) {
    const json_t *progress = json_object_get(job, "progress");
    double fraction = answer_number(progress, "fraction"),
           left = answer_number(progress, "eta_seconds");
    char text[TEXT_SIZE];

    text_duration(left, text);
    table_cell(table, "%s", id);
    table_cell(table, "%s", name);
    table_cell(table, "%s", what);
    if (job_waits_on_cluster(job))
        table_cell(table, "waits");
    else if (isfinite(fraction))
        table_cell(table, "%.0f %%", floor(fraction * 100));
    else
        table_cell(table, "%s", "");
    table_cell(table, "%s", isfinite(left) ? text : "");
}

/* A cluster, and below it each of its jobs with the node. */
static void add_cluster(struct table *table, const json_t *device, const struct now *now) {
    const json_t *counts = json_object_get(device, "jobs"), *job;
    char what[64];
    size_t i;

    snprintf(what, sizeof(what), "%" PRId64 " run, %" PRId64 " wait",
             answer_int(counts, "running", 0), answer_int(counts, "waiting", 0));
    add_device(table, answer_text(device, "id"), answer_text(device, "name"), what, NULL);
    json_array_foreach(data(now->active), i, job) {
        if (!is_on_cluster(job, device, data(now->devices)))
            continue;
        snprintf(what, sizeof(what), "%" PRId64, job_id(job));
        add_device(table, "", answer_text(json_object_get(job, "engine"), "node"), what, job);
    }
}

/* Why devices cannot be used now. */
static void print_errors(const struct terminal *terminal, const struct now *now) {
    const json_t *device;
    size_t i;

    json_array_foreach(data(now->devices), i, device) {
        const json_t *error = json_object_get(device, "error");
        const char *hint = answer_text(error, "hint");

        if (json_is_object(error))
            label_print(terminal, "error", "%s: %s%s%s", answer_text(device, "id"),
                        answer_text(error, "detail"), hint[0] ? "; " : "", hint);
    }
}

static int print_devices(const struct terminal *terminal, const struct now *now) {
    struct table_column columns[] = {
        {"device"}, {"name", false, true}, {"job", true}, {"done", true}, {"left", true}};
    const json_t *device;
    struct table table;
    char what[32];
    size_t i;
    int r;

    if (terminal->width <= NARROW)
        columns[1].title = NULL;
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(data(now->devices), i, device) {
        int64_t job = answer_int(device, "job", 0);

        snprintf(what, sizeof(what), "%" PRId64, job);
        if (is_cluster(device))
            add_cluster(&table, device, now);
        else
            add_device(&table, answer_text(device, "id"), answer_text(device, "name"),
                       job ? what : "idle", job_on(device, data(now->active)));
    }
    r = table_print(&table, terminal);
    table_done(&table);
    if (!r)
        print_errors(terminal, now);
    return r;
}

static int compare_places(const void *a, const void *b) {
    int64_t x = answer_int(*(json_t *const *)a, "queue_position", INT64_MAX),
            y = answer_int(*(json_t *const *)b, "queue_position", INT64_MAX);

    return (x > y) - (x < y);
}

/* "held", "paused", "in 5 min 03 s", "now", or nothing when it is not known. */
static void start_text(const json_t *job, double start, char out[TEXT_SIZE + 3]) {
    char text[TEXT_SIZE];

    text_duration(start, text);
    if (json_is_true(json_object_get(job, "held")))
        snprintf(out, TEXT_SIZE + 3, "held");
    else if (json_is_object(json_object_get(job, "paused")))
        snprintf(out, TEXT_SIZE + 3, "paused");
    else if (isnan(start))
        out[0] = '\0';
    else
        snprintf(out, TEXT_SIZE + 3, "%s%s", start >= 1 ? "in " : "now", start >= 1 ? text : "");
}

static void add_waiting(struct table *table, const json_t *job, struct outlook *outlook,
                        const json_t *past) {
    int64_t position = answer_int(job, "queue_position", 0);
    cleanup(freep) char *title = job_title(job);
    double seconds = expected_seconds(job, past);
    double start = position ? outlook_place(outlook, position, seconds) : NAN;
    char text[TEXT_SIZE], begin[TEXT_SIZE + 3];

    text_duration(seconds, text);
    start_text(job, start, begin);
    if (position)
        table_cell(table, "%" PRId64, position);
    else
        table_cell(table, "%s", "");
    table_cell(table, "%" PRId64, job_id(job));
    table_cell(table, "%s", answer_text(job, "owner"));
    table_cell(table, "%s", begin);
    table_cell(table, "%s", isfinite(seconds) ? text : "");
    table_cell(table, "%s", title ? title : "");
}

static int print_queue(const struct terminal *terminal, const struct now *now) {
    struct table_column columns[] = {{"#", true}, {"job", true},   {"owner", false, true},
                                     {"starts"},  {"takes", true}, {"what", false, true}};
    size_t size = json_array_size(data(now->active)), n = 0, i;
    cleanup(freep) json_t **waiting = calloc(size + 1, sizeof(json_t *));
    struct outlook outlook;
    struct table table;
    json_t *job;
    int r;

    if (!waiting)
        return -ENOMEM;
    json_array_foreach(data(now->active), i, job) {
        if (!runs(job))
            waiting[n++] = job;
    }
    if (n == 0) {
        fprintf(terminal->file, "\nnothing waits\n");
        return 0;
    }
    if (terminal->width <= NARROW)
        columns[2].title = columns[4].title = NULL;
    qsort(waiting, n, sizeof(*waiting), compare_places);
    outlook_init(&outlook, now);
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (i = 0; i < n; i++)
        add_waiting(&table, waiting[i], &outlook, data(now->past));
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r;
}

int now_get(struct client *client, struct now *ret_now, struct failure *failure) {
    int r = http_get(client->http, "/v1/devices", &ret_now->devices, failure);

    if (!r)
        r = http_get(client->http, ACTIVE_PATH, &ret_now->active, failure);
    if (!r)
        r = http_get(client->http, HISTORY_PATH, &ret_now->past, failure);
    return r;
}

int now_print(const struct now *now, const struct terminal *terminal) {
    int r = print_devices(terminal, now);

    return r ? r : print_queue(terminal, now);
}

int now_show(struct client *client, struct failure *failure) {
    cleanup(now_done) struct now now = {};
    int r = now_get(client, &now, failure);

    if (r)
        return r;
    if (client->json) {
        cleanup(json_decrefp) json_t *all = json_pack("{ss sO? sO?}", "object", "now", "devices",
                                                      data(now.devices), "jobs", data(now.active));

        return all ? client_print_json(all, failure) : failure_oom(failure);
    }
    return now_print(&now, &client->terminal) ? failure_oom(failure) : EXIT_OK;
}
