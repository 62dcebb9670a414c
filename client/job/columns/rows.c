// SPDX-License-Identifier: Apache-2.0
#include "client/job/columns/rows.h"

#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/job/columns/parameters.h"
#include "client/job/job.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

int rows_format(const struct args *args, enum sheet_format *ret_format, struct failure *failure) {
    bool csv = args_has(args, "csv"), markdown = args_has(args, "markdown");

    if (csv + markdown + args_has(args, "json") > 1)
        return failure_set(failure, -EINVAL, "usage", "choose one of them",
                           "options '--csv', '--markdown' and '--json' exclude each other");
    *ret_format = csv ? SHEET_CSV : markdown ? SHEET_MARKDOWN : SHEET_NONE;
    return 0;
}

/* A cell, owned by the caller; NULL when out of memory. @plain: figures for a program. */
struct column {
    const char *title;
    json_t *(*cell)(const json_t *job, const char *key, bool plain);
    const char *key;
    bool is_parameter;
};

static json_t *member(const json_t *job, const char *key, bool plain) {
    (void)plain;
    return parameter_text(json_object_get(job, key));
}

static json_t *parameter(const json_t *job, const char *key, bool plain) {
    (void)plain;
    return parameter_text(json_object_get(json_object_get(job, "params"), key));
}

static json_t *labels(const json_t *job, const char *key, bool plain) {
    json_t *all = json_object_get(job, "labels"), *value, *cell;
    cleanup(freep) char *text = NULL;
    struct strbuf buf = {};
    const char *name;

    (void)key, (void)plain;
    json_object_foreach(all, name, value) {
        if (json_is_string(value))
            strbuf_printf(&buf, "%s%s=%s", buf.length ? " " : "", name, json_string_value(value));
    }
    text = strbuf_steal(&buf);
    cell = json_string(text ? text : "");
    return cell;
}

static json_t *size(const json_t *job, const char *key, bool plain) {
    const json_t *value = json_object_get(json_object_get(job, "result"), key);
    char text[TEXT_SIZE];

    if (plain || !(json_number_value(value) > 0))
        return parameter_text(value);
    bytes_text(json_number_value(value), text);
    return json_string(text);
}

static json_t *bits_per_weight(const json_t *job, const char *key, bool plain) {
    const json_t *value = json_object_get(json_object_get(job, "result"), key);

    return plain || !json_is_number(value) ? parameter_text(value)
                                           : json_sprintf("%.2f", json_number_value(value));
}

static json_t *seconds(const json_t *job, const char *key, bool plain) {
    const json_t *all = json_object_get(json_object_get(job, "result"), "seconds");
    double value = answer_number(all, key);
    char text[TEXT_SIZE];

    text_duration(value, text);
    return plain || !isfinite(value) ? parameter_text(json_object_get(all, key))
                                     : json_string(text);
}

/* What comes before the parameters, and after them. */
static const struct column heads[] = {
    {"job", member, "id"},
    {"name", member, "name"},
    {"status", member, "status"},
    {"kind", member, "kind"},
    {"owner", member, "owner"},
    {"labels", labels},
    {"created", member, "created_at"},
};

static const struct column results[] = {
    {"bits per weight", bits_per_weight, "bits_per_weight"},
    {"size", size, "size_bytes"},
    {"time", seconds, "total"},
};

/* Column @i: the heads, the parameters, the results. Return: false when there are no more. */
static bool column_at(size_t i, struct column *ret_column) {
    const struct parameter *p;
    size_t n = 0;

    if (i < ARRAY_SIZE(heads)) {
        *ret_column = heads[i];
        return true;
    }
    i -= ARRAY_SIZE(heads);
    p = parameter_at(i);
    if (p) {
        *ret_column = (struct column){p->title, parameter, p->key, true};
        return true;
    }
    while (parameter_at(n))
        n++;
    if (i - n >= ARRAY_SIZE(results))
        return false;
    *ret_column = results[i - n];
    return true;
}

/* What says little in a paper; Markdown leaves it out. The sets have columns of their own. */
static bool is_for_programs(const char *title) {
    static const char *const titles[] = {"status",  "kind", "owner",
                                         "created", "sets", "difference"};

    for (size_t i = 0; i < ARRAY_SIZE(titles); i++)
        if (str_equal(titles[i], title))
            return true;
    return false;
}

static const json_t *perplexities(const json_t *job) {
    return json_object_get(json_object_get(job, "result"), "perplexity");
}

double rows_perplexity(const json_t *job, const char **ret_set) {
    json_t *all = (json_t *)perplexities(job);
    const char *set = json_object_get(all, "wikitext2")
                          ? "wikitext2"
                          : json_object_iter_key(json_object_iter(all));

    if (ret_set)
        *ret_set = set;
    return set ? answer_number(json_object_get(all, set), "value") : NAN;
}

static int add_column(json_t *table, const json_t *jobs, const struct column *column, bool plain) {
    json_t *job, *cell;
    size_t i;

    if (json_array_append_new(json_array_get(table, 0), json_string(column->title)))
        return -ENOMEM;
    json_array_foreach(jobs, i, job) {
        cell = column->cell(job, column->key, plain);
        if (json_array_append_new(json_array_get(table, i + 1), cell))
            return -ENOMEM;
    }
    return 0;
}

/* Is a parameter used by any of the jobs, or with @compared not the same in all? */
static bool is_telling(const json_t *jobs, const char *key, bool compared) {
    const json_t *first = json_object_get(json_array_get(jobs, 0), "params"), *job;
    size_t i;

    json_array_foreach(jobs, i, job) {
        const json_t *value = json_object_get(json_object_get(job, "params"), key);

        if (parameter_differs(key, value, compared ? json_object_get(first, key) : NULL))
            return true;
    }
    return false;
}

/* Is it worth a column in Markdown? */
static bool says_something(const json_t *jobs, const struct column *column, bool compared) {
    bool any = false;
    json_t *job;
    size_t i;

    if (is_for_programs(column->title))
        return false;
    if (column->is_parameter)
        return is_telling(jobs, column->key, compared);
    json_array_foreach(jobs, i, job) {
        json_t *cell = column->cell(job, column->key, false);

        any |= cell && json_string_value(cell)[0];
        json_decref(cell);
    }
    return any;
}

static json_t *perplexity_cell(const json_t *job, const char *set, bool plain) {
    const json_t *value = json_object_get(json_object_get(perplexities(job), set), "value");
    char text[TEXT_SIZE];

    text_perplexity(json_number_value(value), text);
    return plain || !json_is_number(value) ? parameter_text(value) : json_string(text);
}

/* In per cent of the unquantized model, when its perplexity is known. */
static json_t *change_cell(const json_t *job, const char *set) {
    double value = answer_number(json_object_get(perplexities(job), set), "value");
    double base = answer_number(json_object_get(json_object_get(job, "result"), "baseline"), set);

    return isfinite(value) && base > 0 ? json_sprintf("%+.2f", (value / base - 1) * 100)
                                       : json_string("");
}

static const json_t *divergence(const json_t *job, const char *set) {
    return json_object_get(
        json_object_get(json_object_get(json_object_get(job, "result"), "difference"), set),
        "kl_mean");
}

double rows_divergence(const json_t *job) {
    const char *set;

    rows_perplexity(job, &set);
    return set && json_is_number(divergence(job, set)) ? json_number_value(divergence(job, set))
                                                       : NAN;
}

/* The divergence from the original, when any job has one. */
static int add_divergence(json_t *table, const json_t *jobs, const char *set, bool plain) {
    bool any = false;
    json_t *job;
    size_t i;

    json_array_foreach(jobs, i, job) any |= divergence(job, set) != NULL;
    if (!any)
        return 0;
    if (json_array_append_new(json_array_get(table, 0), json_sprintf("%s divergence", set)))
        return -ENOMEM;
    json_array_foreach(jobs, i, job) {
        const json_t *value = divergence(job, set);
        json_t *cell = plain || !value ? parameter_text(value)
                                       : json_sprintf("%.4f", json_number_value(value));

        if (json_array_append_new(json_array_get(table, i + 1), cell))
            return -ENOMEM;
    }
    return 0;
}

static int add_set(json_t *table, const json_t *jobs, const char *set, bool plain) {
    const json_t *job;
    size_t i;

    if (json_array_append_new(json_array_get(table, 0), json_string(set)) ||
        json_array_append_new(json_array_get(table, 0), json_sprintf("%s change %%", set)))
        return -ENOMEM;
    json_array_foreach(jobs, i, job) {
        json_t *row = json_array_get(table, i + 1);

        if (json_array_append_new(row, perplexity_cell(job, set, plain)) ||
            json_array_append_new(row, change_cell(job, set)))
            return -ENOMEM;
    }
    return add_divergence(table, jobs, set, plain);
}

/* Two or three columns for each set that any of the jobs has measured, in the order in which they
 * come. */
static int add_sets(json_t *table, const json_t *jobs, bool plain) {
    cleanup(json_decrefp) json_t *sets = json_object();
    const char *set;
    json_t *job, *value;
    size_t i;

    json_array_foreach(jobs, i, job) {
        json_object_foreach((json_t *)perplexities(job), set, value) {
            if (json_object_set_new(sets, set, json_null()))
                return -ENOMEM;
        }
    }
    json_object_foreach(sets, set, value) {
        if (add_set(table, jobs, set, plain))
            return -ENOMEM;
    }
    return 0;
}

int rows_print(const struct client *client, const json_t *jobs, enum sheet_format format,
               bool compared, struct failure *failure) {
    cleanup(json_decrefp) json_t *table = json_array();
    bool plain = format == SHEET_CSV;
    struct column column;
    int r = 0;

    for (size_t i = 0; i <= json_array_size(jobs) && !r; i++)
        r = json_array_append_new(table, json_array());
    for (size_t i = 0; !r && column_at(i, &column); i++)
        if (plain || says_something(jobs, &column, compared))
            r = add_column(table, jobs, &column, plain);
    if (!r)
        r = add_sets(table, jobs, plain);
    if (!r)
        r = sheet_print(client->terminal.file, format, table);
    return r ? failure_oom(failure) : 0;
}
