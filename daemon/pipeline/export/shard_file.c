// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/shard_file.h"

#include <errno.h>

size_t shard_file_bytes(const struct shard_file *file) {
    size_t size = 0;

    for (size_t i = 0; i < file->shard.n_tensors; i++)
        size += file->shard.tensors[i].size;
    return size;
}

/* In the task's thread. */
static int write_shard(void *ctx) {
    struct shard_file *file = ctx;

    return safetensors_write(file->path, file->shard.tensors, file->shard.n_tensors, file->sha256,
                             &file->size, &file->failure);
}

int shard_file_start(struct shard_file *file, char *path, struct failure *failure) {
    int r;

    file->path = path;
    if (!path)
        return failure_oom(failure);
    r = task_start(&file->task, write_shard, file);
    return r ? failure_errno(failure, r, "cannot start a thread that writes", path) : 0;
}

/* Likewise. */
static int append_shard(void *ctx) {
    struct shard_file *file = ctx;

    return file->container_ops->add(&file->context, file->container, &file->shard);
}

int shard_file_append(struct shard_file *file, const struct format_context *context,
                      const struct format_ops *format, struct container *container,
                      struct failure *failure) {
    int r;

    file->context = *context;
    file->context.b = NULL;
    file->context.failure = &file->failure;
    file->container_ops = format->container;
    file->container = container;
    r = task_start(&file->task, append_shard, file);
    return r ? failure_errno(failure, r, "cannot start a thread that writes",
                             format->container->file)
             : 0;
}

int shard_file_finish(struct shard_file *file, struct failure *failure) {
    int r = task_finish(&file->task);

    if (r)
        *failure = file->failure;
    return r;
}

json_t *shard_file_json(const struct shard_file *file) {
    return json_pack("{s:s s:I}", "sha256", file->sha256, "bytes", (json_int_t)file->size);
}

void shard_file_done(struct shard_file *file) {
    task_finish(&file->task);
    shard_done(&file->shard);
    layer_codes_done(&file->codes);
    free(file->path);
    *file = (struct shard_file){};
}
