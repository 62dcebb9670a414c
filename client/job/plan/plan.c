// SPDX-License-Identifier: Apache-2.0
#include "client/job/plan/plan.h"

#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <math.h>
#include <stdio.h>

static void add_point(struct table *table, const json_t *point) {
    double bits = answer_number(point, "bits_per_weight");
    char size[TEXT_SIZE];

    bytes_text(answer_number(point, "size_bytes"), size);
    table_cell(table, "%.2f", answer_number(point, "bits"));
    if (isfinite(bits))
        table_cell(table, "%.2f", bits);
    else
        table_cell(table, "%s", "");
    table_cell(table, "%s", size);
    table_cell(table, "%.4f", answer_number(point, "kl"));
}

/* What each size costs. */
static int report_curve(const struct terminal *terminal, const json_t *plan,
                        struct failure *failure) {
    static const struct table_column columns[] = {
        {"mean bits", true}, {"with scales", true}, {"size", true}, {"predicted KL", true}};
    json_t *curve = json_object_get(plan, "curve"), *point;
    struct table table;
    size_t i;
    int r;

    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(curve, i, point) add_point(&table, point);
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r ? failure_oom(failure) : 0;
}

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
    int r = 0;

    if (!json_is_object(plan))
        return 0;
    if (json_is_true(json_object_get(json_object_get(job, "params"), "plan_only")))
        r = report_curve(terminal, plan, failure);
    measured_text(job, measured, sizeof(measured));
    fputc('\n', terminal->file);
    label_print(terminal, "plan", "%.2f bits on average, predicted KL divergence %.4f%s",
                answer_number(chosen, "bits"), answer_number(chosen, "kl"), measured);
    return r;
}
