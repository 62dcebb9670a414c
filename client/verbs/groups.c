// SPDX-License-Identifier: Apache-2.0
#include "api/wire.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/job/columns/parameters.h"
#include "client/job/group/group.h"
#include "client/job/job.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

#define LIMIT_DEFAULT 20

static const struct arg_option options[] = {
    {"owner", "O", "only the groups of this user"},
    {"limit", "N", "the newest N groups; 20 by default"},
};

static void add_group(struct table *table, const json_t *group) {
    const json_t *counts = json_object_get(group, "counts");
    double created = answer_time(group, "created_at");
    int64_t ended = answer_int(counts, "succeeded", 0) + answer_int(counts, "failed", 0) +
                    answer_int(counts, "cancelled", 0);
    int64_t active = answer_int(counts, "queued", 0) + answer_int(counts, "running", 0) +
                     answer_int(counts, "cancelling", 0);
    json_t *varies = json_object_get(group, "varies"), *name;
    struct strbuf names = {};
    char age[TEXT_SIZE];
    size_t i;

    strbuf_puts(&names, "");
    json_array_foreach(varies, i, name) {
        const char *key = json_string_value(name) ? json_string_value(name) : "";

        strbuf_printf(&names, "%s%s", i ? ", " : "", parameter_title(key));
    }
    text_age(isfinite(created) ? fmax((double)time(NULL) - created, 0) : NAN, age);
    table_cell(table, "group:%" PRId64, job_id(group));
    table_cell(table, "%s", answer_text(group, "status"));
    table_cell(table, "%" PRId64 "/%" PRId64, ended, ended + active);
    table_cell(table, "%s", answer_text(group, "model"));
    table_cell(table, "%s", names.failed ? "" : names.data);
    table_cell(table, "%s", answer_text(group, "owner"));
    table_cell(table, "%s", age);
    table_cell(table, "%s", answer_text(group, "name"));
    strbuf_done(&names);
}

static int print(const struct client *client, const json_t *list, struct failure *failure) {
    static const struct table_column columns[] = {{"group"},
                                                  {"status"},
                                                  {"ended", true},
                                                  {"model", false, true},
                                                  {"differ in", false, true},
                                                  {"owner", false, true},
                                                  {"age", true},
                                                  {"name", false, true}};
    struct table table;
    json_t *group;
    size_t i;
    int r;

    if (json_array_size(json_object_get(list, "data")) == 0) {
        fprintf(client->terminal.file, "no groups\n");
        return EXIT_OK;
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(json_object_get(list, "data"), i, group) add_group(&table, group);
    r = table_print(&table, &client->terminal);
    table_done(&table);
    if (json_is_true(json_object_get(list, "has_more")))
        fprintf(client->terminal.file, "older groups are left out; --limit shows more\n");
    return r ? failure_oom(failure) : EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *list = NULL;
    cleanup(freep) char *path = NULL;
    uint64_t limit = LIMIT_DEFAULT;
    struct strbuf buf = {};
    int r = args_u64(args, "limit", WIRE_LIMIT_MAX, &limit, failure);

    if (r)
        return r;
    strbuf_printf(&buf, GROUP_PATH "?limit=%" PRIu64, limit);
    if (args_get(args, "owner")) {
        strbuf_puts(&buf, "&owner=");
        text_escape(&buf, args_get(args, "owner"));
    }
    path = strbuf_steal(&buf);
    r = path ? http_get(client->http, path, &list, failure) : failure_oom(failure);
    if (r)
        return r;
    if (client->json)
        return client_print_json(json_object_get(list, "data"), failure);
    return print(client, list, failure);
}

const struct verb verb_groups = {
    .name = "groups",
    .usage = "",
    .summary = "list groups of jobs that were submitted together",
    .details = "show, watch, wait, cancel, delete and compare take group:ID.\n",
    .table = {options, ARRAY_SIZE(options)},
    .run = run,
};
