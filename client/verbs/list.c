// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/job/job.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <time.h>

#define LIMIT_DEFAULT 20
#define JOBS_MAX 100000

static const struct arg_option options[] = {
    {"status", "S",
     "only jobs that are queued, running, cancelling, succeeded, failed or cancelled"},
    {"owner", "O", "only the jobs of this user"},
    {"limit", "N", "the newest N jobs; 20 by default"},
    {"all", NULL, "all jobs"},
};

/* The next part of the list goes to @jobs. *ret_more: it is not the last. */
static int get_part(struct client *client, const struct args *args, int64_t after, uint64_t limit,
                    json_t *jobs, bool *ret_more, struct failure *failure) {
    static const char *const filters[] = {"status", "owner"};
    cleanup(json_decrefp) json_t *list = NULL;
    cleanup(freep) char *path = NULL;
    struct strbuf buf = {};
    int r;

    strbuf_printf(&buf, "/v1/jobs?limit=%" PRIu64, MIN(limit, (uint64_t)WIRE_LIMIT_MAX));
    if (after)
        strbuf_printf(&buf, "&after=%" PRId64, after);
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
        if (args_get(args, filters[i])) {
            strbuf_printf(&buf, "&%s=", filters[i]);
            text_escape(&buf, args_get(args, filters[i]));
        }
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

static int get_jobs(struct client *client, const struct args *args, uint64_t limit, json_t *jobs,
                    bool *ret_more, struct failure *failure) {
    int64_t after = 0;

    *ret_more = true;
    while (*ret_more && json_array_size(jobs) < limit) {
        size_t before = json_array_size(jobs);
        int r = get_part(client, args, after, limit - before, jobs, ret_more, failure);
        int64_t last;

        if (r)
            return r;
        last = job_id(json_array_get(jobs, json_array_size(jobs) - 1));
        /* Ids fall from part to part: stop when a server repeats itself. */
        if (json_array_size(jobs) == before || last == 0 || (after && last >= after))
            break;
        after = last;
    }
    return 0;
}

/* How long it has run, or ran; NAN: it waits. */
static double run_seconds(const json_t *job) {
    double started = answer_time(job, "started_at"), finished = answer_time(job, "finished_at");

    if (!isfinite(started) || str_equal(answer_text(job, "status"), "queued"))
        return NAN;
    return fmax((isfinite(finished) ? finished : (double)time(NULL)) - started, 0);
}

static void add_row(struct table *table, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    double fraction = answer_number(json_object_get(job, "progress"), "fraction");
    double created = answer_time(job, "created_at"), seconds = run_seconds(job);
    cleanup(freep) char *model = job_model(job);
    int64_t wbits = answer_int(params, "wbits", 0);
    const char *status = answer_text(job, "status");
    char age[TEXT_SIZE], took[TEXT_SIZE];

    text_age(isfinite(created) ? fmax((double)time(NULL) - created, 0) : NAN, age);
    text_duration(seconds, took);
    table_cell(table, "%" PRId64, job_id(job));
    if (str_equal(status, "running") && isfinite(fraction))
        table_cell(table, "%s %.0f %%", status, fraction * 100);
    else if (str_equal(status, "queued") && json_is_true(json_object_get(job, "held")))
        table_cell(table, "held");
    else if (json_is_object(json_object_get(job, "paused")))
        table_cell(table, "paused");
    else if (str_equal(status, "queued") && isfinite(fraction))
        table_cell(table, "pull %.0f %%", fraction * 100);
    else if (str_equal(status, "queued") && answer_int(job, "queue_position", 0) > 0)
        table_cell(table, "%s #%" PRId64, status, answer_int(job, "queue_position", 0));
    else
        table_cell(table, "%s", status);
    table_cell(table, "%s", answer_text(job, "kind"));
    table_cell(table, "%s", model ? model : "");
    if (wbits > 0 && wbits < 16)
        table_cell(table, "%" PRId64, wbits);
    else
        table_cell(table, "%s", "");
    table_cell(table, "%s", answer_text(job, "owner"));
    table_cell(table, "%s", age);
    table_cell(table, "%s", isfinite(seconds) ? took : "");
    table_cell(table, "%s", answer_text(job, "name"));
}

static int print_jobs(const struct client *client, const json_t *jobs, bool more,
                      struct failure *failure) {
    struct table_column columns[] = {
        {"id", true},           {"status"},     {"kind"},
        {"model", false, true}, {"bits", true}, {"owner", false, true},
        {"age", true},          {"took", true}, {"name", false, true},
    };
    struct table table;
    json_t *job;
    size_t i;
    int r;

    if (json_array_size(jobs) == 0) {
        fprintf(client->terminal.file, "no jobs\n");
        return EXIT_OK;
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(jobs, i, job) add_row(&table, job);
    r = table_print(&table, &client->terminal);
    table_done(&table);
    if (more)
        fprintf(client->terminal.file, "older jobs are left out; --all shows them\n");
    return r ? failure_oom(failure) : EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    uint64_t limit = args_has(args, "all") ? JOBS_MAX : LIMIT_DEFAULT;
    cleanup(json_decrefp) json_t *jobs = json_array();
    bool more = false;
    int r;

    r = args_u64(args, "limit", JOBS_MAX, &limit, failure);
    if (!r)
        r = get_jobs(client, args, limit, jobs, &more, failure);
    if (r)
        return r;
    if (client->json) {
        cleanup(json_decrefp) json_t *list =
            json_pack("{s:s s:O s:b}", "object", "list", "data", jobs, "has_more", more);

        return list ? client_print_json(list, failure) : failure_oom(failure);
    }
    return print_jobs(client, jobs, more, failure);
}

const struct verb verb_list = {
    .name = "list",
    .usage = "",
    .summary = "list the jobs, newest first",
    .table = {options, ARRAY_SIZE(options)},
    .run = run,
};
