// SPDX-License-Identifier: Apache-2.0
/*
 * The shards of a checkpoint: one per layer, and one for the rest; each a file, or all in the one
 * file of the format. A layer of work/ that is in the format already is linked; any other is read
 * back, and its tensors are made by the format.
 */
#include "base/str.h"
#include "daemon/pipeline/export/folder.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SHARD_NAME_SIZE 64

static void shard_name(const struct run *run, int i, char name[SHARD_NAME_SIZE]) {
    snprintf(name, SHARD_NAME_SIZE, "model-%05d-of-%05d.safetensors", i + 1, run_layers(run) + 1);
}

static int map_tensors(struct run *run, struct folder *folder, int i, const struct shard *shard) {
    char name[SHARD_NAME_SIZE];

    shard_name(run, i, name);
    for (size_t j = 0; j < shard->n_tensors; j++) {
        if (folder_map(folder, &shard->tensors[j], name))
            return failure_oom(run->failure);
    }
    return 0;
}

static int write_shard(struct run *run, struct folder *folder, int i, const struct shard *shard) {
    const struct format_context context = run_format_context(run);
    char name[SHARD_NAME_SIZE];
    cleanup(freep) char *path = NULL;
    int r;

    if (folder->container)
        return folder->format->container->add(&context, folder->container, shard);
    shard_name(run, i, name);
    path = str_format("%s/%s", folder->path, name);
    if (!path)
        return failure_oom(run->failure);
    r = map_tensors(run, folder, i, shard);
    if (!r)
        r = safetensors_write(path, shard->tensors, shard->n_tensors, NULL, run->failure);
    return r ? r : folder_add_shard(run, folder, name, NULL);
}

/* Shard @i is the file @from, too. */
static int link_shard(struct run *run, struct folder *folder, int i, const char *from) {
    cleanup(freep) char *to = NULL;
    char name[SHARD_NAME_SIZE];

    shard_name(run, i, name);
    to = str_format("%s/%s", folder->path, name);
    if (!from || !to)
        return failure_oom(run->failure);
    return link(from, to) ? failure_errno(run->failure, -errno, "cannot create", to) : 0;
}

static int link_layer(struct run *run, struct folder *folder, int layer) {
    cleanup(freep) char *from = work_layer_path(run, layer, "safetensors");
    const struct safetensors *file = run->shards[layer];
    char name[SHARD_NAME_SIZE];
    int r = link_shard(run, folder, layer, from);

    if (r)
        return r;
    shard_name(run, layer, name);
    for (size_t i = 0; i < safetensors_n_tensors(file); i++) {
        if (folder_map(folder, safetensors_at(file, i), name))
            return failure_oom(run->failure);
    }
    return folder_add_shard(run, folder, name, json_object_get(run->reports[layer], "file"));
}

static int make_layer(struct run *run, struct folder *folder, int layer) {
    const struct weights_source source = run_source(run);
    const struct format_context context = run_format_context(run);
    cleanup(layer_codes_done) struct layer_codes codes = {};
    cleanup(shard_done) struct shard shard = {};
    int r;

    r = layer_codes_read(&source, layer, &codes, run->failure);
    if (!r)
        r = folder->format->add_layer(&context, &codes, &shard);
    if (!r && !(run->shards ? safetensors_intact(run->shards[layer])
                            : checkpoint_intact(run->checkpoint)))
        r = failure_set(run->failure, -EBADMSG, "damaged",
                        "check which other program writes into the folder",
                        "layer %d was cut short while it was exported", layer);
    return r ? r : write_shard(run, folder, layer, &shard);
}

/* Embedding, last norm and head. */
static int write_rest(struct run *run, struct folder *folder, const struct folder *other) {
    const struct arch *arch = run->checkpoint->config.arch;
    const struct format_context context = run_format_context(run);
    cleanup(shard_done) struct shard shard = {};
    cleanup(freep) char *from = NULL;
    char name[SHARD_NAME_SIZE];
    bool plain = true;
    int r;

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *row = &arch->tensors[i];
        const struct tensor *t =
            arch_in_layer(row) ? NULL : checkpoint_find(run->checkpoint, "%s.weight", row->name);

        r = t ? folder->format->add_plain(&context, t, &shard) : 0;
        if (r)
            return r;
        plain &= !t || shard.tensors[shard.n_tensors - 1].data == t->data;
    }
    folder->rest_is_plain = plain && !folder->container;
    if (!plain || !other || !other->rest_is_plain)
        return write_shard(run, folder, run_layers(run), &shard);
    shard_name(run, run_layers(run), name);
    from = str_format("%s/%s", other->path, name);
    r = map_tensors(run, folder, run_layers(run), &shard);
    return r ? r : link_shard(run, folder, run_layers(run), from);
}

/* ---- the one file of a format ---- */

static int open_container(struct run *run, struct folder *folder) {
    const struct format_context context = run_format_context(run);
    const struct container_ops *container = folder->format->container;
    cleanup(freep) char *path = NULL;

    if (!container)
        return 0;
    path = str_format("%s/%s", folder->path, container->file);
    if (!path)
        return failure_oom(run->failure);
    return container->open(&context, path, &folder->container);
}

static int finish_container(struct run *run, struct folder *folder) {
    const struct format_context context = run_format_context(run);
    const struct container_ops *container = folder->format->container;
    int r = container->finish(&context, folder->container);

    return r ? r : folder_add_shard(run, folder, container->file, NULL);
}

static int write_index(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *index =
        json_pack("{s:{s:I} s:O}", "metadata", "total_size", (json_int_t)folder->tensor_bytes,
                  "weight_map", folder->weight_map);

    return folder_write_json(run, folder, "model.safetensors.index.json", index);
}

/* ---- all of them ---- */

int export_shards(struct run *run, struct folder *folder, const struct folder *other) {
    bool linked = run->shards && folder->format == run_work_format(run);
    int r = open_container(run, folder);

    for (int i = 0; i < run_layers(run) && !r; i++) {
        r = run_cancelled(run);
        if (!r)
            r = linked ? link_layer(run, folder, i) : make_layer(run, folder, i);
        if (!r && run->made)
            r = progress_add(&run->progress, 1);
    }
    if (!r)
        r = write_rest(run, folder, other);
    if (r)
        return r;
    if (!checkpoint_intact(run->checkpoint))
        return failure_set(run->failure, -EBADMSG, "model_invalid",
                           "do not change a model while a job reads it; retry the job",
                           "a file of the model was cut short while it was exported");
    return folder->container ? finish_container(run, folder) : write_index(run, folder);
}
