// SPDX-License-Identifier: Apache-2.0
/*
 * Writes one finished layer at a time to work/, beside the computation. Zero-initialise; used by
 * the thread of the run.
 */
#pragma once

#include "base/task.h"
#include "daemon/pipeline/run.h"

struct writer {
    struct task task;
    const struct format_ops *format; /* lossless: of layers in work/ */
    struct format_context context;   /* without backend */
    struct layer_codes codes;        /* being written */
    char *path;
    int layer;
    json_t *report;
    char sha256[SHA256_TEXT_SIZE];
    uint64_t size;
    struct failure failure;
};

/*
 * writer_start() - write @codes (taken) as @layer; @report (taken) becomes its record. Waits for
 * the layer before it. Return: 0 or -errno, also that of the layer before.
 */
int writer_start(struct writer *writer, struct run *run, int layer, struct layer_codes *codes,
                 json_t *report);

/* writer_poll() - record the layer when it is on disk; never waits. Return: 0 or -errno. */
int writer_poll(struct writer *writer, struct run *run);

/* writer_finish() - wait for the layer and record it. Return: 0 or -errno. */
int writer_finish(struct writer *writer, struct run *run);

/* writer_done() - wait, forget what was not recorded, and free. */
void writer_done(struct writer *writer);
