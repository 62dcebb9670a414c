// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/report.h"

#include "api/wire.h"
#include "daemon/pipeline/methods/method.h"

#include <math.h>
#include <stdio.h>

static double sum(const float *values, int n) {
    double total = 0;

    for (int i = 0; i < n; i++)
        total += values[i];
    return total;
}

static json_t *matrix_report(const struct problem *problem, const char *name, int g, double num,
                             double den, double seconds) {
    const struct outcome *outcome = &problem->outcomes[g];
    const struct gram *gram = problem->gram;
    double error = MAX(num, 0) / den; /* a sum that cancels may end just below zero */
    json_t *report = json_pack(
        "{s:s s:s s:o s:o s:o s:f}", "name", name, "method", outcome->method->name, "tokens",
        gram ? json_integer((json_int_t)gram->tokens[g]) : json_null(), "damping",
        outcome->damping > 0 ? json_real(outcome->damping) : json_null(), "error",
        den > 0 && isfinite(error) ? json_real(error) : json_null(), "seconds", seconds);

    if (report && outcome->reason)
        json_object_set_new(report, "reason", json_string(outcome->reason));
    return report;
}

/* Reports a matrix that did not go as asked for. */
static int warn(struct run *run, const struct problem *problem, const char *name, int g) {
    struct notice notice = {};
    char detail[MATRIX_NAME_SIZE + sizeof(notice.text)];

    if (!run->method->explain(problem, g, &notice))
        return 0;
    snprintf(detail, sizeof(detail), "%s %s", name, notice.text);
    return run_event(run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:s}", "code", notice.code, "detail", detail));
}

/* num and den [G, rows] of the output error, on the host; untouched without Hessians. */
static int measure_error(const struct problem *problem, const struct error_memory *memory,
                         float *num, float *den) {
    const struct group_shape *shape = &problem->shape;
    size_t size = (size_t)shape->G * shape->rows * sizeof(float);
    struct backend *b = problem->b;
    int r;

    if (!problem->gram)
        return 0;
    r = b->ops->output_error(b, memory->num, memory->den, problem->weights, problem->dq,
                             problem->gram->h, shape->G, shape->rows, shape->n, memory->scratch);
    if (!r)
        r = b->ops->download(b, num, span_slice(memory->num, 0, size));
    if (!r)
        r = b->ops->download(b, den, span_slice(memory->den, 0, size));
    return r;
}

int report_group(struct run *run, int layer, const struct problem *problem,
                 const struct error_memory *memory, double seconds, json_t *matrices) {
    const struct group_shape *shape = &problem->shape;
    size_t rows = (size_t)shape->G * shape->rows;
    cleanup(freep) float *num = calloc(rows, sizeof(*num));
    cleanup(freep) float *den = calloc(rows, sizeof(*den));
    int r;

    if (!num || !den)
        return failure_oom(run->failure);
    r = measure_error(problem, memory, num, den);
    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            const struct group_part *part = &shape->parts[p];
            size_t first = (size_t)g * shape->rows + part->row;
            char name[MATRIX_NAME_SIZE];
            json_t *report;

            group_matrix_name(shape, layer, g, p, name);
            report = matrix_report(problem, name, g, sum(num + first, part->rows),
                                   sum(den + first, part->rows), seconds * part->rows / rows);
            if (json_array_append_new(matrices, report))
                return failure_oom(run->failure);
            r = warn(run, problem, name, g);
        }
    }
    return r;
}
