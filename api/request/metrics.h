// SPDX-License-Identifier: Apache-2.0
/*
 * What GET /metrics answers, in the text format 0.0.4 of Prometheus: what the service counts, and
 * the API's own requests. Labels take their values from tables and from the devices, so that no
 * client can make a series. Any thread.
 */
#pragma once

#include "api/service.h"
#include "base/str.h"

#include <jansson.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics;
struct route;

/*
 * metrics_new() - counters at zero for the @n_routes @routes (borrowed); owned by the caller; NULL
 * when out of memory.
 */
struct metrics *metrics_new(const struct route *routes, size_t n_routes);
void metrics_free(struct metrics *metrics); /* NULL is fine */

/* metrics_method() - the number of an HTTP method, for metrics_count(). */
int metrics_method(const char *method);

/*
 * metrics_count() - a request to @route (NULL: to none) was answered with @status, @seconds after
 * its headers had come.
 */
void metrics_count(struct metrics *metrics, const struct route *route, int method, unsigned status,
                   double seconds);

/* What is not the metrics' own. */
struct metrics_source {
    const struct service_stats *stats;
    const json_t *devices; /* the list that the service gives */
    int n_streams;
};

/* metrics_render() - append all families to @out. */
void metrics_render(const struct metrics *metrics, const struct metrics_source *source,
                    struct strbuf *out);
