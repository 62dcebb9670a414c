// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

static bool is_complete(const json_t *model) {
    json_t *revision;
    size_t i;

    json_array_foreach(json_object_get(model, "revisions"), i, revision) {
        if (json_is_true(json_object_get(revision, "complete")))
            return true;
    }
    return false;
}

static void add_row(struct table *table, const json_t *model) {
    double used = answer_time(model, "last_used_at");
    bool pinned = json_is_true(json_object_get(model, "pinned"));
    char bytes[TEXT_SIZE], age[TEXT_SIZE];

    bytes_text(answer_number(model, "bytes"), bytes);
    text_age(fmax((double)time(NULL) - used, 0), age);
    table_cell(table, "%s", answer_text(model, "id"));
    table_cell(table, "%s", bytes);
    table_cell(table, "%s%s", isfinite(used) ? age : "never", isfinite(used) ? " ago" : "");
    table_cell(table, "%s", pinned ? "in use" : is_complete(model) ? "" : "incomplete");
}

static int print_models(const struct client *client, const json_t *models,
                        struct failure *failure) {
    struct table_column columns[] = {
        {"model", false, true}, {"size", true}, {"last used", true}, {"state"}};
    struct table table;
    json_t *model;
    size_t i;
    int r;

    if (json_array_size(models) == 0) {
        fprintf(client->terminal.file, "no models were fetched\n");
        return EXIT_OK;
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(models, i, model) add_row(&table, model);
    r = table_print(&table, &client->terminal);
    table_done(&table);
    return r ? failure_oom(failure) : EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *list = NULL;
    int r = http_get(client->http, "/v1/models", &list, failure);

    (void)args;
    if (r)
        return r;
    if (client->json)
        return client_print_json(list, failure);
    return print_models(client, json_object_get(list, "data"), failure);
}

const struct verb verb_models = {
    .name = "models",
    .usage = "",
    .summary = "list the models that quantd has fetched",
    .run = run,
};
