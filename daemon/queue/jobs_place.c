// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/access/target.h"
#include "daemon/files/paths.h"
#include "daemon/pipeline/export/reexport.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/queue/jobs.h"
#include "daemon/queue/place.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The folder of `job:<id>`: the artifact of a job that succeeded and left one. */
static int resolve_job(struct jobs *jobs, const struct caller *caller, const char *name, int64_t id,
                       char **ret_dir, struct failure *failure) {
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    cleanup(freep) char *dir = NULL;
    const char *why = NULL;
    int r = id > 0 ? jobs_see(jobs, caller, id, &cached, failure) : -ENOENT;

    if (r && r != -ENOENT)
        return r;
    if (r)
        why = "there is no such job";
    else if (cached->row->status != JOB_SUCCEEDED)
        why = "the job has not succeeded";
    else if (!json_array_size(json_object_get(cached->row->result, "artifacts")))
        why = "the job left no checkpoint";
    if (why) {
        failure_field(failure, "model", "name a quantize job that succeeded", "'%s': %s", name,
                      why);
        snprintf(failure->code, sizeof(failure->code), "model_not_found");
        return -EINVAL;
    }
    dir = paths_artifact(jobs->jobs_dir, id);
    if (!dir)
        return failure_oom(failure);
    *ret_dir = steal_ptr(dir);
    return 0;
}

/* A model that no root has, from the cache of the hub or to be fetched into it. */
static int resolve_hub(struct jobs *jobs, const char *name, struct place *place,
                       struct failure *failure) {
    int r = hub_find_model(jobs->hub, &place->name, &place->dir, place->commit, failure);

    if (!r || r != -ENOENT)
        return r == -EXDEV || r == -EBADMSG ? -EINVAL : r;
    r = jobs_check_fetch(jobs, name, failure);
    if (r)
        return r;
    place->dir = strdup("");
    return place->dir ? 0 : failure_oom(failure);
}

static int resolve_model(struct jobs *jobs, const struct caller *caller, const char *name,
                         struct place *place, struct failure *failure) {
    int64_t id;
    int r;

    if (models_job_reference(name, &id))
        return resolve_job(jobs, caller, name, id, &place->dir, failure);
    r = models_find(jobs->models, name, &place->dir, failure);
    if (r == -ENOENT && jobs->hub && !hub_parse_name(name, &place->name))
        return resolve_hub(jobs, name, place, failure);
    return r == -ENOENT ? models_resolve(jobs->models, name, &place->dir, failure) : r;
}

/* The job at @place keeps what the format of an export job can be written from. */
static int check_export(const struct params *params, const struct place *place,
                        struct failure *failure) {
    int r = reexport_check(place->dir, params, failure);

    return r == -EBADMSG || r == -ENOENT ? -EINVAL : r;
}

int jobs_check(struct jobs *jobs, const struct caller *caller, const struct submission *submission,
               struct place *ret_place, struct failure *failure) {
    const struct params *params = submission->params;
    int r = submission->notify ? target_check(jobs->targets, submission->notify, failure) : 0;

    if (!r)
        r = resolve_model(jobs, caller, params->model, ret_place, failure);

    if (!r)
        r = jobs_model_root(jobs, ret_place->dir, ret_place->name.id[0], &ret_place->root, failure);
    if (!r && submission->kind == JOB_EXPORT)
        r = check_export(params, ret_place, failure);
    else if (!r && jobs->corpora)
        r = check_job(ret_place->root, ret_place->dir, params, jobs->corpora, ret_place->warning,
                      failure);
    return r ? r : jobs_check_sets(jobs, params, submission->kind, failure);
}
