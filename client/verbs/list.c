// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/job/columns/rows.h"
#include "client/job/job.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIMIT_DEFAULT 20
#define JOBS_MAX 100000
#define WIDE 105  /* terminals that are wider show all columns */
#define MIDDLE 60 /* and those up to here only what came out */

static const struct arg_option options[] = {
    {"status", "S",
     "only jobs that are queued, running, cancelling, succeeded, failed or cancelled"},
    {"owner", "O", "only the jobs of this user"},
    {"limit", "N", "the newest N jobs; 20 by default"},
    {"all", NULL, "all jobs"},
    {"label", "KEY=VALUE", "only jobs with this label; may be given several times"},
    {"group", "N", "only the jobs of this group"},
    {"method", "M", "only jobs that quantize by this method"},
    {"sort", "KEY",
     "perplexity, divergence, bits, size, time (the least first) or priority (the highest "
     "first)"},
    SHEET_OPTIONS,
};

/* ---- what quantd is asked for ---- */

/* How long it has run, or ran; NAN: it waits. */
static double run_seconds(const json_t *job) {
    double started = answer_time(job, "started_at"), finished = answer_time(job, "finished_at");

    if (!isfinite(started) || str_equal(answer_text(job, "status"), "queued"))
        return NAN;
    return fmax((isfinite(finished) ? finished : (double)time(NULL)) - started, 0);
}

static double size_of(const json_t *job) {
    return answer_number(json_object_get(job, "result"), "size_bytes");
}

static double priority_of(const json_t *job) {
    return -answer_number(job, "priority");
}

static const struct sort_key {
    const char *name;
    double (*value)(const json_t *job); /* the least first, NAN last; NULL: quantd sorts */
} sort_keys[] = {
    {"perplexity"},    {"divergence", rows_divergence}, {"bits"},
    {"size", size_of}, {"time", run_seconds},           {"priority", priority_of},
};

static int find_key(const struct args *args, const struct sort_key **ret_key,
                    struct failure *failure) {
    const char *name = args_get(args, "sort");

    *ret_key = NULL;
    for (size_t i = 0; name && i < ARRAY_SIZE(sort_keys); i++)
        if (str_equal(sort_keys[i].name, name))
            *ret_key = &sort_keys[i];
    if (name && !*ret_key)
        return failure_set(failure, -EINVAL, "usage",
                           "sort by perplexity, divergence, bits, size, time or priority",
                           "cannot sort by '%s'", name);
    return 0;
}

/* How many labels the command line names. */
static int count_labels(const struct args *args) {
    int n = 0;

    for (int i = 0; i < args->n_given; i++)
        n += str_equal(args->given[i].option->name, "label");
    return n;
}

/* Can quantd do all of the choosing and sorting, so that only what is shown need come? */
static bool quantd_chooses(const struct args *args, const struct sort_key *key) {
    return count_labels(args) <= 1 && (!key || !key->value);
}

static void put_filters(struct strbuf *buf, const struct args *args, const struct sort_key *key) {
    static const char *const filters[] = {"status", "owner", "method", "label", "group"};

    for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
        if (args_get(args, filters[i])) {
            strbuf_printf(buf, "&%s=", filters[i]);
            text_escape(buf, args_get(args, filters[i]));
        }
    if (key && !key->value)
        strbuf_printf(buf, "&sort=%s", key->name);
}

/* The next part of the list goes to @jobs. *ret_more: it is not the last. */
static int get_part(struct client *client, const struct args *args, const struct sort_key *key,
                    int64_t after, uint64_t limit, json_t *jobs, bool *ret_more,
                    struct failure *failure) {
    cleanup(json_decrefp) json_t *list = NULL;
    cleanup(freep) char *path = NULL;
    struct strbuf buf = {};
    int r;

    strbuf_printf(&buf, "/v1/jobs?limit=%" PRIu64, MIN(limit, (uint64_t)WIRE_LIMIT_MAX));
    if (after)
        strbuf_printf(&buf, "&after=%" PRId64, after);
    put_filters(&buf, args, key);
    path = strbuf_steal(&buf);
    if (!path)
        return failure_oom(failure);
    r = http_get(client->http, path, &list, failure);
    if (r)
        return r;
    *ret_more = json_is_true(json_object_get(list, "has_more"));
    if (!json_is_array(json_object_get(list, "data")))
        return failure_set(failure, -EPROTO, "bad_answer",
                           "check that this is the address of quantd",
                           "invalid answer from '%s': it is not a list", http_server(client->http));
    if (json_array_extend(jobs, json_object_get(list, "data")))
        return failure_oom(failure);
    return 0;
}

static int get_jobs(struct client *client, const struct args *args, const struct sort_key *key,
                    uint64_t limit, json_t *jobs, bool *ret_more, struct failure *failure) {
    int64_t after = 0;

    *ret_more = true;
    while (*ret_more && json_array_size(jobs) < limit) {
        size_t before = json_array_size(jobs);
        int r = get_part(client, args, key, after, limit - before, jobs, ret_more, failure);
        int64_t last;

        if (r)
            return r;
        last = job_id(json_array_get(jobs, json_array_size(jobs) - 1));
        /* Unsorted ids fall from part to part: stop when a server repeats itself. */
        if (json_array_size(jobs) == before || last == 0 || last == after ||
            (after && last > after && (!key || key->value)))
            break;
        after = last;
    }
    return 0;
}

/* The columns, in their order; narrow terminals lack some. */
enum {
    COLUMN_ID,
    COLUMN_STATUS,
    COLUMN_KIND,
    COLUMN_MODEL,
    COLUMN_BITS,
    COLUMN_METHOD,
    COLUMN_PERPLEXITY,
    COLUMN_OWNER,
    COLUMN_AGE,
    COLUMN_TOOK,
    COLUMN_NAME,
    N_COLUMNS,
};

/* "in slurm: Priority, starts in 12m": what it waits for there, and how long, where that is known.
 */
static void add_wait(struct table *table, const json_t *engine) {
    double starts = answer_time(engine, "starts_at") - (double)time(NULL);
    const char *reason = answer_text(engine, "reason");
    char text[TEXT_SIZE];

    text_duration(starts, text);
    table_cell(table, "in %s%s%s%s%s", answer_text(engine, "name"), reason[0] ? ": " : "", reason,
               starts > 0 ? ", starts in " : "", starts > 0 ? text : "");
}

static void add_status(struct table *table, const json_t *job) {
    double fraction = answer_number(json_object_get(job, "progress"), "fraction");
    const char *node = answer_text(json_object_get(job, "engine"), "node");
    const char *status = answer_text(job, "status");
    bool queued = str_equal(status, "queued");

    if (job_waits_on_cluster(job))
        add_wait(table, json_object_get(job, "engine"));
    else if (str_equal(status, "running") && isfinite(fraction) && node[0])
        table_cell(table, "%s %.0f %% on %s", status, fraction * 100, node);
    else if (str_equal(status, "running") && isfinite(fraction))
        table_cell(table, "%s %.0f %%", status, fraction * 100);
    else if (queued && json_is_true(json_object_get(job, "held")))
        table_cell(table, "held");
    else if (json_is_object(json_object_get(job, "paused")))
        table_cell(table, "paused");
    else if (queued && isfinite(fraction))
        table_cell(table, "pull %.0f %%", fraction * 100);
    else if (queued && answer_int(job, "queue_position", 0) > 0)
        table_cell(table, "%s #%" PRId64, status, answer_int(job, "queue_position", 0));
    else
        table_cell(table, "%s", status);
}

static void add_row(struct table *table, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    double created = answer_time(job, "created_at"), seconds = run_seconds(job);
    double perplexity = rows_perplexity(job, NULL);
    cleanup(freep) char *model = job_model(job);
    int64_t wbits = answer_int(params, "wbits", 0);
    bool quantizes = wbits > 0 && wbits < 16;
    char age[TEXT_SIZE], took[TEXT_SIZE], figure[TEXT_SIZE], bits[TEXT_SIZE];

    text_age(isfinite(created) ? fmax((double)time(NULL) - created, 0) : NAN, age);
    text_duration(seconds, took);
    text_perplexity(perplexity, figure);
    snprintf(bits, sizeof(bits), "%" PRId64, wbits);
    table_cell(table, "%" PRId64, job_id(job));
    add_status(table, job);
    table_cell(table, "%s", answer_text(job, "kind"));
    table_cell(table, "%s", model ? model : "");
    table_cell(table, "%s", quantizes ? bits : "");
    table_cell(table, "%s", quantizes ? answer_text(params, "method") : "");
    table_cell(table, "%s", isfinite(perplexity) ? figure : "");
    table_cell(table, "%s", answer_text(job, "owner"));
    table_cell(table, "%s", age);
    table_cell(table, "%s", isfinite(seconds) ? took : "");
    table_cell(table, "%s", answer_text(job, "name"));
}

static int print_jobs(const struct client *client, const json_t *jobs, bool more, bool sorted,
                      struct failure *failure) {
    static const int wide[] = {COLUMN_KIND, COLUMN_METHOD, COLUMN_TOOK};
    static const int middle[] = {COLUMN_OWNER, COLUMN_AGE, COLUMN_NAME};
    struct table_column columns[N_COLUMNS] = {
        [COLUMN_ID] = {"id", true},
        [COLUMN_STATUS] = {"status"},
        [COLUMN_KIND] = {"kind"},
        [COLUMN_MODEL] = {"model", false, true},
        [COLUMN_BITS] = {"bits", true},
        [COLUMN_METHOD] = {"method"},
        [COLUMN_PERPLEXITY] = {"perplexity", true},
        [COLUMN_OWNER] = {"owner", false, true},
        [COLUMN_AGE] = {"age", true},
        [COLUMN_TOOK] = {"took", true},
        [COLUMN_NAME] = {"name", false, true},
    };
    struct table table;
    json_t *job;
    size_t i;
    int r;

    if (json_array_size(jobs) == 0) {
        fprintf(client->terminal.file, "no jobs\n");
        return EXIT_OK;
    }
    for (i = 0; i < ARRAY_SIZE(wide) && client->terminal.width <= WIDE; i++)
        columns[wide[i]].title = NULL;
    for (i = 0; i < ARRAY_SIZE(middle) && client->terminal.width <= MIDDLE; i++)
        columns[middle[i]].title = NULL;
    if (client->terminal.width <= MIDDLE)
        columns[COLUMN_PERPLEXITY].title = "ppl";
    table_init(&table, columns, N_COLUMNS);
    json_array_foreach(jobs, i, job) {
        add_row(&table, job);
        /* the cluster's own names and reasons may be long */
        if (json_is_object(json_object_get(job, "engine")))
            table.columns[COLUMN_STATUS].shrinks = true;
    }
    r = table_print(&table, &client->terminal);
    table_done(&table);
    if (more)
        fprintf(client->terminal.file, "%s jobs are left out; --all shows them\n",
                sorted ? "more" : "older");
    return r ? failure_oom(failure) : EXIT_OK;
}

/* ---- choosing and sorting, where quantd cannot ---- */

/* Has the job every label that the command line names? */
static bool has_labels(const struct args *args, const json_t *job) {
    const json_t *labels = json_object_get(job, "labels");

    for (int i = 0; i < args->n_given; i++) {
        const char *label = args->given[i].value;
        cleanup(freep) char *key = NULL;

        if (!str_equal(args->given[i].option->name, "label"))
            continue;
        key = strndup(label, strcspn(label, "="));
        if (!key || !json_object_get(labels, key) ||
            !str_equal(answer_text(labels, key), label + strcspn(label, "=") + 1))
            return false;
    }
    return true;
}

static int check_labels(const struct args *args, struct failure *failure) {
    for (int i = 0; i < args->n_given; i++)
        if (str_equal(args->given[i].option->name, "label") && !strchr(args->given[i].value, '='))
            return failure_set(failure, -EINVAL, "usage", "write it as --label KEY=VALUE",
                               "option '--label' takes KEY=VALUE, not '%s'", args->given[i].value);
    return 0;
}

static int compare_jobs(const void *a, const void *b, void *key) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    double u = ((const struct sort_key *)key)->value(x),
           v = ((const struct sort_key *)key)->value(y);

    if (isnan(u) || isnan(v) || u == v)
        return isnan(u) != isnan(v) ? (isnan(u) ? 1 : -1) : job_id(x) < job_id(y) ? 1 : -1;
    return u < v ? -1 : 1;
}

/* Of all @jobs the first @limit that have the labels, in order; owned by the caller, or NULL. */
static json_t *choose(const struct args *args, const json_t *jobs, const struct sort_key *key,
                      uint64_t limit, bool *ret_more) {
    cleanup(freep) json_t **at = calloc(json_array_size(jobs) + 1, sizeof(json_t *));
    cleanup(json_decrefp) json_t *chosen = json_array();
    size_t n = 0, i;
    json_t *job;

    if (!at)
        return NULL;
    json_array_foreach(jobs, i, job) {
        if (has_labels(args, job))
            at[n++] = job;
    }
    if (key && key->value)
        qsort_r(at, n, sizeof(json_t *), compare_jobs, (void *)key);
    for (i = 0; i < n && i < limit; i++)
        if (json_array_append(chosen, at[i]))
            return NULL;
    *ret_more |= n > limit;
    return steal_ptr(chosen);
}

static int print(struct client *client, const json_t *jobs, bool more, bool sorted,
                 enum sheet_format format, struct failure *failure) {
    if (format != SHEET_NONE)
        return rows_print(client, jobs, format, false, failure);
    if (client->json) {
        cleanup(json_decrefp) json_t *list =
            json_pack("{s:s s:O s:b}", "object", "list", "data", jobs, "has_more", more);

        return list ? client_print_json(list, failure) : failure_oom(failure);
    }
    return print_jobs(client, jobs, more, sorted, failure);
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    uint64_t limit = args_has(args, "all") ? JOBS_MAX : LIMIT_DEFAULT;
    cleanup(json_decrefp) json_t *jobs = json_array(), *chosen = NULL;
    enum sheet_format format = SHEET_NONE;
    const struct sort_key *key = NULL;
    bool more = false;
    int r;

    r = args_u64(args, "limit", JOBS_MAX, &limit, failure);
    if (!r)
        r = rows_format(args, &format, failure);
    if (!r)
        r = find_key(args, &key, failure);
    if (!r)
        r = check_labels(args, failure);
    if (!r)
        r = get_jobs(client, args, key, quantd_chooses(args, key) ? limit : JOBS_MAX, jobs, &more,
                     failure);
    if (r)
        return r;
    chosen = choose(args, jobs, key, limit, &more);
    return chosen ? print(client, chosen, more, key != NULL, format, failure)
                  : failure_oom(failure);
}

const struct verb verb_list = {
    .name = "list",
    .usage = "",
    .summary = "list the jobs, newest first",
    .table = {options, ARRAY_SIZE(options)},
    .run = run,
};
