// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/writer.h"

#include "base/hash.h"

/* In the task's thread: touches nothing but the writer. */
static int write_layer(void *ctx) {
    struct writer *w = ctx;
    cleanup(shard_done) struct shard shard = {};
    int r;

    r = w->format->add_layer(&w->context, &w->codes, &shard);
    if (!r)
        r = safetensors_write(w->path, shard.tensors, shard.n_tensors, NULL, &w->failure);
    if (r)
        return r;
    r = sha256_of_file(w->path, w->sha256, &w->size);
    return r ? failure_errno(&w->failure, r, "cannot read", w->path) : 0;
}

int writer_start(struct writer *w, struct run *run, int layer, struct layer_codes *codes,
                 json_t *report) {
    cleanup(json_decrefp) json_t *owned = report;
    int r = writer_finish(w, run);

    if (!r)
        r = run_cancelled(run); /* the report of the layer before may have led to a cancel */
    if (r)
        return r;
    free(w->path);
    w->path = work_layer_path(run, layer, "safetensors");
    if (!w->path || !owned)
        return failure_oom(run->failure);
    w->layer = layer;
    w->format = run_work_format(run);
    w->context = run_format_context(run);
    w->context.b = NULL; /* it is the other thread's */
    w->context.failure = &w->failure;
    w->codes = *codes;
    *codes = (struct layer_codes){};
    w->report = steal_ptr(owned);
    r = task_start(&w->task, write_layer, w);
    return r ? failure_errno(run->failure, r, "cannot start a thread for", w->path) : 0;
}

int writer_finish(struct writer *w, struct run *run) {
    cleanup(json_decrefp) json_t *report = NULL;
    json_t *file;
    int r;

    if (!w->task.started)
        return 0;
    r = task_finish(&w->task);
    layer_codes_done(&w->codes);
    if (r) {
        *run->failure = w->failure;
        return r;
    }
    file = json_pack("{s:s s:I}", "sha256", w->sha256, "bytes", (json_int_t)w->size);
    report = steal_ptr(w->report);
    if (json_object_set_new(report, "file", file))
        return failure_oom(run->failure);
    return work_keep_layer(run, w->layer, steal_ptr(report));
}

int writer_poll(struct writer *w, struct run *run) {
    return task_is_done(&w->task) ? writer_finish(w, run) : 0;
}

void writer_done(struct writer *w) {
    task_finish(&w->task);
    layer_codes_done(&w->codes);
    json_decref(w->report);
    free(w->path);
    *w = (struct writer){};
}
