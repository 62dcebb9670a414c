// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/job/columns/parameters.h"
#include "client/job/columns/rows.h"
#include "client/job/each.h"
#include "client/job/group/group.h"
#include "client/job/job.h"
#include "client/job/report.h"
#include "client/screen/table.h"
#include "client/screen/text.h"
#include "client/verbs/pairs.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#define COLUMN_LEAST 12 /* names are cut, down to this or the widest figure */
#define LABEL_LEAST 20

static const struct arg_option options[] = {
    SHEET_OPTIONS,
};

struct side {
    json_t *job, *layers, *windows; /* owned; sum borrows from layers */
    struct layers sum;
};

struct comparison {
    struct side sides[ARGS_POSITIONAL_MAX];
    int n;
    bool utf8;
    int widest;   /* figure: a table that cuts names still shows it whole */
    json_t *rows; /* [label, cell of the first job, ...], strings; owned */
};

static const json_t *parameter(const struct side *side, const char *key) {
    return json_object_get(json_object_get(side->job, "params"), key);
}

static const json_t *result(const struct side *side, const char *key) {
    return json_object_get(json_object_get(side->job, "result"), key);
}

static bool differs(const struct comparison *c, const char *key) {
    for (int i = 1; i < c->n; i++)
        if (parameter_differs(key, parameter(&c->sides[i], key), parameter(&c->sides[0], key)))
            return true;
    return false;
}

/* ---- figures ---- */

/* The perplexity of side @i on @set; NAN: it has none. */
static double perplexity(const struct comparison *c, int i, const char *set) {
    return answer_number(json_object_get(result(&c->sides[i], "perplexity"), set), "value");
}

/* Have both measured @set on the same windows, with the same model? */
static bool same_measure(const struct side *a, const struct side *b, const char *set) {
    const char *model = answer_text(json_object_get(a->job, "model"), "fingerprint");
    const char *windows = answer_text(json_object_get(result(a, "perplexity"), set), "sha256");

    return model[0] && windows[0] &&
           str_equal(model, answer_text(json_object_get(b->job, "model"), "fingerprint")) &&
           str_equal(windows, answer_text(json_object_get(result(b, "perplexity"), set), "sha256"));
}

/* The perplexity of the unquantized model: from the daemon, or measured by one of these jobs. */
static double baseline(const struct comparison *c, int i, const char *set) {
    double known = answer_number(result(&c->sides[i], "baseline"), set);

    for (int k = 0; k < c->n && !isfinite(known); k++)
        if (json_integer_value(parameter(&c->sides[k], "wbits")) == 16 &&
            same_measure(&c->sides[i], &c->sides[k], set))
            known = perplexity(c, k, set);
    return known;
}

/* Change from the baseline in per cent; NAN: not known, or it is the baseline. */
static double change(const struct comparison *c, int i, const char *set) {
    double base = baseline(c, i, set);

    if (!(base > 0) || json_integer_value(parameter(&c->sides[i], "wbits")) == 16)
        return NAN;
    return (perplexity(c, i, set) / base - 1) * 100;
}

/* ---- as text ---- */

static json_t *text_of_size(const struct comparison *c, int i, const char *key) {
    double bytes = json_number_value(result(&c->sides[i], key));
    char text[TEXT_SIZE];

    bytes_text(bytes, text);
    return json_string(bytes > 0 ? text : "");
}

static json_t *text_of_bits(const struct comparison *c, int i, const char *key) {
    double bits = json_number_value(result(&c->sides[i], key));

    return bits > 0 ? json_sprintf("%.2f", bits) : json_string("");
}

static json_t *text_of_seconds(const struct comparison *c, int i, const char *key) {
    double seconds = answer_number(result(&c->sides[i], "seconds"), key);
    char text[TEXT_SIZE];

    text_duration(seconds, text);
    return json_string(isfinite(seconds) ? text : "");
}

static json_t *text_of_perplexity(const struct comparison *c, int i, const char *set) {
    char text[TEXT_SIZE];

    text_perplexity(perplexity(c, i, set), text);
    return json_string(isfinite(perplexity(c, i, set)) ? text : "");
}

static json_t *text_of_change(const struct comparison *c, int i, const char *set) {
    double value = change(c, i, set);
    char text[TEXT_SIZE];

    report_change(c->sides[i].job, set, c->utf8, text);
    if (isfinite(value) && text[0])
        return json_string(text);
    return isfinite(value) ? json_sprintf("%+.2f %%", value) : json_string("");
}

/* Against the first job, in pairs of windows. */
static json_t *text_of_pair(const struct comparison *c, int i, const char *set) {
    double error, ratio = pairs_ratio(c->sides[0].windows, c->sides[i].windows, set, &error);

    return i && isfinite(ratio) ? json_sprintf("%+.2f %s %.2f %%", expm1(ratio) * 100,
                                               c->utf8 ? "±" : "+-", exp(ratio) * error * 100)
                                : json_string("");
}

static json_t *text_of_divergence(const struct comparison *c, int i, const char *set) {
    const json_t *d = json_object_get(result(&c->sides[i], "difference"), set);

    return d ? json_sprintf("%.4f %s %.4f", answer_number(d, "kl_mean"), c->utf8 ? "±" : "+-",
                            answer_number(d, "kl_stderr"))
             : json_string("");
}

static json_t *text_of_same(const struct comparison *c, int i, const char *set) {
    const json_t *d = json_object_get(result(&c->sides[i], "difference"), set);

    return d ? json_sprintf("%.2f %%", answer_number(d, "same_top") * 100) : json_string("");
}

static json_t *text_of_job(const struct comparison *c, int i, const char *key) {
    return json_string(answer_text(c->sides[i].job, key));
}

static json_t *text_of_parameter(const struct comparison *c, int i, const char *key) {
    return parameter_text(parameter(&c->sides[i], key));
}

static json_t *text_of_worst(const struct comparison *c, int i, const char *what) {
    const struct layers *sum = &c->sides[i].sum;

    if (!sum->n_worst)
        return json_string("");
    if (str_equal(what, "error"))
        return json_sprintf("%.4f", sum->worst[0].error);
    if (str_equal(what, "mean"))
        return json_sprintf("%.4f", sum->error_sum / (double)sum->n_matrices);
    if (str_equal(what, "fallbacks"))
        return json_sprintf("%" PRId64 " of %" PRId64, sum->n_fallbacks, sum->n_matrices);
    return json_sprintf("%" PRId64 " %s", sum->worst[0].layer,
                        layers_matrix_name(sum->worst[0].name));
}

/* Adds the row of @label, unless all its cells are empty. */
static int add_row(struct comparison *c, const char *label,
                   json_t *(*text)(const struct comparison *c, int i, const char *key),
                   const char *key) {
    cleanup(json_decrefp) json_t *row = json_pack("[s]", label);
    bool figures = text != text_of_job && text != text_of_parameter && !str_equal(key, "name");
    bool any = false;

    for (int i = 0; i < c->n; i++) {
        json_t *cell = text(c, i, key);

        any |= cell && json_string_value(cell)[0];
        if (cell && figures)
            c->widest = MAX(c->widest, text_width(json_string_value(cell)));
        if (json_array_append_new(row, cell))
            return -ENOMEM;
    }
    return any ? json_array_append(c->rows, row) : 0;
}

/* The sets that any of the jobs measured, in the order in which they come; NULL: out of memory. */
static json_t *sets_of(const struct comparison *c) {
    json_t *sets = json_object(), *value;
    const char *set;

    for (int i = 0; i < c->n; i++)
        json_object_foreach((json_t *)result(&c->sides[i], "perplexity"), set, value) {
            if (json_object_set_new(sets, set, json_null())) {
                json_decref(sets);
                return NULL;
            }
        }
    return sets;
}

static int add_perplexities(struct comparison *c) {
    cleanup(json_decrefp) json_t *sets = sets_of(c);
    const char *set;
    json_t *value;

    if (!sets)
        return -ENOMEM;
    json_object_foreach(sets, set, value) {
        if (add_row(c, set, text_of_perplexity, set) ||
            add_row(c, "  to unquantized", text_of_change, set) ||
            add_row(c, "  to the first", text_of_pair, set) ||
            add_row(c, "  divergence", text_of_divergence, set) ||
            add_row(c, "  same token", text_of_same, set))
            return -ENOMEM;
    }
    return 0;
}

static bool all_succeeded(const struct comparison *c) {
    for (int i = 0; i < c->n; i++)
        if (!str_equal(answer_text(c->sides[i].job, "status"), "succeeded"))
            return false;
    return true;
}

static int add_rows(struct comparison *c) {
    const struct parameter *p;
    int r = add_row(c, "name", text_of_job, "name");

    if (!r && !all_succeeded(c))
        r = add_row(c, "status", text_of_job, "status");
    for (size_t i = 0; !r && (p = parameter_at(i)); i++)
        if (differs(c, p->key))
            r = add_row(c, p->title, text_of_parameter, p->key);
    r = r ? r : add_row(c, "bits per weight", text_of_bits, "bits_per_weight");
    r = r ? r : add_row(c, "size", text_of_size, "size_bytes");
    r = r ? r : add_row(c, "time", text_of_seconds, "total");
    r = r ? r : add_perplexities(c);
    r = r ? r : add_row(c, "mean error", text_of_worst, "mean");
    r = r ? r : add_row(c, "worst error", text_of_worst, "error");
    r = r ? r : add_row(c, "  in layer, matrix", text_of_worst, "name");
    return r ? r : add_row(c, "fell back", text_of_worst, "fallbacks");
}

/* ---- output ---- */

static int print_table(const struct terminal *terminal, const struct comparison *c) {
    struct table_column columns[TABLE_COLUMNS_MAX] = {{"", false, true}};
    char titles[TABLE_COLUMNS_MAX][32];
    struct table table;
    json_t *row, *cell;
    size_t i, k;
    int r;

    for (int n = 0; n < c->n; n++) {
        snprintf(titles[n], sizeof(titles[n]), "job %" PRId64, job_id(c->sides[n].job));
        columns[n + 1] = (struct table_column){titles[n], true, true};
    }
    table_init(&table, columns, c->n + 1);
    json_array_foreach(c->rows, i, row) {
        json_array_foreach(row, k, cell) table_cell(&table, "%s", json_string_value(cell));
    }
    r = table_print(&table, terminal);
    table_done(&table);
    return r;
}

/* One job below the other, when the terminal is too narrow for a table. */
static int print_blocks(const struct terminal *terminal, const struct comparison *c) {
    json_t *row;
    int width = 0;
    size_t i;

    json_array_foreach(c->rows, i, row) width =
        MAX(width, text_width(json_string_value(json_array_get(row, 0))));
    for (int n = 0; n < c->n; n++) {
        fprintf(terminal->file, "%s%sjob %" PRId64 "%s\n", n ? "\n" : "",
                terminal_style(terminal, STYLE_BOLD), job_id(c->sides[n].job),
                terminal_style(terminal, STYLE_PLAIN));
        json_array_foreach(c->rows, i, row) {
            cleanup(freep) char *label = text_cleaned(json_string_value(json_array_get(row, 0)));
            cleanup(freep) char *cell =
                text_cleaned(json_string_value(json_array_get(row, (size_t)n + 1)));

            if (!label || !cell)
                return -ENOMEM;
            if (cell[0])
                fprintf(terminal->file, "  %s%*s  %s\n", label, MAX(width - text_width(label), 0),
                        "", cell);
        }
    }
    return 0;
}

/* The JSON of what was found; each returns NULL when out of memory, and json_pack() passes it on.
 */

static json_t *measured_json(const struct comparison *c, int i) {
    cleanup(json_decrefp) json_t *all = json_object();
    const char *set;
    json_t *value;

    json_object_foreach((json_t *)result(&c->sides[i], "perplexity"), set, value) {
        double base = baseline(c, i, set), percent = change(c, i, set), error;
        double ratio = pairs_ratio(c->sides[0].windows, c->sides[i].windows, set, &error);

        if (json_object_set_new(
                all, set,
                json_pack(
                    "{sO? so so sO? so}", "value", json_object_get(value, "value"), "baseline",
                    isfinite(base) ? json_real(base) : json_null(), "change_percent",
                    isfinite(percent) ? json_real(percent) : json_null(), "difference",
                    json_object_get(result(&c->sides[i], "difference"), set), "to_first",
                    isfinite(ratio) ? json_pack("{sf sf}", "log_ratio", ratio, "stderr", error)
                                    : json_null())))
            return NULL;
    }
    return steal_ptr(all);
}

static json_t *worst_json(const struct layers *sum) {
    cleanup(json_decrefp) json_t *list = json_array();

    for (int i = 0; i < sum->n_worst; i++)
        if (json_array_append_new(
                list, json_pack("{sI ss ss sf so}", "layer", sum->worst[i].layer, "name",
                                sum->worst[i].name, "method", sum->worst[i].method, "error",
                                sum->worst[i].error, "tokens",
                                sum->worst[i].tokens >= 0 ? json_integer(sum->worst[i].tokens)
                                                          : json_null())))
            return NULL;
    return steal_ptr(list);
}

static json_t *side_json(const struct comparison *c, int i) {
    const struct side *side = &c->sides[i];

    return json_pack("{sI sO? sO? sO? sO? sO? so sI sI so}", "id", job_id(side->job), "status",
                     json_object_get(side->job, "status"), "name",
                     json_object_get(side->job, "name"), "bits_per_weight",
                     result(side, "bits_per_weight"), "size_bytes", result(side, "size_bytes"),
                     "seconds", result(side, "seconds"), "perplexity", measured_json(c, i),
                     "matrices", side->sum.n_matrices, "fallbacks", side->sum.n_fallbacks, "worst",
                     worst_json(&side->sum));
}

/* Of the parameters those that differ: {name: [of each job]}. */
static json_t *parameters_json(const struct comparison *c) {
    cleanup(json_decrefp) json_t *all = json_object();
    const struct parameter *p;

    for (size_t i = 0; (p = parameter_at(i)); i++) {
        cleanup(json_decrefp) json_t *values = json_array();

        if (!differs(c, p->key))
            continue;
        for (int k = 0; k < c->n; k++) {
            const json_t *value = parameter(&c->sides[k], p->key);

            if (json_array_append_new(values, value ? json_incref((json_t *)value) : json_null()))
                return NULL;
        }
        if (json_object_set(all, p->key, values))
            return NULL;
    }
    return steal_ptr(all);
}

static json_t *sides_json(const struct comparison *c) {
    cleanup(json_decrefp) json_t *all = json_array();

    for (int i = 0; i < c->n; i++)
        if (json_array_append_new(all, side_json(c, i)))
            return NULL;
    return steal_ptr(all);
}

static int print_json(const struct comparison *c, struct failure *failure) {
    cleanup(json_decrefp) json_t *all =
        json_pack("{ss so so}", "object", "comparison", "parameters", parameters_json(c), "jobs",
                  sides_json(c));

    return all ? client_print_json(all, failure) : failure_oom(failure);
}

static int get_side(struct client *client, const json_t *id, struct side *side,
                    struct failure *failure) {
    int r = each_get(client, (uint64_t)json_integer_value(id), &side->job, failure);

    if (!r)
        r = pairs_get(client, side->job, &side->windows, failure);
    return r ? r : report_layers(client, side->job, &side->sum, &side->layers, failure);
}

static int print_sheet(const struct client *client, const struct comparison *c,
                       enum sheet_format format, struct failure *failure) {
    cleanup(json_decrefp) json_t *jobs = json_array();

    for (int i = 0; i < c->n; i++)
        if (json_array_append(jobs, c->sides[i].job))
            return failure_oom(failure);
    return rows_print(client, jobs, format, true, failure);
}

static int compare(struct client *client, struct comparison *c, enum sheet_format format,
                   struct failure *failure) {
    const struct terminal *terminal = &client->terminal;
    int r;

    if (format != SHEET_NONE)
        return print_sheet(client, c, format, failure);

    if (client->json)
        return print_json(c, failure);
    c->rows = json_array();
    r = add_rows(c);
    if (!r && c->n < TABLE_COLUMNS_MAX &&
        LABEL_LEAST + c->n * (MAX(c->widest, COLUMN_LEAST) + 2) <= terminal->width)
        r = print_table(terminal, c);
    else if (!r)
        r = print_blocks(terminal, c);
    return r ? failure_oom(failure) : EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    struct comparison c = {.utf8 = client->terminal.utf8};
    enum sheet_format format;
    int r = rows_format(args, &format, failure);
    cleanup(json_decrefp) json_t *ids = NULL;

    if (!r)
        r = group_ids(client, args, &ids, failure);
    if (!r && (json_array_size(ids) < 2 || json_array_size(ids) > ARRAY_SIZE(c.sides)))
        return failure_set(failure, -EINVAL, "usage", "name some of the jobs by their ids",
                           "compare takes 2 to %zu jobs, not %zu", ARRAY_SIZE(c.sides),
                           json_array_size(ids));
    for (size_t i = 0; i < json_array_size(ids) && !r; i++, c.n++)
        r = get_side(client, json_array_get(ids, i), &c.sides[i], failure);
    if (!r)
        r = compare(client, &c, format, failure);
    for (int i = 0; i < c.n; i++) {
        json_decref(c.sides[i].job);
        json_decref(c.sides[i].layers);
        json_decref(c.sides[i].windows);
    }
    json_decref(c.rows);
    return r;
}

const struct verb verb_compare = {
    .name = "compare",
    .usage = "ID|GROUP...",
    .summary = "compare jobs: parameters that differ, results",
    .table = {options, ARRAY_SIZE(options)},
    .details = "Perplexities are compared with those of the unquantized model, when they\n"
               "are known, and in pairs of windows with those of the first job.\n",
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
