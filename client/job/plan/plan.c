// SPDX-License-Identifier: Apache-2.0
#include "client/job/plan/plan.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/http/parameter_text.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- what each size costs ---- */

static void add_point(struct table *table, const json_t *point) {
    double bits = answer_number(point, "bits_per_weight");
    double target = answer_number(point, "target_bits");
    char size[TEXT_SIZE];

    bytes_text(answer_number(point, "size_bytes"), size);
    if (isfinite(target))
        table_cell(table, "%g", target);
    else
        table_cell(table, "%s", "");
    table_cell(table, "%.2f", answer_number(point, "bits"));
    if (isfinite(bits))
        table_cell(table, "%.2f", bits);
    else
        table_cell(table, "%s", "");
    table_cell(table, "%s", size);
    table_cell(table, "%.4f", answer_number(point, "kl"));
}

static int report_points(const struct terminal *terminal, const json_t *points, bool targets,
                         struct failure *failure) {
    const struct table_column columns[] = {{targets ? "target" : NULL, true},
                                           {"mean bits", true},
                                           {"with scales", true},
                                           {"size", true},
                                           {"predicted KL", true}};
    json_t *point;
    struct table table;
    size_t i;
    int r;

    if (json_array_size(points) == 0)
        return 0;
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach((json_t *)points, i, point) add_point(&table, point);
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r ? failure_oom(failure) : 0;
}

/* The options that make the choice of @point, owned by the caller; NULL when out of memory. */
static char *options_of(const json_t *point, int64_t wbits) {
    cleanup(strbuf_done) struct strbuf text = {};
    json_t *rule;
    size_t i;

    strbuf_printf(&text, "--wbits %" PRId64, wbits);
    json_array_foreach(json_object_get(point, "rules"), i, rule) {
        cleanup(json_decrefp) json_t *value = parameter_text(rule);

        if (!value)
            return NULL;
        strbuf_printf(&text, " --rule '%s'", json_string_value(value));
    }
    return strbuf_steal(&text);
}

/* The same of each target, a line each; @wbits: of what no rule names. */
static int report_options(const struct terminal *terminal, const json_t *targets, int64_t wbits,
                          struct failure *failure) {
    json_t *point;
    size_t i;

    if (json_array_size(targets) > 0)
        fputc('\n', terminal->file);
    json_array_foreach((json_t *)targets, i, point) {
        cleanup(freep) char *options = options_of(point, wbits);

        if (!options)
            return failure_oom(failure);
        label_print(terminal, "options", "for %g: %s", answer_number(point, "target_bits"),
                    options);
    }
    return 0;
}

static int report_sizes(const struct terminal *terminal, const json_t *job, const json_t *plan,
                        struct failure *failure) {
    int64_t wbits = answer_int(json_object_get(job, "params"), "wbits", 0);
    const json_t *targets = json_object_get(plan, "targets");
    int r = report_points(terminal, json_object_get(plan, "curve"), false, failure);

    if (!r)
        r = report_points(terminal, targets, true, failure);
    return r ? r : report_options(terminal, targets, wbits, failure);
}

/* ---- as a sheet ---- */

static const char *const sheet_columns[] = {"target_bits", "bits", "bits_per_weight",
                                            "size_bytes",  "kl",   "rules"};

static json_t *sheet_cell(const json_t *point, const char *column) {
    const json_t *value = json_object_get(point, column);

    if (!value || json_is_null(value))
        return json_string("");
    return parameter_text(value);
}

static int add_row(json_t *rows, const json_t *point) {
    cleanup(json_decrefp) json_t *row = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(sheet_columns); i++) {
        json_t *cell = point ? sheet_cell(point, sheet_columns[i]) : json_string(sheet_columns[i]);

        if (json_array_append_new(row, cell))
            return -ENOMEM;
    }
    return json_array_append(rows, row) ? -ENOMEM : 0;
}

int plan_sheet(FILE *file, const json_t *job, enum sheet_format format) {
    static const char *const lists[] = {"targets", "curve"};
    const json_t *plan = json_object_get(json_object_get(job, "result"), "plan");
    cleanup(json_decrefp) json_t *rows = json_array();
    json_t *point;
    size_t i;
    int r = add_row(rows, NULL);

    for (size_t l = 0; l < ARRAY_SIZE(lists) && !r; l++) {
        json_array_foreach(json_object_get(plan, lists[l]), i, point) {
            if (!r)
                r = add_row(rows, point);
        }
    }
    return r ? r : sheet_print(file, format, rows);
}

/* ---- after a job ---- */

/* What was measured of the job that came of it. */
static void measured_text(const json_t *job, char *text, size_t size) {
    json_t *sets = json_object_get(json_object_get(job, "result"), "difference"), *entry;
    const char *set;
    int n = 0;

    text[0] = '\0';
    json_object_foreach(sets, set, entry) {
        double kl = answer_number(entry, "kl_mean");

        if (isfinite(kl) && n >= 0 && (size_t)n < size)
            n += snprintf(text + n, size - (size_t)n, "%s %.4f on %s", n ? "," : "; measured", kl,
                          set);
    }
}

int plan_report(const struct terminal *terminal, const json_t *job, struct failure *failure) {
    const json_t *plan = json_object_get(json_object_get(job, "result"), "plan");
    const json_t *chosen = json_object_get(plan, "chosen");
    char measured[256];

    if (!json_is_object(plan))
        return 0;
    if (json_is_true(json_object_get(json_object_get(job, "params"), "plan_only")))
        return report_sizes(terminal, job, plan, failure);
    measured_text(job, measured, sizeof(measured));
    fputc('\n', terminal->file);
    label_print(terminal, "plan", "%.2f bits on average, predicted KL divergence %.4f%s",
                answer_number(chosen, "bits"), answer_number(chosen, "kl"), measured);
    return 0;
}
