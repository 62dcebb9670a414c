// SPDX-License-Identifier: Apache-2.0
#include "client/job/group/group.h"

#include "api/wire.h"
#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/job/columns/parameters.h"
#include "client/job/job.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define OWN_COLUMNS_MAX 4 /* parameters that differ have columns of their own up to here */
#define RESULT_COLUMNS 7
#define MIDDLE 90 /* terminals that are wider show the time too */

int group_get(struct client *client, uint64_t id, json_t **ret_group, struct failure *failure) {
    json_t *group = NULL;
    char path[64];
    int r;

    snprintf(path, sizeof(path), GROUP_PATH "/%" PRIu64, id);
    r = http_get(client->http, path, &group, failure);
    if (r)
        return r;
    if (!json_is_array(json_object_get(group, "members"))) {
        json_decref(group);
        return failure_set(
            failure, -EPROTO, "bad_answer", "check that this is the address of quantd",
            "invalid answer from '%s': it is not a group", http_server(client->http));
    }
    *ret_group = group;
    return 0;
}

bool group_has_ended(const json_t *group) {
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i,
                       member) if (!job_has_ended(member)) return false;
    return true;
}

/* What @value sets; "none" of an empty list, or when it is null. */
static const char *shown_value(const json_t *value) {
    return json_string_length(value) ? json_string_value(value) : "none";
}

char *group_values(const json_t *member) {
    json_t *values = json_object_get(member, "values"), *value;
    struct strbuf text = {};
    const char *key;
    char *shown;

    strbuf_puts(&text, "");
    json_object_foreach(values, key, value) {
        cleanup(json_decrefp) json_t *one = parameter_text(value);

        strbuf_printf(&text, "%s%s %s", text.length ? ", " : "", parameter_title(key),
                      shown_value(one));
    }
    shown = strbuf_steal(&text);
    if (shown)
        text_clean(shown);
    return shown;
}

/* ---- figures ---- */

/* @wanted if @member has measured it, else its first set; "": it has none. */
static const char *member_set(const json_t *member, const char *wanted) {
    json_t *sets = json_object_get(member, "perplexity");
    const char *first = json_object_iter_key(json_object_iter(sets));

    return json_object_get(sets, wanted) ? wanted : first ? first : "";
}

/* wikitext2, else the first set that a job has measured; "": none has. */
static const char *set_of(const json_t *group) {
    const char *first = "";
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i, member) {
        const char *set = member_set(member, "wikitext2");

        if (str_equal(set, "wikitext2"))
            return set;
        if (!first[0])
            first = set;
    }
    return first;
}

static double figure(const json_t *member, const char *object, const char *set, const char *name) {
    return answer_number(json_object_get(json_object_get(member, object), set), name);
}

/* Of a job, or of a member. */
static double size_of(const json_t *object) {
    const json_t *result = json_object_get(object, "result");

    return answer_number(result ? result : object, "size_bytes");
}

/* The smallest first, those without a size last, in the order of submission. */
static int compare(const void *a, const void *b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    double u = size_of(x), v = size_of(y);

    if (isfinite(u) != isfinite(v))
        return isfinite(u) ? -1 : 1;
    if (isfinite(u) && u != v)
        return u < v ? -1 : 1;
    return job_id(x) < job_id(y) ? -1 : 1;
}

/* Jobs or members in that order, in an array of the caller; NULL when out of memory. */
static json_t *sorted(const json_t *list) {
    size_t n = json_array_size(list);
    cleanup(freep) json_t **at = calloc(n + 1, sizeof(json_t *));
    cleanup(json_decrefp) json_t *all = json_array();

    if (!at)
        return NULL;
    for (size_t i = 0; i < n; i++)
        at[i] = json_array_get(list, i);
    qsort(at, n, sizeof(json_t *), compare);
    for (size_t i = 0; i < n; i++)
        if (json_array_append(all, at[i]))
            return NULL;
    return steal_ptr(all);
}

/* ---- the table ---- */

static void number_cell(struct table *table, const char *format, double value) {
    char text[TEXT_SIZE] = "";

    if (isfinite(value))
        snprintf(text, sizeof(text), format, value);
    table_cell(table, "%s", text);
}

static void add_values(struct table *table, const json_t *group, const json_t *member) {
    json_t *varies = json_object_get(group, "varies"), *name;
    size_t i;

    if (json_array_size(varies) > OWN_COLUMNS_MAX) {
        cleanup(freep) char *all = group_values(member);

        table_cell(table, "%s", all ? all : "");
        return;
    }
    json_array_foreach(varies, i, name) {
        const char *key = json_string_value(name) ? json_string_value(name) : "";
        cleanup(json_decrefp) json_t *value =
            parameter_text(json_object_get(json_object_get(member, "values"), key));

        table_cell(table, "%s", value ? json_string_value(value) : "");
    }
}

static void add_member(struct table *table, const json_t *group, const json_t *member,
                       const char *wanted) {
    const char *set = member_set(member, wanted);
    double size = answer_number(member, "size_bytes"), seconds = answer_number(member, "seconds");
    double perplexity = figure(member, "perplexity", set, "value");
    const char *status = answer_text(member, "status");
    char text[TEXT_SIZE];

    table_cell(table, "%" PRId64, job_id(member));
    add_values(table, group, member);
    number_cell(table, "%.2f", answer_number(member, "bits_per_weight"));
    bytes_text(size, text);
    table_cell(table, "%s", isfinite(size) ? text : "");
    text_perplexity(perplexity, text);
    table_cell(table, "%s", isfinite(perplexity) ? text : "");
    number_cell(table, "%.4f", figure(member, "difference", set, "kl_mean"));
    text_duration(seconds, text);
    table_cell(table, "%s", isfinite(seconds) ? text : "");
    table_cell(table, "%s",
               json_is_true(json_object_get(member, "pareto")) ? "*"
               : str_equal(status, "succeeded")                ? ""
                                                               : status);
}

/* Return: how many there are. */
static int make_columns(const json_t *group, int width,
                        struct table_column columns[TABLE_COLUMNS_MAX]) {
    static const struct table_column results[] = {{"mean bits", true},  {"size", true},
                                                  {"perplexity", true}, {"divergence", true},
                                                  {"time", true},       {""}};
    json_t *varies = json_object_get(group, "varies"), *name;
    int n = 0;
    size_t i;

    columns[n++] = (struct table_column){"job", true};
    if (json_array_size(varies) > OWN_COLUMNS_MAX)
        columns[n++] = (struct table_column){"differs", false, true};
    else
        json_array_foreach(varies, i, name) columns[n++] = (struct table_column){
            parameter_title(json_string_value(name) ? json_string_value(name) : ""), true, true};
    for (i = 0; i < ARRAY_SIZE(results); i++)
        columns[n++] = results[i];
    if (width < MIDDLE)
        columns[n - 2].title = NULL; /* the time */
    return n;
}

_Static_assert(1 + OWN_COLUMNS_MAX + RESULT_COLUMNS <= TABLE_COLUMNS_MAX, "all columns fit");

static int print_errors(const struct terminal *terminal, const json_t *members) {
    json_t *member;
    size_t i;

    json_array_foreach(members, i, member) {
        cleanup(freep) char *detail =
            text_cleaned(answer_text(json_object_get(member, "error"), "detail"));

        if (!detail)
            return -ENOMEM;
        if (detail[0])
            fprintf(terminal->file, "job %" PRId64 " failed: %s\n", job_id(member), detail);
    }
    return 0;
}

int group_table(const struct client *client, const json_t *group, struct failure *failure) {
    cleanup(json_decrefp) json_t *members = sorted(json_object_get(group, "members"));
    struct table_column columns[TABLE_COLUMNS_MAX];
    const char *set = set_of(group);
    bool any = false, others = false;
    struct table table;
    json_t *member;
    size_t i;
    int r, n = make_columns(group, client->terminal.width, columns);

    if (!members)
        return failure_oom(failure);
    table_init(&table, columns, n);
    json_array_foreach(members, i, member) {
        add_member(&table, group, member, set);
        any |= json_is_true(json_object_get(member, "pareto"));
        others |= member_set(member, set)[0] && !str_equal(member_set(member, set), set);
    }
    r = table_print(&table, &client->terminal);
    table_done(&table);
    if (!r)
        r = print_errors(&client->terminal, members);
    if (set[0] && !r) {
        cleanup(freep) char *shown = text_cleaned(set);

        fprintf(client->terminal.file, "perplexity and divergence on %s%s%s\n", shown ? shown : "",
                others ? ", or else on the first set of the job" : "",
                !any     ? ""
                : others ? "\n*: no other is both smaller and better"
                         : "; *: no other is both smaller and better");
    }
    return r ? failure_oom(failure) : 0;
}

int group_show(const struct client *client, const json_t *group, struct failure *failure) {
    const struct terminal *terminal = &client->terminal;
    cleanup(freep) char *name = text_cleaned(answer_text(group, "name"));
    const json_t *counts = json_object_get(group, "counts");
    char text[TEXT_SIZE];

    if (!name)
        return failure_oom(failure);
    fprintf(terminal->file, "%sgroup %" PRId64 "%s%s%s\n", terminal_style(terminal, STYLE_BOLD),
            job_id(group), name[0] ? ": " : "", name, terminal_style(terminal, STYLE_PLAIN));
    label_print(terminal, "status",
                "%s; %" PRId64 " succeeded, %" PRId64 " failed, %" PRId64 " cancelled, %" PRId64
                " to come",
                answer_text(group, "status"), answer_int(counts, "succeeded", 0),
                answer_int(counts, "failed", 0), answer_int(counts, "cancelled", 0),
                answer_int(counts, "queued", 0) + answer_int(counts, "running", 0) +
                    answer_int(counts, "cancelling", 0));
    label_print(terminal, "owner", "%s", answer_text(group, "owner"));
    label_print(terminal, "model", "%s", answer_text(group, "model"));
    text_duration(answer_number(group, "seconds"), text);
    if (answer_number(group, "seconds") > 0)
        label_print(terminal, "time", "%s in all", text);
    if (json_is_true(json_object_get(group, "private")))
        label_print(terminal, "private", "only its owner and admins see it");
    fputc('\n', terminal->file);
    return group_table(client, group, failure);
}

int group_jobs(struct client *client, uint64_t id, json_t **ret_jobs, struct failure *failure) {
    cleanup(json_decrefp) json_t *group = NULL, *list = NULL;
    char path[96];
    int r = group_get(client, id, &group, failure);

    snprintf(path, sizeof(path), "/v1/jobs?group=%" PRIu64 "&limit=%d", id, WIRE_LIMIT_MAX);
    if (!r)
        r = http_get(client->http, path, &list, failure);
    if (r)
        return r;
    *ret_jobs = sorted(json_object_get(list, "data"));
    return *ret_jobs ? 0 : failure_oom(failure);
}

/* One that is there already is not added. */
static int add_id(json_t *ids, int64_t id, struct failure *failure) {
    json_t *other;
    size_t i;

    json_array_foreach(ids, i, other) {
        if (json_integer_value(other) == id)
            return 0;
    }
    return json_array_append_new(ids, json_integer(id)) ? failure_oom(failure) : 0;
}

/* The jobs that one word names. */
static int add_ids(struct client *client, const char *word, json_t *ids, struct failure *failure) {
    cleanup(json_decrefp) json_t *jobs = NULL;
    json_t *job;
    uint64_t id;
    size_t i;
    int r;

    if (!args_group_id(word, &id)) {
        r = args_job_id(word, &id, failure);
        return r ? r : add_id(ids, (int64_t)id, failure);
    }
    r = group_jobs(client, id, &jobs, failure);
    json_array_foreach(jobs, i, job) {
        if (!r)
            r = add_id(ids, job_id(job), failure);
    }
    return r;
}

int group_ids(struct client *client, const struct args *args, json_t **ret_ids,
              struct failure *failure) {
    cleanup(json_decrefp) json_t *ids = json_array();
    int r = ids ? 0 : failure_oom(failure);

    for (int i = 0; i < args->n_positional && !r; i++)
        r = add_ids(client, args->positional[i], ids, failure);
    if (!r)
        *ret_ids = steal_ptr(ids);
    return r;
}
