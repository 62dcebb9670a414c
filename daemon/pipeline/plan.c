// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/plan.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/params/request.h"

#include <errno.h>
#include <string.h>

#define PLAN_BYTES_MAX (8 << 20)

static char *plan_path(const struct run *run) {
    return str_format("%s/plan.json", run->work_dir);
}

void plan_done(struct plan *plan) {
    json_decref(plan->settings);
    json_decref(plan->files);
    *plan = (struct plan){};
}

/* The parameters that change a layer's bytes; those that are compared elsewhere are left out. */
static json_t *params_of_layers(const struct run *run) {
    static const char *const others[] = {"eval",    "difference", "format", "model",
                                         "dataset", "batch",      "preset"};
    json_t *params = params_to_json(run->job->params); /* without the rules that it found itself */

    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        json_object_del(params, others[i]);
    return params;
}

static json_t *files_of(const struct watch *watch) {
    json_t *files = json_array();

    for (size_t i = 0; i < watch->n_files; i++) {
        const struct identity *id = &watch->files[i].identity;
        json_t *file =
            json_pack("[IIIII]", (json_int_t)id->device, (json_int_t)id->inode,
                      (json_int_t)id->size, (json_int_t)id->mtime_ns, (json_int_t)id->ctime_ns);

        if (json_array_append_new(files, file)) {
            json_decref(files);
            return NULL;
        }
    }
    return files;
}

int plan_make(const struct run *run, struct plan *ret_plan) {
    struct plan plan = {.files = files_of(&run->checkpoint->watch), .batch = run->batch};
    struct backend_info info;

    run->b->ops->info(run->b, &info);
    plan.settings = json_pack("{s:s s:s s:s s:s s:o s:i s:s}", "version", QUANTD_VERSION, "device",
                              info.model, "library", info.library, "layout",
                              run->params->format->of_weights ? run->params->format->name
                                                              : run_work_format(run)->name,
                              "params", params_of_layers(run), "seqlen", run->seqlen, "calibration",
                              run->calibration ? run->calibration->sha256 : "");
    snprintf(plan.model, sizeof(plan.model), "%s", run->fingerprint);
    if (!plan.settings || !plan.files) {
        plan_done(&plan);
        return -ENOMEM;
    }
    *ret_plan = plan;
    return 0;
}

int plan_read(const struct run *run, struct plan *ret_plan) {
    cleanup(freep) char *path = plan_path(run);
    cleanup(json_decrefp) json_t *all = NULL;
    const char *model;
    json_int_t batch;

    *ret_plan = (struct plan){};
    if (!path)
        return -ENOMEM;
    json_parse_file(path, PLAN_BYTES_MAX, "damaged", &all, NULL);
    batch = json_integer_value(json_object_get(all, "batch"));
    model = json_string_value(json_object_get(all, "model"));
    if (!json_is_object(json_object_get(all, "settings")) || batch < 1 || batch > PARAMS_BATCH_MAX)
        return 0;
    ret_plan->settings = json_incref(json_object_get(all, "settings"));
    ret_plan->files = json_incref(json_object_get(all, "files"));
    ret_plan->batch = (int)batch;
    snprintf(ret_plan->model, sizeof(ret_plan->model), "%s", model ? model : "");
    return 0;
}

int plan_write(struct run *run, const struct plan *plan) {
    cleanup(freep) char *path = plan_path(run), *text = NULL;
    cleanup(json_decrefp) json_t *all =
        json_pack("{s:O s:O s:i s:s}", "settings", plan->settings, "files", plan->files, "batch",
                  plan->batch, "model", plan->model);
    int r;

    text = all ? json_text(all, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    if (!path || !text)
        return failure_oom(run->failure);
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(run->failure, r, "cannot write", path) : 0;
}

int plan_difference(const struct plan *then, const struct plan *now, char **ret_text) {
    const char *key;
    json_t *value;

    *ret_text = NULL;
    json_object_foreach(now->settings, key, value) {
        json_t *before = json_object_get(then->settings, key);

        if (json_equal(before, value))
            continue;
        *ret_text =
            json_is_string(value) && json_is_string(before) && !str_equal(key, "calibration")
                ? str_format("the %s was '%s' and is '%s' now", key, json_string_value(before),
                             json_string_value(value))
                : str_format("the %s changed", key);
        return *ret_text ? 0 : -ENOMEM;
    }
    return 0;
}
