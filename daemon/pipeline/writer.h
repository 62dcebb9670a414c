// SPDX-License-Identifier: Apache-2.0
/*
 * Writes finished layers to work/, beside the computation: some at a time, each in a thread of its
 * own. They are recorded in their order, so what is on disk is always the layers up to some one.
 * Zero-initialise; used by the thread of the run.
 */
#pragma once

#include "base/task.h"
#include "daemon/pipeline/keep.h"

#define WRITER_LAYERS_MAX 4

struct writer;

/* A quantized layer that is on the way to host memory. */
struct made_layer {
    bool there;
    int layer;
    struct kept_layer kept; /* owned */
    json_t *report;         /* owned; it becomes the record */
};

void made_layer_done(struct made_layer *made);

/* A layer on its way to the disk. */
struct written {
    struct writer *writer;
    struct task task;
    struct kept_layer kept; /* owned */
    char *shard, *record;   /* paths; owned */
    char *weights;          /* the path of the shard in the job's own format, when it is of_weights;
                               NULL: the other shard is in it, or none is; owned */
    int layer;
    atomic_size_t held; /* bytes of host memory; the most that it may be until the shard is made */
    json_t *report;     /* owned */
    struct failure failure;
};

struct writer {
    const struct format_ops *format, *own; /* lossless: of layers in work/; of the job */
    struct format_context context;         /* without backend and failure */
    struct written layers[WRITER_LAYERS_MAX];
    int first, n; /* those at work, oldest first: layers[(first + i) % WRITER_LAYERS_MAX] */

    pthread_mutex_t lock; /* of what follows; made with the first layer */
    pthread_cond_t moved;
    int recorded; /* all layers before this one have their record */
    int failed;   /* the first layer that could not be written; INT_MAX: none */
    bool made;
};

/*
 * writer_take() - take what is in @made, if anything is there, once it is in host memory,
 * and write it. Waits while the layers at work hold more memory than they may. Return: 0 or
 * -errno, also that of a layer before.
 */
int writer_take(struct writer *writer, struct run *run, struct made_layer *made);

/* writer_poll() - report the layers that are on disk; never waits. Return: 0 or -errno. */
int writer_poll(struct writer *writer, struct run *run);

/* writer_finish() - wait for all layers and report them. Return: 0 or -errno. */
int writer_finish(struct writer *writer, struct run *run);

/* writer_done() - wait, forget what was not reported, and free. */
void writer_done(struct writer *writer);
