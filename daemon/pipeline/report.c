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

/* Of one matrix: sums over its rows. */
struct sums {
    double num, den;      /* of the output error */
    double before, after; /* of the objective of refinement */
};

/* What refinement gained, as parts of the same whole as the error; NULL when there was none. */
static json_t *refine_report(const struct outcome *outcome, const struct sums *sums) {
    if (!outcome->refined || !(sums->den > 0))
        return NULL;
    return json_pack("{s:f s:f}", "before", sums->before / sums->den, "after",
                     sums->after / sums->den);
}

static json_t *matrix_report(const struct problem *problem, const char *name, int g,
                             const struct sums *sums, double seconds) {
    const struct outcome *outcome = &problem->outcomes[g];
    const struct gram *gram = problem->gram;
    double error = MAX(sums->num, 0) / sums->den; /* a sum that cancels may end just below zero */

    return json_pack("{s:s s:s s:o s:o s:o* s:o s:o* s:f s:s*}", "name", name, "method",
                     outcome->method->name, "tokens",
                     gram ? json_integer((json_int_t)gram->tokens[g]) : json_null(), "damping",
                     outcome->damping > 0 ? json_real(outcome->damping) : json_null(), "condition",
                     outcome->condition > 0 ? json_real(outcome->condition) : NULL, "error",
                     sums->den > 0 ? json_real(error) : json_null(), "refine",
                     refine_report(outcome, sums), "seconds", seconds, "reason", outcome->reason);
}

/* Reports a matrix that did not go as asked for. */
static int warn(struct run *run, const struct problem *problem, const char *name, int g) {
    struct notice notice = {};
    char detail[MATRIX_NAME_SIZE + sizeof(notice.text)];

    if (!problem->method->explain(problem, g, &notice))
        return 0;
    snprintf(detail, sizeof(detail), "%s %s", name, notice.text);
    return run_event(run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:s}", "code", notice.code, "detail", detail));
}

/*
 * How many of the @n scales, or units of a K grid, which may be negative, are the largest that an
 * F16 holds: what would be more is cut off.
 */
static size_t count_cut_off(const uint16_t *scales, size_t n) {
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += (scales[i] & 0x7fff) == F16_MAX_BITS;
    return found;
}

int report_scales(struct run *run, const struct layer_codes *layer) {
    for (size_t i = 0; i < layer->n_matrices; i++) {
        const struct matrix_codes *m = &layer->matrices[i];
        size_t n_units = (size_t)m->codes.n / GRID_SUPER * m->codes.rows;
        size_t n = m->codes.d ? n_units : (size_t)m->codes.n_groups * m->codes.rows;
        size_t found = count_cut_off(m->codes.d ? m->codes.d : m->codes.scales, n);
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

/* What is measured of each row of a group, on the host: [G, rows] each. */
struct rows {
    float *num, *den, *before, *after;
};

static int download_rows(struct backend *b, float *rows, struct span span, size_t size) {
    return b->ops->download(b, rows, span_slice(span, 0, size));
}

/* Leaves @rows as they are without Hessians. */
static int measure_rows(const struct problem *problem, const struct error_memory *memory,
                        struct rows *rows) {
    const struct group_shape *shape = &problem->shape;
    size_t size = (size_t)shape->G * shape->rows * sizeof(float);
    struct backend *b = problem->b;
    int r;

    if (!problem->gram)
        return 0;
    r = b->ops->output_error(b, memory->num, memory->den, problem->weights, problem->dq,
                             problem->gram->h, shape->G, shape->rows, shape->n, memory->scratch);
    if (!r)
        r = download_rows(b, rows->num, memory->num, size);
    if (!r)
        r = download_rows(b, rows->den, memory->den, size);
    if (!r && problem->options.refine)
        r = download_rows(b, rows->before, problem->memory.before, size);
    if (!r && problem->options.refine)
        r = download_rows(b, rows->after, problem->memory.after, size);
    return r;
}

int report_group(struct run *run, int layer, const struct problem *problem,
                 const struct error_memory *memory, double seconds, json_t *matrices) {
    const struct group_shape *shape = &problem->shape;
    size_t n_rows = (size_t)shape->G * shape->rows;
    cleanup(freep) float *all = calloc(4 * n_rows, sizeof(*all));
    struct rows rows = {all, all + n_rows, all + 2 * n_rows, all + 3 * n_rows};
    int r;

    if (!all)
        return failure_oom(run->failure);
    r = measure_rows(problem, memory, &rows);
    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            const struct group_part *part = &shape->parts[p];
            size_t first = (size_t)g * shape->rows + part->row;
            struct sums sums = {
                sum(rows.num + first, part->rows), sum(rows.den + first, part->rows),
                sum(rows.before + first, part->rows), sum(rows.after + first, part->rows)};
            char name[MATRIX_NAME_SIZE];
            json_t *report;

            group_matrix_name(shape, layer, g, p, name);
            report = matrix_report(problem, name, g, &sums, seconds * part->rows / n_rows);
            if (json_array_append_new(matrices, report))
                return failure_oom(run->failure);
            r = warn(run, problem, name, g);
        }
    }
    return r;
}
