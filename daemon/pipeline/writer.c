// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/writer.h"

#include "base/hash.h"

/* In the task's thread: touches nothing but the writer. */
static int write_layer(void *ctx) {
    struct writer *w = ctx;
    int r;

    r = safetensors_write(w->path, w->shard.tensors, w->shard.n_tensors, NULL, &w->failure);
    if (r)
        return r;
    r = sha256_of_file(w->path, w->sha256, &w->size);
    return r ? failure_errno(&w->failure, r, "cannot read", w->path) : 0;
}

int writer_start(struct writer *w, struct run *run, int layer, struct shard *shard,
                 json_t *report) {
    cleanup(json_decrefp) json_t *owned = report;
    int r = writer_finish(w, run);

    if (!r)
        r = run_cancelled(run); /* whoever heard of the layer before may have had enough */
    if (r)
        return r;
    free(w->path);
    w->path = work_layer_path(run, layer, "safetensors");
    if (!w->path || !owned)
        return failure_oom(run->failure);
    w->layer = layer;
    w->shard = *shard;
    *shard = (struct shard){};
    w->report = steal_ptr(owned);
    r = task_start(&w->task, write_layer, w);
    return r ? failure_errno(run->failure, r, "cannot start a thread for", w->path) : 0;
}

int writer_finish(struct writer *w, struct run *run) {
    json_t *file, *report;
    int r;

    if (!w->task.started)
        return 0;
    r = task_finish(&w->task);
    shard_done(&w->shard);
    if (r) {
        *run->failure = w->failure;
        return r;
    }
    file = json_pack("{s:s s:I}", "sha256", w->sha256, "bytes", (json_int_t)w->size);
    report = steal_ptr(w->report);
    json_object_set_new(report, "file", file);
    return work_keep_layer(run, w->layer, report);
}

int writer_poll(struct writer *w, struct run *run) {
    return task_is_done(&w->task) ? writer_finish(w, run) : 0;
}

void writer_done(struct writer *w) {
    task_finish(&w->task);
    shard_done(&w->shard);
    json_decref(w->report);
    free(w->path);
    *w = (struct writer){};
}
