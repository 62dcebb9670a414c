// SPDX-License-Identifier: Apache-2.0
#include "api/request/metrics.h"

#include "api/request/route.h"
#include "base/histogram.h"
#include "base/macros.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "other"};

/* What the API answers; the last stands for all others. */
static const unsigned codes[] = {200, 202, 204, 206, 304, 400, 403, 404, 405, 406, 409,
                                 413, 415, 416, 421, 422, 429, 500, 503, 507, 0};

/* Of the requests to one route. */
struct counters {
    atomic_uint_fast64_t n[ARRAY_SIZE(methods)][ARRAY_SIZE(codes)];
    struct histogram seconds;
};

struct metrics {
    const struct route *routes; /* borrowed */
    size_t n_routes;
    struct counters *counters; /* n_routes, then one for what is at no route */
};

struct metrics *metrics_new(const struct route *routes, size_t n_routes) {
    struct metrics *metrics = calloc(1, sizeof(*metrics));

    if (!metrics)
        return NULL;
    *metrics = (struct metrics){.routes = routes,
                                .n_routes = n_routes,
                                .counters = calloc(n_routes + 1, sizeof(*metrics->counters))};
    if (!metrics->counters) {
        free(metrics);
        return NULL;
    }
    return metrics;
}

void metrics_free(struct metrics *metrics) {
    if (!metrics)
        return;
    free(metrics->counters);
    free(metrics);
}

int metrics_method(const char *method) {
    size_t i = 0;

    while (i < ARRAY_SIZE(methods) - 1 && strcmp(method, methods[i]) != 0)
        i++;
    return (int)i;
}

void metrics_count(struct metrics *metrics, const struct route *route, int method, unsigned status,
                   double seconds) {
    struct counters *counters =
        &metrics->counters[route ? (size_t)(route - metrics->routes) : metrics->n_routes];
    size_t i = 0;

    while (i < ARRAY_SIZE(codes) - 1 && codes[i] != status)
        i++;
    atomic_fetch_add(&counters->n[method][i], 1);
    histogram_add(&counters->seconds, &histogram_of_calls, seconds);
}

static void put_family(struct strbuf *out, const char *name, const char *type, const char *help) {
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* The value of a label, with the escapes that the format asks for. */
static void put_escaped(struct strbuf *out, const char *value) {
    for (; *value; value++) {
        if (*value == '\n')
            strbuf_puts(out, "\\n");
        else if (*value == '"' || *value == '\\')
            strbuf_printf(out, "\\%c", *value);
        else
            strbuf_append(out, value, 1);
    }
}

/* @label: of all its samples, without braces, escaped; "": none. */
static void put_histogram(struct strbuf *out, const char *name, const char *label,
                          const struct histogram_bounds *bounds,
                          const struct histogram_copy *histogram) {
    const char *comma = label[0] ? "," : "";
    char braces[160] = "";
    uint64_t n = 0;

    if (label[0])
        snprintf(braces, sizeof(braces), "{%s}", label);
    for (int i = 0; i < bounds->n; i++) {
        n += histogram->counts[i];
        strbuf_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, label, comma,
                      bounds->at[i], n);
    }
    n += histogram->counts[HISTOGRAM_BUCKETS_MAX];
    strbuf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, n);
    strbuf_printf(out, "%s_sum%s %.6f\n%s_count%s %" PRIu64 "\n", name, braces, histogram->sum,
                  name, braces, n);
}

static void put_jobs(struct strbuf *out, const struct service_stats *stats) {
    put_family(out, "quantd_jobs", "gauge", "Jobs that are in the store, by status.");
    for (int i = 0; i < SERVICE_STATUSES; i++)
        strbuf_printf(out, "quantd_jobs{status=\"%s\"} %" PRIu64 "\n", stats->jobs[i].status,
                      stats->jobs[i].n);
    put_family(out, "quantd_job_wait_seconds", "histogram",
               "From the submission of a job to its first start.");
    put_histogram(out, "quantd_job_wait_seconds", "", &histogram_of_jobs, &stats->wait);
    put_family(out, "quantd_job_run_seconds", "histogram",
               "From the first start of a job to its end, interruptions included.");
    put_histogram(out, "quantd_job_run_seconds", "", &histogram_of_jobs, &stats->run);
    put_family(out, "quantd_layers_total", "counter", "Layers that were quantized.");
    strbuf_printf(out, "quantd_layers_total %" PRIu64 "\n", stats->n_layers);
    put_family(out, "quantd_job_tokens_total", "counter",
               "Tokens on which jobs that succeeded measured a perplexity.");
    strbuf_printf(out, "quantd_job_tokens_total %" PRIu64 "\n", stats->n_tokens);
    put_family(out, "quantd_job_divergence_nats", "histogram",
               "Mean divergence from the original, of each set of jobs that succeeded.");
    put_histogram(out, "quantd_job_divergence_nats", "", &histogram_of_divergences,
                  &stats->divergence);
    put_family(out, "quantd_store_seconds", "histogram",
               "Transactions of the store, with the wait for its lock.");
    put_histogram(out, "quantd_store_seconds", "", &histogram_of_calls, &stats->store);
}

static void put_memory(struct strbuf *out, const char *device, const char *state,
                       json_int_t bytes) {
    strbuf_puts(out, "quantd_device_memory_bytes{device=\"");
    put_escaped(out, device);
    strbuf_printf(out, "\",state=\"%s\"} %" JSON_INTEGER_FORMAT "\n", state, MAX(bytes, 0));
}

static void put_devices(struct strbuf *out, const json_t *devices) {
    json_t *device;
    size_t i;

    put_family(out, "quantd_device_memory_bytes", "gauge",
               "Memory of each device as last seen; used is by anybody, not quantd alone.");
    json_array_foreach(json_object_get(devices, "data"), i, device) {
        const char *id = json_string_value(json_object_get(device, "id"));
        json_int_t n_total = json_integer_value(json_object_get(device, "memory_total"));
        json_int_t n_free = json_integer_value(json_object_get(device, "memory_free"));

        if (!id || json_object_get(device, "jobs"))
            continue;
        put_memory(out, id, "free", n_free);
        put_memory(out, id, "used", n_total - n_free);
    }
}

/* What the jobs wait for on each cluster, and when the next of them is expected to start. */
static void put_waits(struct strbuf *out, const json_t *devices) {
    const char *reason;
    json_t *device, *n;
    size_t i;

    put_family(out, "quantd_cluster_waiting", "gauge",
               "Jobs that wait on each cluster, by its reason.");
    json_array_foreach(json_object_get(devices, "data"), i, device) {
        json_t *reasons = json_object_get(json_object_get(device, "jobs"), "reasons");

        json_object_foreach(reasons, reason, n) {
            strbuf_puts(out, "quantd_cluster_waiting{cluster=\"");
            put_escaped(out, json_string_value(json_object_get(device, "id")));
            strbuf_puts(out, "\",reason=\"");
            put_escaped(out, reason);
            strbuf_printf(out, "\"} %" JSON_INTEGER_FORMAT "\n", json_integer_value(n));
        }
    }
    put_family(out, "quantd_cluster_next_start_seconds", "gauge",
               "When the next job is expected to start, since 1970; absent when it is not known.");
    json_array_foreach(json_object_get(devices, "data"), i, device) {
        const json_t *jobs = json_object_get(device, "jobs");
        const char *start = json_string_value(json_object_get(jobs, "next_start"));
        struct tm tm = {};

        if (!start || !strptime(start, "%Y-%m-%dT%H:%M:%S", &tm))
            continue;
        strbuf_puts(out, "quantd_cluster_next_start_seconds{cluster=\"");
        put_escaped(out, json_string_value(json_object_get(device, "id")));
        strbuf_printf(out, "\"} %lld\n", (long long)timegm(&tm));
    }
}

/* Of clusters alone. */
static void put_clusters(struct strbuf *out, const json_t *devices) {
    static const char *const states[] = {"waiting", "running"};
    json_t *device;
    size_t i;

    put_family(out, "quantd_cluster_jobs", "gauge", "Jobs on each cluster, by state.");
    json_array_foreach(json_object_get(devices, "data"), i, device) {
        const json_t *jobs = json_object_get(device, "jobs");

        for (size_t k = 0; k < ARRAY_SIZE(states) && jobs; k++) {
            strbuf_puts(out, "quantd_cluster_jobs{cluster=\"");
            put_escaped(out, json_string_value(json_object_get(device, "id")));
            strbuf_printf(out, "\",state=\"%s\"} %" JSON_INTEGER_FORMAT "\n", states[k],
                          json_integer_value(json_object_get(jobs, states[k])));
        }
    }
    put_waits(out, devices);
    put_family(out, "quantd_cluster_up", "gauge", "1 when the cluster answered the last time.");
    json_array_foreach(json_object_get(devices, "data"), i, device) {
        if (!json_object_get(device, "jobs"))
            continue;
        strbuf_puts(out, "quantd_cluster_up{cluster=\"");
        put_escaped(out, json_string_value(json_object_get(device, "id")));
        strbuf_printf(out, "\"} %d\n", json_is_null(json_object_get(device, "error")));
    }
}

/* A path may have several routes: one for each method. Is @i the first of them? */
static bool is_first_of_path(const struct metrics *metrics, size_t i) {
    for (size_t j = 0; j < i && i < metrics->n_routes; j++)
        if (strcmp(metrics->routes[j].path, metrics->routes[i].path) == 0)
            return false;
    return true;
}

static const char *route_name(const struct metrics *metrics, size_t i) {
    return i < metrics->n_routes ? metrics->routes[i].path : "other";
}

static bool same_path(const struct metrics *metrics, size_t i, size_t j) {
    return strcmp(route_name(metrics, i), route_name(metrics, j)) == 0;
}

/* All requests to the path of route @i, summed over its routes. */
static uint64_t count_of_path(const struct metrics *metrics, size_t i, size_t method, size_t code) {
    uint64_t n = 0;

    for (size_t j = 0; j <= metrics->n_routes; j++)
        if (same_path(metrics, i, j))
            n += atomic_load(&metrics->counters[j].n[method][code]);
    return n;
}

static struct histogram_copy seconds_of_path(const struct metrics *metrics, size_t i) {
    struct histogram_copy sum = {};

    for (size_t j = 0; j <= metrics->n_routes; j++) {
        struct histogram_copy one;

        if (!same_path(metrics, i, j))
            continue;
        one = histogram_read(&metrics->counters[j].seconds);
        for (int b = 0; b <= HISTOGRAM_BUCKETS_MAX; b++)
            sum.counts[b] += one.counts[b];
        sum.sum += one.sum;
    }
    return sum;
}

static void put_counts_of_path(const struct metrics *metrics, size_t i, struct strbuf *out) {
    for (size_t method = 0; method < ARRAY_SIZE(methods); method++) {
        for (size_t code = 0; code < ARRAY_SIZE(codes); code++) {
            uint64_t n = count_of_path(metrics, i, method, code);
            char text[16] = "other";

            if (!n)
                continue;
            if (codes[code])
                snprintf(text, sizeof(text), "%u", codes[code]);
            strbuf_printf(
                out,
                "quantd_http_requests_total{route=\"%s\",method=\"%s\",code=\"%s\"} %" PRIu64 "\n",
                route_name(metrics, i), methods[method], text, n);
        }
    }
}

static void put_requests(const struct metrics *metrics, struct strbuf *out) {
    put_family(out, "quantd_http_requests_total", "counter",
               "Requests that were answered, by route, method and status code.");
    for (size_t i = 0; i <= metrics->n_routes; i++)
        if (is_first_of_path(metrics, i))
            put_counts_of_path(metrics, i, out);
    put_family(out, "quantd_http_request_seconds", "histogram",
               "From the headers of a request to those of its answer, by route.");
    for (size_t i = 0; i <= metrics->n_routes; i++) {
        struct histogram_copy seconds;
        char label[128];

        if (!is_first_of_path(metrics, i))
            continue;
        seconds = seconds_of_path(metrics, i);
        snprintf(label, sizeof(label), "route=\"%s\"", route_name(metrics, i));
        put_histogram(out, "quantd_http_request_seconds", label, &histogram_of_calls, &seconds);
    }
}

void metrics_render(const struct metrics *metrics, const struct metrics_source *source,
                    struct strbuf *out) {
    put_family(out, "quantd_build_info", "gauge", "1, with the version of quantd as a label.");
    strbuf_puts(out, "quantd_build_info{version=\"" QUANTD_VERSION "\"} 1\n");
    put_jobs(out, source->stats);
    put_devices(out, source->devices);
    put_clusters(out, source->devices);
    put_requests(metrics, out);
    put_family(out, "quantd_sse_streams", "gauge", "Event streams that are open.");
    strbuf_printf(out, "quantd_sse_streams %d\n", source->n_streams);
}
