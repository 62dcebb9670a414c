// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/admin/admin.h"

#include "base/bytes.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/screen/interrupt.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>

#define POLL_FIRST 0.05 /* seconds; each wait is half as long again */
#define POLL_MAX 1.0

/* -------- what is there -------- */

/* All orphans, page by page. The caller owns *ret_orphans, an array. */
static int get_orphans(struct client *client, json_t **ret_orphans, struct failure *failure) {
    cleanup(json_decrefp) json_t *orphans = json_array();
    bool more = true;
    int64_t after = 0;

    while (more) {
        cleanup(json_decrefp) json_t *page = NULL;
        const json_t *data;
        char path[64];
        int64_t last;
        int r;

        snprintf(path, sizeof(path), "/v1/orphans?after=%" PRId64, after);
        r = http_get(client->http, path, &page, failure);
        if (r)
            return r;
        data = json_object_get(page, "data");
        if (!orphans || json_array_extend(orphans, (json_t *)data))
            return data ? failure_oom(failure)
                        : failure_set(failure, -EPROTO, "bad_answer", NULL,
                                      "the list of folders has no data");
        last = answer_int(json_array_get(data, json_array_size(data) - 1), "id", 0);
        more = json_is_true(json_object_get(page, "has_more")) && last > after;
        after = last;
    }
    *ret_orphans = steal_ptr(orphans);
    return 0;
}

static void add_row(struct table *table, const json_t *orphan) {
    const json_t *params = json_object_get(orphan, "params");
    int64_t wbits = answer_int(params, "wbits", 0);
    char bytes[TEXT_SIZE], bits[24];

    bytes_text(answer_number(orphan, "bytes"), bytes);
    snprintf(bits, sizeof(bits), "%" PRId64, wbits);
    table_cell(table, "%" PRId64, answer_int(orphan, "id", 0));
    table_cell(table, "%s", answer_text(orphan, "state"));
    table_cell(table, "%s", answer_text(orphan, "model"));
    table_cell(table, "%s", wbits > 0 ? bits : "");
    table_cell(table, "%s", answer_text(params, "format"));
    table_cell(table, "%s", bytes);
    table_cell(table, "%s", json_is_true(json_object_get(orphan, "adoptable")) ? "yes" : "no");
}

static void print_reasons(FILE *file, const json_t *orphans) {
    json_t *orphan;
    size_t i;

    json_array_foreach(orphans, i, orphan) {
        const json_t *reason = json_object_get(orphan, "reason");
        cleanup(freep) char *detail = text_cleaned(answer_text(reason, "detail"));
        cleanup(freep) char *hint = text_cleaned(answer_text(reason, "hint"));

        if (json_is_object(reason) && detail && hint)
            fprintf(file, "%" PRId64 ": %s\n   hint: %s\n", answer_int(orphan, "id", 0), detail,
                    hint);
    }
}

static int print_orphans(const struct client *client, const json_t *orphans,
                         struct failure *failure) {
    static const struct table_column columns[] = {
        {"job", true, false},       {"what", false, false},   {"model", false, true},
        {"bits", true, false},      {"format", false, false}, {"size", true, false},
        {"adoptable", false, false}};
    struct table table;
    json_t *orphan;
    size_t i;
    int r;

    if (json_array_size(orphans) == 0) {
        fprintf(client->terminal.file, "every folder has its job\n");
        return EXIT_OK;
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(orphans, i, orphan) {
        add_row(&table, orphan);
    }
    r = table_print(&table, &client->terminal);
    table_done(&table);
    if (r)
        return failure_oom(failure);
    print_reasons(client->terminal.file, orphans);
    return EXIT_OK;
}

/* -------- adopting -------- */

/* Asks until the folder is a job. */
static int adopt(struct client *client, int64_t id, const json_t *body, json_t **ret_job,
                 struct failure *failure) {
    double wait = POLL_FIRST;
    char path[64];

    snprintf(path, sizeof(path), "/v1/orphans/%" PRId64 "/adopt", id);
    for (;;) {
        cleanup(json_decrefp) json_t *state = NULL;
        int r = http_call(client->http, "POST", path, body, NULL, &state, failure);

        if (r)
            return r;
        if (!str_equal(answer_text(state, "object"), "adoption")) {
            *ret_job = steal_ptr(state);
            return 0;
        }
        interrupt_sleep(wait);
        if (interrupt_caught())
            return failure_set(failure, -EINTR, "interrupted",
                               "'quantctl admin adopt' shows what became of it",
                               "quantd goes on with the folder of job %" PRId64, id);
        wait = wait * 1.5 < POLL_MAX ? wait * 1.5 : POLL_MAX;
    }
}

/* One of those that were asked for; what quantd refuses becomes an exit status. */
static int adopt_one(struct client *client, int64_t id, const json_t *body, json_t *jobs,
                     struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    cleanup(freep) char *owner = NULL;
    int r = adopt(client, id, body, &job, failure);

    if (r == -EREMOTEIO) {
        client_print_failure(failure);
        *failure = (struct failure){};
        return EXIT_DAEMON;
    }
    if (r)
        return r;
    owner = text_cleaned(answer_text(job, "owner"));
    if (!client->json)
        fprintf(client->terminal.file, "job %" PRId64 " is a private job of '%s'\n", id,
                owner ? owner : "");
    return json_array_append(jobs, job) ? failure_oom(failure) : EXIT_OK;
}

static int adopt_all(struct client *client, const int64_t *ids, size_t n, const json_t *body,
                     struct failure *failure) {
    cleanup(json_decrefp) json_t *jobs = json_array();
    int worst = EXIT_OK, r = EXIT_OK;

    interrupt_catch();
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = adopt_one(client, ids[i], body, jobs, failure);
        worst = r > worst ? r : worst;
    }
    if (client->json && client_print_json(jobs, r < 0 ? NULL : failure) && r >= 0)
        return -EIO;
    return r < 0 ? r : worst;
}

/* The ids of those that can be adopted, to be freed. */
static int adoptable_ids(const json_t *orphans, int64_t **ret_ids, size_t *ret_n,
                         struct failure *failure) {
    int64_t *ids = calloc(json_array_size(orphans) + 1, sizeof(*ids));
    json_t *orphan;
    size_t i, n = 0;

    if (!ids)
        return failure_oom(failure);
    json_array_foreach(orphans, i, orphan) {
        if (json_is_true(json_object_get(orphan, "adoptable")))
            ids[n++] = answer_int(orphan, "id", 0);
    }
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

/* The ids of the command line, to be freed. */
static int named_ids(const struct args *args, int64_t **ret_ids, size_t *ret_n,
                     struct failure *failure) {
    cleanup(freep) int64_t *ids = calloc(ARGS_POSITIONAL_MAX, sizeof(*ids));

    if (!ids)
        return failure_oom(failure);
    for (int i = 1; i < args->n_positional; i++) {
        uint64_t id;
        int r = args_job_id(args->positional[i], &id, failure);

        if (r)
            return r;
        ids[i - 1] = (int64_t)id;
    }
    *ret_n = (size_t)args->n_positional - 1;
    *ret_ids = steal_ptr(ids);
    return 0;
}

int admin_adopt(struct client *client, const struct args *args, struct failure *failure) {
    const char *owner = args_get(args, "owner");
    bool all = args_has(args, "all"), named = args->n_positional > 1;
    cleanup(json_decrefp) json_t *orphans = NULL, *body = json_pack("{s:s*}", "owner", owner);
    cleanup(freep) int64_t *ids = NULL;
    size_t n = 0;
    int r;

    if ((all && named) || (owner && !all && !named))
        return failure_set(failure, -EINVAL, "usage", "use quantctl admin adopt ID... or --all",
                           "name the folders to adopt, or give --all");
    if (!body)
        return failure_set(failure, -EINVAL, "usage", NULL, "the owner must be UTF-8");
    r = named ? named_ids(args, &ids, &n, failure) : get_orphans(client, &orphans, failure);
    if (!r && all)
        r = adoptable_ids(orphans, &ids, &n, failure);
    if (r)
        return r;
    if (named || all)
        return adopt_all(client, ids, n, body, failure);
    return client->json ? client_print_json(orphans, failure)
                        : print_orphans(client, orphans, failure);
}
