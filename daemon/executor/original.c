// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/original.h"

#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX (64 << 20)

void original_done(struct named_original *named) {
    json_decref(named->record);
    free(named->dir);
    free(named->root);
}

/* A folder below a model root, or a model that is complete in the hub's cache. */
static int look_up(struct jobs *jobs, const char *name, char **ret_dir, bool *ret_from_hub,
                   struct failure *why) {
    char commit[HUB_COMMIT_SIZE];
    struct hub_name hub = {};
    int64_t id;
    int r;

    *ret_from_hub = false;
    if (models_job_reference(name, &id))
        return failure_set(why, -EINVAL, "model_not_found", NULL, "it is a job's checkpoint");
    r = models_find(jobs->models, name, ret_dir, why);
    if (r != -ENOENT || !jobs->hub || hub_parse_name(name, &hub))
        return r == -ENOENT ? failure_set(why, r, "model_not_found", NULL, "it is in no model root")
                            : r;
    r = hub_find_model(jobs->hub, &hub, ret_dir, commit, why);
    *ret_from_hub = true;
    return r == -ENOENT ? failure_set(why, r, "model_not_found", NULL,
                                      "it is in no model root and not in the cache of the hub")
                        : r;
}

/* What quantd.json says, NULL when it is not there or says nothing of an original. */
static json_t *read_record(const struct job_row *row, const char *root) {
    cleanup(freep) char *path = str_format("%s/quantd.json", row->model_dir);
    json_t *record = NULL, *params;

    if (path)
        json_parse_file_in(root ? root : row->model_dir, path, RECORD_MAX, "damaged", &record,
                           NULL);
    params = json_object_get(record, "params");
    if (json_is_string(json_object_get(params, "model")) &&
        json_is_string(json_object_get(record, "model_fingerprint")))
        return record;
    json_decref(record);
    return NULL;
}

int original_find(struct jobs *jobs, const struct job_row *row, const char *root,
                  struct named_original *ret_named, struct failure *failure) {
    cleanup(json_decrefp) json_t *record = read_record(row, root);
    const char *name =
        json_string_value(json_object_get(json_object_get(record, "params"), "model"));
    struct named_original named = {};
    struct failure why = {};
    bool from_hub;
    int r;

    if (!record)
        return 0;
    r = look_up(jobs, name, &named.dir, &from_hub, &why);
    if (!r)
        r = jobs_model_root(jobs, named.dir, from_hub, &named.root, &why);
    if (r == -ENOMEM) {
        original_done(&named);
        return failure_oom(failure);
    }
    snprintf(named.why, sizeof(named.why), "the original '%.100s' was not found: %.200s", name,
             why.detail);
    named.record = json_incref(record);
    *ret_named = named;
    ret_named->original = (struct job_original){
        .name = name,
        .dir = named.dir,
        .root = named.root,
        .fingerprint = json_string_value(json_object_get(record, "model_fingerprint")),
        .why = ret_named->why,
    };
    return 0;
}
