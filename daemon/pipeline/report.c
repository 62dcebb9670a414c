// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/report.h"

#include "api/wire.h"
#include "daemon/pipeline/methods/method.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define F16_MAX_BITS 0x7bff /* 65504 */

/*
 * A row's sum that went beyond a float counts as the largest one: the weights are far larger than
 * anything that the grid can say, so the matrix comes out near 1 and stands among the worst.
 */
static double sum(const float *values, int n) {
    double total = 0;

    for (int i = 0; i < n; i++)
        total += isfinite(values[i]) ? values[i] : FLT_MAX;
    return total;
}

static json_t *matrix_report(const struct problem *problem, const char *name, int g, double num,
                             double den, double seconds) {
    const struct outcome *outcome = &problem->outcomes[g];
    const struct gram *gram = problem->gram;
    double error = MAX(num, 0) / den; /* a sum that cancels may end just below zero */

    return json_pack(
        "{s:s s:s s:o s:o s:o s:f s:s*}", "name", name, "method", outcome->method->name, "tokens",
        gram ? json_integer((json_int_t)gram->tokens[g]) : json_null(), "damping",
        outcome->damping > 0 ? json_real(outcome->damping) : json_null(), "error",
        den > 0 ? json_real(error) : json_null(), "seconds", seconds, "reason", outcome->reason);
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

/* How many of the @n scales are the largest that an F16 holds: what would be more is cut off. */
static size_t count_cut_off(const uint16_t *scales, size_t n) {
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += scales[i] == F16_MAX_BITS;
    return found;
}

int report_scales(struct run *run, const struct layer_codes *layer, size_t first) {
    for (size_t i = first; i < layer->n_matrices; i++) {
        const struct matrix_codes *m = &layer->matrices[i];
        size_t n = (size_t)m->codes.n_groups * m->codes.rows;
        size_t found = count_cut_off(m->codes.scales, n);
        char detail[MATRIX_NAME_SIZE + 160];
        int r;

        if (found == 0)
            continue;
        snprintf(detail, sizeof(detail),
                 "%s has weights too large for its grid: %zu of %zu scales are above 65504, the "
                 "largest F16, and are cut off there",
                 m->name, found, n);
        r = run_event(run, WIRE_EVENT_JOB_WARNING,
                      json_pack("{s:s s:s}", "code", "scale_overflow", "detail", detail));
        if (r)
            return r;
    }
    return 0;
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
