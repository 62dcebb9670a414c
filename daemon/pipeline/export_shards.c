// SPDX-License-Identifier: Apache-2.0
/*
 * The shards of a checkpoint: one per layer, and one for the rest. A layer that is in the job's
 * format already is linked; any other is read back, and its tensors are made by the format.
 */
#include "base/str.h"
#include "daemon/pipeline/export.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SHARD_NAME_SIZE 64

static void shard_name(const struct run *run, int i, char name[SHARD_NAME_SIZE]) {
    snprintf(name, SHARD_NAME_SIZE, "model-%05d-of-%05d.safetensors", i + 1, run_layers(run) + 1);
}

static int write_shard(struct run *run, struct folder *folder, int i, const struct shard *shard) {
    char name[SHARD_NAME_SIZE];
    cleanup(freep) char *path = NULL;
    int r;

    shard_name(run, i, name);
    path = str_format("%s/%s", folder->path, name);
    if (!path)
        return failure_oom(run->failure);
    for (size_t j = 0; j < shard->n_tensors; j++) {
        if (folder_map(folder, &shard->tensors[j], name))
            return failure_oom(run->failure);
    }
    r = safetensors_write(path, shard->tensors, shard->n_tensors, NULL, run->failure);
    return r ? r : folder_add_shard(run, folder, name, NULL);
}

static int link_layer(struct run *run, struct folder *folder, int layer) {
    cleanup(freep) char *from = work_layer_path(run, layer, "safetensors"), *to = NULL;
    const struct safetensors *file = run->shards[layer];
    char name[SHARD_NAME_SIZE];

    shard_name(run, layer, name);
    to = str_format("%s/%s", folder->path, name);
    if (!from || !to)
        return failure_oom(run->failure);
    if (link(from, to))
        return failure_errno(run->failure, -errno, "cannot create", to);
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
        r = run->params->format->add_layer(&context, &codes, &shard);
    if (!r && !safetensors_intact(run->shards[layer]))
        r = failure_set(run->failure, -EBADMSG, "damaged", "see who else writes into the folder",
                        "layer %d was cut short in '%s' while it was exported", layer,
                        run->work_dir);
    return r ? r : write_shard(run, folder, layer, &shard);
}

/* Embedding, last norm and head. */
static int write_rest(struct run *run, struct folder *folder) {
    const struct arch *arch = run->checkpoint->config.arch;
    const struct format_context context = run_format_context(run);
    cleanup(shard_done) struct shard shard = {};

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *row = &arch->tensors[i];
        const struct tensor *t =
            arch_in_layer(row) ? NULL : checkpoint_find(run->checkpoint, "%s.weight", row->name);
        int r = t ? run->params->format->add_plain(&context, t, &shard) : 0;

        if (r)
            return r;
    }
    return write_shard(run, folder, run_layers(run), &shard);
}

int export_shards(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *index = NULL;
    int r = 0;

    for (int i = 0; i < run_layers(run) && !r; i++) {
        r = run_cancelled(run);
        if (!r)
            r = run->params->format == run_work_format(run) ? link_layer(run, folder, i)
                                                            : make_layer(run, folder, i);
    }
    if (!r)
        r = write_rest(run, folder);
    if (r)
        return r;
    index = json_pack("{s:{s:I} s:O}", "metadata", "total_size", (json_int_t)folder->tensor_bytes,
                      "weight_map", folder->weight_map);
    return folder_write_json(run, folder, "model.safetensors.index.json", index);
}
