// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/writer.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "daemon/pipeline/report.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* ---- in a layer's thread ---- */

/* The layer in @format to @path, which is hashed, for the record. */
static int write_shard(struct written *w, const struct format_ops *format, const char *path) {
    const char *name = format == w->writer->own ? "file" : "codes_file";
    struct format_context context = w->writer->context;
    cleanup(shard_done) struct shard shard = {};
    char sha256[SHA256_TEXT_SIZE];
    json_t *file;
    uint64_t size;
    int r;

    context.failure = &w->failure;
    r = format->add_layer(&context, &w->kept.codes, &shard);
    atomic_store(&w->held, layer_codes_bytes(&w->kept.codes) + shard.bytes);
    if (!r)
        r = safetensors_write(path, shard.tensors, shard.n_tensors, sha256, &size, &w->failure);
    if (r)
        return r;
    file = json_pack("{s:s s:I}", "sha256", sha256, "bytes", (json_int_t)size);
    return json_object_set_new(w->report, name, file) ? failure_oom(&w->failure) : 0;
}

static int write_shards(struct written *w) {
    int r = keep_finish(&w->kept, w->layer, &w->failure);

    if (!r)
        r = write_shard(w, w->writer->format, w->shard);
    if (r || !w->weights)
        return r;
    return write_shard(w, w->writer->own, w->weights);
}

static int write_record(struct written *w) {
    cleanup(freep) char *text = json_text(w->report, JSON_SORT_KEYS | JSON_COMPACT);
    int r = text ? file_replace(w->record, text, strlen(text)) : failure_oom(&w->failure);

    return r && text ? failure_errno(&w->failure, r, "cannot write", w->record) : r;
}

/* Waits until all layers before are recorded. Return: 0, or -ECANCELED when one of them failed. */
static int wait_turn(struct written *w) {
    struct writer *writer = w->writer;
    int r;

    pthread_mutex_lock(&writer->lock);
    while (writer->recorded != w->layer && writer->failed > w->layer)
        pthread_cond_wait(&writer->moved, &writer->lock);
    r = writer->recorded == w->layer ? 0 : -ECANCELED;
    pthread_mutex_unlock(&writer->lock);
    return r;
}

static void end_turn(struct written *w, int r) {
    struct writer *writer = w->writer;

    pthread_mutex_lock(&writer->lock);
    if (r)
        writer->failed = MIN(writer->failed, w->layer);
    else
        writer->recorded = w->layer + 1;
    pthread_cond_broadcast(&writer->moved);
    pthread_mutex_unlock(&writer->lock);
}

static int write_layer(void *ctx) {
    struct written *w = ctx;
    int r = write_shards(w);

    if (!r)
        r = wait_turn(w);
    if (!r)
        r = write_record(w);
    if (r) { /* without its record it counts for nothing: a full disk can do without it */
        unlink(w->shard);
        if (w->weights)
            unlink(w->weights);
    }
    end_turn(w, r);
    return r;
}

/* ---- in the thread of the run ---- */

static void written_done(struct written *w) {
    kept_layer_done(&w->kept);
    json_decref(w->report);
    free(w->shard);
    free(w->weights);
    free(w->record);
    *w = (struct written){};
}

/* Waits for the oldest layer and reports it. */
static int take_oldest(struct writer *writer, struct run *run) {
    struct written *w = &writer->layers[writer->first];
    int layer = w->layer, r = task_finish(&w->task);
    json_t *report = steal_ptr(w->report);

    if (r)
        *run->failure = w->failure;
    else
        r = report_scales(run, &w->kept.codes);
    written_done(w);
    writer->first = (writer->first + 1) % WRITER_LAYERS_MAX;
    writer->n--;
    if (!r)
        return work_keep_layer(run, layer, report);
    json_decref(report);
    return r;
}

static size_t bytes_at_work(const struct writer *writer) {
    size_t bytes = 0;

    for (int i = 0; i < writer->n; i++)
        bytes += atomic_load(&writer->layers[(writer->first + i) % WRITER_LAYERS_MAX].held);
    return bytes;
}

/*
 * What @made holds at most: grids become those of single matrices, and a format may pack the codes
 * again.
 */
static size_t most_bytes(const struct made_layer *made) {
    return 2 * made->kept.codes.plain.bytes - made->kept.weights_size;
}

static int writer_make(struct writer *writer, struct run *run, int layer) {
    if (writer->made)
        return 0;
    writer->format = run_work_format(run);
    writer->own = run->params->format;
    writer->context = run_format_context(run);
    writer->context.b = NULL; /* it is this thread's */
    writer->context.failure = NULL;
    writer->recorded = layer;
    writer->failed = INT_MAX;
    if (pthread_mutex_init(&writer->lock, NULL))
        return failure_oom(run->failure);
    if (pthread_cond_init(&writer->moved, NULL)) {
        pthread_mutex_destroy(&writer->lock);
        return failure_oom(run->failure);
    }
    writer->made = true;
    return 0;
}

void made_layer_done(struct made_layer *made) {
    kept_layer_done(&made->kept);
    json_decref(made->report);
    *made = (struct made_layer){};
}

static int start(struct writer *writer, struct run *run, struct made_layer *made) {
    struct written *w = &writer->layers[(writer->first + writer->n) % WRITER_LAYERS_MAX];
    bool weights = writer->own->of_weights;
    int r;

    *w = (struct written){.writer = writer,
                          .layer = made->layer,
                          .held = most_bytes(made),
                          .shard = work_layer_path(run, made->layer, WORK_LAYER),
                          .weights =
                              weights ? work_layer_path(run, made->layer, WORK_WEIGHTS) : NULL,
                          .record = work_layer_path(run, made->layer, WORK_RECORD),
                          .kept = made->kept,
                          .report = made->report};
    *made = (struct made_layer){};
    r = w->shard && w->record && (w->weights || !weights) ? task_start(&w->task, write_layer, w)
                                                          : -ENOMEM;
    if (r) {
        failure_errno(run->failure, r, "cannot start a thread that writes into", run->work_dir);
        written_done(w);
        return r;
    }
    writer->n++;
    return 0;
}

int writer_take(struct writer *writer, struct run *run, struct made_layer *made) {
    size_t room = run_host_memory();
    int r;

    if (!made->there)
        return 0;
    r = run->b->ops->fetch_wait(run->b);
    if (!r)
        r = writer_make(writer, run, made->layer);
    while (!r && writer->n > 0 &&
           (writer->n == WRITER_LAYERS_MAX || bytes_at_work(writer) + most_bytes(made) > room))
        r = take_oldest(writer, run);
    if (!r)
        r = run_cancelled(run); /* the report of a layer before may have led to a cancel */
    return r ? r : start(writer, run, made);
}

int writer_poll(struct writer *writer, struct run *run) {
    int r = 0;

    while (!r && writer->n > 0 && task_is_done(&writer->layers[writer->first].task))
        r = take_oldest(writer, run);
    return r;
}

int writer_finish(struct writer *writer, struct run *run) {
    int r = 0;

    while (!r && writer->n > 0)
        r = take_oldest(writer, run);
    return r;
}

void writer_done(struct writer *writer) {
    for (; writer->n > 0; writer->n--) {
        struct written *w = &writer->layers[writer->first];

        task_finish(&w->task);
        written_done(w);
        writer->first = (writer->first + 1) % WRITER_LAYERS_MAX;
    }
    if (writer->made) {
        pthread_cond_destroy(&writer->moved);
        pthread_mutex_destroy(&writer->lock);
    }
    *writer = (struct writer){};
}
