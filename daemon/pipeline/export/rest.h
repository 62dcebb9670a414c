// SPDX-License-Identifier: Apache-2.0
/*
 * The last shard of a checkpoint: embedding, last norm and head. It needs no layer, so it is
 * written to work/ as soon as a job has begun, and linked from there. The thread of the run.
 */
#pragma once

#include "daemon/pipeline/export/shard_file.h"
#include "daemon/pipeline/run.h"

struct rest {
    struct shard_file file;
    bool plain; /* the tensors are the model's own, as they are */
};

/*
 * rest_make() - append the tensors to the empty @shard; some borrow from the model. *ret_plain:
 * all do. Return: 0 or -errno.
 */
int rest_make(struct run *run, const struct format_ops *format, struct shard *shard,
              bool *ret_plain);

/* rest_finish() - wait for what rest_begin() (run.h) has begun. Return: 0 or -errno. */
int rest_finish(struct run *run);
