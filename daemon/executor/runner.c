// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/runner.h"

#include "base/clock.h"
#include "base/str.h"
#include "daemon/executor/leftover.h"
#include "daemon/executor/original.h"
#include "daemon/jobdir/fence.h"
#include "daemon/pipeline/pipeline.h"

#include <errno.h>
#include <time.h>

#define LOCK_SECONDS 150 /* for the end of a run on a cluster */

static int on_event(void *ctx, const char *kind, json_t *data) {
    return sink_event(ctx, kind, data);
}

static bool on_cancelled(void *ctx) {
    return sink_stops(ctx);
}

/*
 * A run on a cluster may have been in the folder, and may not know yet that it is over: it ends
 * itself at the fence.
 */
static int take_folder(struct sink *sink, const char *dir, int *ret_lock, struct failure *failure) {
    double until = clock_monotonic() + LOCK_SECONDS;
    const struct timespec step = {.tv_nsec = 200000000};
    int r;

    if (fence_look(dir, JOBS_LOCAL) == FENCE_OPEN)
        return 0;
    r = fence_set(dir, JOBS_LOCAL, failure);
    if (r)
        return r;
    while ((r = fence_lock(dir, ret_lock, failure)) == -EBUSY && clock_monotonic() < until) {
        if (sink_stops(sink))
            return -ECANCELED;
        nanosleep(&step, NULL);
    }
    return r;
}

static int run_pipeline(struct sink *sink, const struct corpora *corpora, struct backend *backend,
                        json_t **ret_result, struct failure *failure) {
    const struct job_row *row = sink->row;
    cleanup(params_freep) struct params *params = NULL;
    cleanup(original_done) struct named_original named = {};
    cleanup(freep) char *dir = NULL, *root = NULL;
    cleanup(closep) int lock = -1;
    struct pipeline_observer observer = {.ctx = sink, .event = on_event, .cancelled = on_cancelled};
    struct pipeline_job job = {.model_dir = row->model_dir,
                               .corpora = corpora,
                               .observer = &observer,
                               .hash_cache = sink->jobs->hash_cache,
                               .states = sink->jobs->states};
    int r;

    if (job_kind_from_name(row->kind, &job.kind))
        return failure_set(failure, -EINVAL, "internal", NULL, "unknown kind of job '%s'",
                           row->kind);
    r = params_parse(job.kind, row->request, &params, failure);
    if (!r)
        r = jobs_model_root(sink->jobs, row->model_dir, row->hub_model, &root, failure);
    if (!r && job.kind == JOB_EVAL)
        r = original_find(sink->jobs, row, root, &named, failure);
    if (!r)
        r = leftover_make_dir(sink->jobs, row, &dir, failure);
    if (!r)
        r = take_folder(sink, dir, &lock, failure);
    if (r)
        return r;
    job.params = params;
    job.dir = dir;
    job.model_root = root;
    job.original = named.record ? &named.original : NULL;
    return pipeline_run(&job, backend, ret_result, failure);
}

bool runner_run(struct sink *sink, const struct corpora *corpora, struct backend *backend) {
    struct backend_info info = {};
    struct failure failure;
    json_t *result = NULL;
    struct run_end end;
    int r;

    if (sink->row->hub_model && sink->jobs->hub)
        hub_note_use(sink->jobs->hub, sink->row->hub_model);
    failure_set(&failure, -EIO, "internal", NULL, "the pipeline gave no reason");
    r = run_pipeline(sink, corpora, backend, &result, &failure);
    backend->ops->info(backend, &info);
    end = run_end_make(r, result, &failure, info.poisoned);
    sink_end(sink, &end);
    run_end_done(&end);
    return info.poisoned;
}
