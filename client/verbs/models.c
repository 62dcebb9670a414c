// SPDX-License-Identifier: Apache-2.0
/* What there is to work with: models, and data sets. */
#include "base/bytes.h"
#include "base/str.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 4
#define NARROW 60 /* terminals up to here show less */

/* What a verb lists. */
struct inventory {
    const char *path, *none;
    const struct table_column *columns;
    int n_columns, optional; /* optional: the column that narrow terminals lack; -1: none */
    void (*add)(struct table *table, const json_t *object);
};

static void print_left_out(const struct client *client, const json_t *list) {
    int64_t n = answer_int(list, "unreadable", 0);

    if (n > 0)
        fprintf(client->terminal.file,
                "%" PRId64 " file%s or folder%s below the roots cannot be read\n", n,
                n == 1 ? "" : "s", n == 1 ? "" : "s");
    if (json_is_true(json_object_get(list, "has_more")))
        fprintf(client->terminal.file, "there is more below the roots than is listed\n");
}

static int print_inventory(const struct client *client, const struct inventory *inventory,
                           const json_t *list, struct failure *failure) {
    const json_t *data = json_object_get(list, "data"), *object;
    struct table_column columns[COLUMNS_MAX];
    struct table table;
    size_t i;
    int r = 0;

    if (json_array_size(data) == 0)
        fprintf(client->terminal.file, "%s\n", inventory->none);
    memcpy(columns, inventory->columns, sizeof(*columns) * (size_t)inventory->n_columns);
    if (inventory->optional >= 0 && client->terminal.width <= NARROW)
        columns[inventory->optional].title = NULL;
    table_init(&table, columns, inventory->n_columns);
    json_array_foreach(data, i, object) inventory->add(&table, object);
    if (json_array_size(data) > 0)
        r = table_print(&table, &client->terminal);
    table_done(&table);
    print_left_out(client, list);
    return r ? failure_oom(failure) : EXIT_OK;
}

static int run_inventory(struct client *client, const struct inventory *inventory,
                         struct failure *failure) {
    cleanup(json_decrefp) json_t *list = NULL;
    int r = http_get(client->http, inventory->path, &list, failure);

    if (r)
        return r;
    return client->json ? client_print_json(list, failure)
                        : print_inventory(client, inventory, list, failure);
}

/* ---- models ---- */

static bool is_complete(const json_t *model) {
    json_t *revision;
    size_t i;

    json_array_foreach(json_object_get(model, "revisions"), i, revision) {
        if (json_is_true(json_object_get(revision, "complete")))
            return true;
    }
    return false;
}

static void add_model(struct table *table, const json_t *model) {
    double used = answer_time(model, "last_used_at");
    bool pinned = json_is_true(json_object_get(model, "pinned"));
    const char *root = answer_text(model, "root");
    char bytes[TEXT_SIZE], age[TEXT_SIZE];

    bytes_text(answer_number(model, "bytes"), bytes);
    text_age(fmax((double)time(NULL) - used, 0), age);
    table_cell(table, "%s", answer_text(model, "id"));
    table_cell(table, "%s", bytes);
    if (root[0]) {
        table_cell(table, "%s", "");
        table_cell(table, "%s", root);
        return;
    }
    table_cell(table, "%s%s", isfinite(used) ? age : "never", isfinite(used) ? " ago" : "");
    table_cell(table, "hub%s", pinned ? ", in use" : is_complete(model) ? "" : ", incomplete");
}

static int run_models(struct client *client, const struct args *args, struct failure *failure) {
    static const struct table_column columns[] = {
        {"model", false, true}, {"size", true}, {"last used", true}, {"where", false, true}};
    static const struct inventory models = {
        "/v1/models",
        "no models: none was fetched, and none is below a model root",
        columns,
        ARRAY_SIZE(columns),
        2,
        add_model};

    (void)args;
    return run_inventory(client, &models, failure);
}

const struct verb verb_models = {
    .name = "models",
    .usage = "",
    .summary = "list the models that are fetched or below a root",
    .run = run_models,
};

/* ---- data sets ---- */

/* A public set is fetched when a job needs it; a file is there for both uses. */
static void add_dataset(struct table *table, const json_t *set) {
    const json_t *here = json_object_get(set, "here");
    bool calibrates = json_is_true(json_object_get(here, "calibration"));
    bool measures = json_is_true(json_object_get(here, "evaluation"));
    const char *root = answer_text(set, "root");
    char bytes[TEXT_SIZE];

    bytes_text(answer_number(set, "bytes"), bytes);
    table_cell(table, "%s", answer_text(set, "id"));
    table_cell(table, "%s", root[0] ? bytes : "");
    if (root[0])
        table_cell(table, "%s", root);
    else
        table_cell(table, "hub%s",
                   calibrates && measures ? ""
                   : calibrates           ? ", fetched to calibrate"
                   : measures             ? ", fetched to measure"
                                          : ", not fetched yet");
}

static int run_datasets(struct client *client, const struct args *args, struct failure *failure) {
    static const struct table_column columns[] = {
        {"set", false, true}, {"size", true}, {"where", false, true}};
    static const struct inventory datasets = {
        "/v1/datasets", "no data sets", columns, ARRAY_SIZE(columns), -1, add_dataset};

    (void)args;
    return run_inventory(client, &datasets, failure);
}

const struct verb verb_datasets = {
    .name = "datasets",
    .usage = "",
    .summary = "list the texts that are there: public sets and files",
    .details = "Each is a DATASET of 'quantctl quantize' and a set for --eval.\n",
    .run = run_datasets,
};
