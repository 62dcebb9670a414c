// SPDX-License-Identifier: Apache-2.0
/*
 * The shards of a checkpoint: one per layer, and one for the rest. gptq: the layers are in work/
 * already. dense: each is brought to the backend, which knows its weights, and written as bf16.
 */
#include "base/str.h"
#include "daemon/pipeline/export.h"
#include "daemon/pipeline/shard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
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

/* ---- gptq ---- */

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

/* ---- dense ---- */

/* @n elements of act on the device as bf16, in memory of the shard; NULL with *ret_r set. */
static void *download_bf16(struct run *run, struct shard *shard, struct span span, size_t n,
                           int *ret_r) {
    struct backend *b = run->b;
    uint16_t *bf16 = shard_block(shard, n * sizeof(*bf16));
    cleanup(freep) float *f32 = NULL;

    *ret_r = -ENOMEM;
    if (!bf16)
        return NULL;
    if (b->ops->act == DTYPE_BF16) {
        *ret_r = b->ops->download(b, bf16, span);
        return *ret_r ? NULL : bf16;
    }
    f32 = malloc(n * sizeof(*f32));
    if (!f32)
        return NULL;
    *ret_r = b->ops->download(b, f32, span);
    for (size_t i = 0; i < n && !*ret_r; i++)
        bf16[i] = f32_to_bf16(f32[i]);
    return *ret_r ? NULL : bf16;
}

static int add_group(struct run *run, struct shard *shard, int layer, enum group group,
                     const struct layer_weights *weights) {
    size_t act = dtype_size(run->b->ops->act), offset = 0;
    struct group_shape shape;

    group_shape(&run->checkpoint->config, group, &shape);
    for (int g = 0; g < shape.G; g++) {
        for (int p = 0; p < shape.n_parts; p++) {
            size_t n = (size_t)shape.parts[p].rows * shape.n;
            char name[MATRIX_NAME_SIZE + 8];
            void *data;
            int r;

            group_matrix_name(&shape, layer, g, p, name);
            strcat(name, ".weight");
            data = download_bf16(run, shard, span_slice(weights->matrices[group], offset, n * act),
                                 n, &r);
            if (data && shard_add(shard, name, DTYPE_BF16, shape.parts[p].rows, shape.n, data))
                r = -ENOMEM;
            if (r)
                return r;
            offset += n * act;
        }
    }
    return 0;
}

/* A tensor as bf16. */
static int add_bf16(struct shard *shard, const struct tensor *tensor) {
    struct tensor copy = *tensor;
    uint16_t *data;

    if (tensor->dtype == DTYPE_BF16)
        return shard_add_copy(shard, tensor);
    data = shard_block(shard, tensor->n * sizeof(*data));
    if (!data)
        return -ENOMEM;
    for (size_t i = 0; i < tensor->n; i++) {
        float value;

        dtype_to_f32(&value, (const char *)tensor->data + i * dtype_size(tensor->dtype),
                     tensor->dtype, 1);
        data[i] = f32_to_bf16(value);
    }
    copy.dtype = DTYPE_BF16;
    copy.size = tensor->n * sizeof(*data);
    copy.data = data;
    return shard_add_copy(shard, &copy);
}

static bool is_quantized(const char *name) {
    static const char *const suffixes[] = {".qweight", ".qzeros", ".scales", ".g_idx"};
    const char *suffix = strrchr(name, '.');

    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        if (str_equal(suffix, suffixes[i]))
            return true;
    }
    return false;
}

static int write_dense_layer(struct run *run, struct folder *folder, int layer,
                             struct layer_weights *weights, struct code_memory *codes) {
    const struct weights_source source = run_source(run);
    const struct safetensors *file = run->shards[layer];
    cleanup(shard_done) struct shard shard = {};
    int r;

    r = layer_weights_load(run->b, &source, layer, weights, codes, run->failure);
    for (size_t i = 0; i < safetensors_n_tensors(file) && !r; i++) {
        if (!is_quantized(safetensors_at(file, i)->name))
            r = add_bf16(&shard, safetensors_at(file, i));
    }
    for (int i = 0; i < N_GROUPS && !r; i++)
        r = add_group(run, &shard, layer, i, weights);
    return r ? r : write_shard(run, folder, layer, &shard);
}

static int write_dense_layers(struct run *run, struct folder *folder) {
    const struct model_config *c = &run->checkpoint->config;
    struct arena sizing = {}, arena = {};
    struct layer_weights weights = {};
    struct code_memory codes;
    int r;

    code_memory_take(c, run->params->groupsize, &sizing, &codes);
    r = arena_alloc(run->b, &sizing, &arena.all);
    if (!r)
        r = layer_weights_alloc(run->b, c, &weights);
    code_memory_take(c, run->params->groupsize, &arena, &codes);
    for (int i = 0; i < run_layers(run) && !r; i++) {
        r = run_cancelled(run);
        if (!r)
            r = write_dense_layer(run, folder, i, &weights, &codes);
    }
    layer_weights_free(run->b, &weights);
    run->b->ops->free(run->b, &arena.all);
    return r;
}

/* ---- both ---- */

/* Embedding, last norm and head. */
static int write_rest(struct run *run, struct folder *folder) {
    static const char *const names[] = {"model.embed_tokens.weight", "model.norm.weight",
                                        "lm_head.weight"};
    cleanup(shard_done) struct shard shard = {};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct tensor *t = checkpoint_find(run->checkpoint, "%s", names[i]);
        int r = 0;

        if (t)
            r = run->params->format == FORMAT_DENSE ? add_bf16(&shard, t)
                                                    : shard_add_copy(&shard, t);
        if (r)
            return failure_oom(run->failure);
    }
    return write_shard(run, folder, run_layers(run), &shard);
}

int export_shards(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *index = NULL;
    int r = 0;

    if (run->params->format == FORMAT_DENSE)
        r = write_dense_layers(run, folder);
    for (int i = 0; run->params->format == FORMAT_GPTQ && i < run_layers(run) && !r; i++) {
        r = run_cancelled(run);
        if (!r)
            r = link_layer(run, folder, i);
    }
    if (!r)
        r = write_rest(run, folder);
    if (r)
        return r;
    index = json_pack("{s:{s:I} s:O}", "metadata", "total_size", (json_int_t)folder->tensor_bytes,
                      "weight_map", folder->weight_map);
    return folder_write_json(run, folder, "model.safetensors.index.json", index);
}
