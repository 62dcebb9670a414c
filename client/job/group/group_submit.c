// SPDX-License-Identifier: Apache-2.0
#include "client/job/group/group.h"

#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/job/estimate.h"
#include "client/job/job.h"
#include "client/job/request.h"
#include "client/job/submit.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#define ESTIMATE_PATH GROUP_PATH "/estimate"

/* ---- what it would take ---- */

static void add_estimate(struct table *table, const json_t *member) {
    const json_t *estimate = json_object_get(member, "estimate");
    double memory = answer_number(json_object_get(estimate, "memory"), "device");
    double size = answer_number(estimate, "size_bytes");
    double bits = answer_number(estimate, "bits_per_weight");
    double seconds = answer_number(estimate, "seconds");
    cleanup(freep) char *values = group_values(member);
    char text[TEXT_SIZE];

    table_cell(table, "%s", values ? values : "");
    bytes_text(memory, text);
    table_cell(table, "%s", isfinite(memory) ? text : "");
    table_cell(table, "%s", json_is_false(json_object_get(estimate, "fits")) ? "no" : "");
    if (isfinite(bits))
        table_cell(table, "%.2f", bits);
    else
        table_cell(table, "%s", "");
    bytes_text(size, text);
    table_cell(table, "%s", isfinite(size) ? text : "");
    text_duration(seconds, text);
    table_cell(table, "%s", isfinite(seconds) ? text : "");
}

static int show_estimate(struct client *client, const json_t *body, struct failure *failure) {
    static const struct table_column columns[] = {
        {"differs", false, true}, {"memory", true}, {"fits"},
        {"mean bits", true},      {"size", true},   {"time", true}};
    cleanup(json_decrefp) json_t *estimate = NULL;
    char text[TEXT_SIZE];
    struct table table;
    json_t *member;
    size_t i;
    int r = http_call(client->http, "POST", ESTIMATE_PATH, body, NULL, &estimate, failure);

    if (r)
        return r;
    if (client->json)
        return client_print_json(estimate, failure);
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(json_object_get(estimate, "members"), i, member)
        add_estimate(&table, member);
    r = table_print(&table, &client->terminal);
    table_done(&table);
    text_duration(answer_number(estimate, "seconds"), text);
    if (isfinite(answer_number(estimate, "seconds")))
        label_print(&client->terminal, "time", "about %s for all, less what they share", text);
    else
        label_print(&client->terminal, "time",
                    "not known: a job like each of these has to run first");
    return r ? failure_oom(failure) : EXIT_OK;
}

/* ---- submitting ---- */

static int check_options(const struct args *args, struct failure *failure) {
    if (!args_has(args, "save"))
        return 0;
    return failure_set(failure, -EINVAL, "usage", "use 'quantctl download ID DIR' for each job",
                       "option '--save' takes one job, and this is a group");
}

static void print_warnings(const struct client *client, const json_t *group) {
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i, member) {
        cleanup(freep) char *warning = text_cleaned(answer_text(member, "warning"));

        if (warning && warning[0])
            fprintf(client->terminal.file, "warning: job %" PRId64 ": %s\n", job_id(member),
                    warning);
    }
}

static int submit(struct client *client, const struct args *args, const json_t *body,
                  struct failure *failure) {
    cleanup(json_decrefp) json_t *group = NULL;
    int r = check_options(args, failure);

    if (r)
        return r;
    if (args_has(args, "estimate"))
        return show_estimate(client, body, failure);
    r = submit_send(client, GROUP_PATH, body, &group, failure);
    if (r)
        return r;
    print_warnings(client, group);
    if (args_has(args, "detach"))
        fprintf(client->terminal.file,
                "group %" PRId64 ": %zu jobs are queued; follow them with: "
                "quantctl watch group:%" PRId64 "\n",
                job_id(group), json_array_size(json_object_get(group, "members")), job_id(group));
    else
        r = group_follow_to_the_end(client, &group, failure);
    if (client->json && client_print_json(group, failure))
        return -EIO;
    return r;
}

int group_run(struct client *client, const struct args *args, const char *kind,
              struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL, *group = NULL;
    int r = request_group(client, args, kind, &request, &group, failure);

    if (!r && group)
        return submit(client, args, group, failure);
    if (!r && args_has(args, "estimate"))
        return estimate_show(client, request, failure);
    return r ? r : submit_run(client, args, SUBMIT_PATH, request, request, failure);
}
