// SPDX-License-Identifier: Apache-2.0
/*
 * The shards of a checkpoint: one per layer, and one for the rest; each a file, or all in the one
 * file of the format. A layer of work/ that is in the format already is linked; any other is read
 * back, and its tensors are made by the format.
 */
#include "base/str.h"
#include "daemon/pipeline/export/folder.h"
#include "daemon/pipeline/export/rest.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
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

/* ---- shards on their way to the disk ---- */

/* Waits for the oldest shard and enters it. */
static int take_oldest(struct run *run, struct folder *folder) {
    struct shard_file *oldest = &folder->shards[folder->first];
    cleanup(json_decrefp) json_t *file = NULL;
    int r = shard_file_finish(oldest, run->failure);

    if (!r && oldest->path) {
        file = shard_file_json(oldest);
        r = file ? folder_add_shard(run, folder, strrchr(oldest->path, '/') + 1, file)
                 : failure_oom(run->failure);
    }
    shard_file_done(oldest);
    folder->first = (folder->first + 1) % FOLDER_SHARDS_MAX;
    folder->n_shards--;
    return r;
}

static int take_all(struct run *run, struct folder *folder) {
    int r = 0;

    while (!r && folder->n_shards > 0)
        r = take_oldest(run, folder);
    return r;
}

/*
 * Waits until there is room for @size more bytes; the place of the next shard is empty then. One
 * file takes one after the other.
 */
static int make_room(struct run *run, struct folder *folder, size_t size) {
    int most = folder->container ? 1 : FOLDER_SHARDS_MAX;

    for (;;) {
        size_t all = size;
        int r;

        for (int i = 0; i < folder->n_shards; i++)
            all += shard_file_bytes(&folder->shards[(folder->first + i) % FOLDER_SHARDS_MAX]);
        if (!folder->n_shards || (folder->n_shards < most && all <= run_host_memory()))
            return 0;
        r = take_oldest(run, folder);
        if (r)
            return r;
    }
}

/* Shard @i is made of @made, which is taken. */
static int write_shard(struct run *run, struct folder *folder, int i, struct shard_file *made) {
    const struct format_context context = run_format_context(run);
    struct shard_file *place;
    char name[SHARD_NAME_SIZE];
    int r;

    shard_name(run, i, name);
    r = folder->container ? 0 : map_tensors(run, folder, i, &made->shard);
    if (!r)
        r = make_room(run, folder, shard_file_bytes(made));
    if (r)
        return r;
    place = &folder->shards[(folder->first + folder->n_shards++) % FOLDER_SHARDS_MAX];
    *place = *made;
    *made = (struct shard_file){};
    if (folder->container)
        return shard_file_append(place, &context, folder->format, folder->container, run->failure);
    return shard_file_start(place, str_format("%s/%s", folder->path, name), run->failure);
}

/* ---- shards that are there already ---- */

/* Are the layers of @folder in work/ as they are? */
static bool is_linked(const struct run *run, const struct folder *folder) {
    return run->shards && (folder->format == run_work_format(run) || folder->format->of_weights);
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
    bool weights = folder->format->of_weights;
    cleanup(freep) char *from = work_layer_path(run, layer, weights ? WORK_WEIGHTS : WORK_LAYER);
    cleanup(safetensors_freep) struct safetensors *opened = NULL;
    char name[SHARD_NAME_SIZE];
    int r = link_shard(run, folder, layer, from);

    if (!r && weights)
        r = safetensors_open(NULL, from, &opened, run->failure);
    if (r)
        return r;
    const struct safetensors *file = weights ? opened : run->shards[layer];

    shard_name(run, layer, name);
    for (size_t i = 0; i < safetensors_n_tensors(file); i++) {
        if (folder_map(folder, safetensors_at(file, i), name))
            return failure_oom(run->failure);
    }
    return folder_add_shard(
        run, folder, name,
        json_object_get(run->reports[layer],
                        folder->format == run->params->format ? "file" : "codes_file"));
}

/* ---- one layer, and the rest ---- */

static int make_layer(struct run *run, struct folder *folder, int layer) {
    const struct weights_source source = run_source(run);
    const struct format_context context = run_format_context(run);
    cleanup(shard_file_done) struct shard_file made = {};
    int r;

    r = layer_codes_read(&source, layer, &made.codes, run->failure);
    if (!r)
        r = folder->format->add_layer(&context, &made.codes, &made.shard);
    if (!r && !(run->shards ? safetensors_intact(run->shards[layer])
                            : checkpoint_intact(run->checkpoint)))
        r = failure_set(run->failure, -EBADMSG, "damaged",
                        "check which other program writes into the folder",
                        "layer %d was cut short while it was exported", layer);
    return r ? r : write_shard(run, folder, layer, &made);
}

/* The last shard is the one that was begun first. */
static int link_rest(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *file = NULL;
    char name[SHARD_NAME_SIZE];
    int r = rest_finish(run);

    shard_name(run, run_layers(run), name);
    if (!r)
        r = map_tensors(run, folder, run_layers(run), &run->rest->file.shard);
    if (!r)
        r = link_shard(run, folder, run_layers(run), run->rest->file.path);
    if (r)
        return r;
    file = shard_file_json(&run->rest->file);
    return file ? folder_add_shard(run, folder, name, file) : failure_oom(run->failure);
}

/* Embedding, last norm and head. */
static int add_rest(struct run *run, struct folder *folder) {
    cleanup(shard_file_done) struct shard_file made = {};
    bool begun = run->rest && folder->format == run->params->format, plain;
    int r = begun ? 0 : rest_make(run, folder->format, &made.shard, &plain);

    if (r)
        return r;
    return begun || (run->rest && run->rest->plain && plain)
               ? link_rest(run, folder)
               : write_shard(run, folder, run_layers(run), &made);
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
    cleanup(json_decrefp) json_t *file = NULL;
    char sha256[SHA256_TEXT_SIZE];
    uint64_t size;
    int r = container->finish(&context, folder->container, sha256, &size);

    if (r)
        return r;
    file = json_pack("{s:s s:I}", "sha256", sha256, "bytes", (json_int_t)size);
    return file ? folder_add_shard(run, folder, container->file, file) : failure_oom(run->failure);
}

static int write_index(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *index =
        json_pack("{s:{s:I} s:O}", "metadata", "total_size", (json_int_t)folder->tensor_bytes,
                  "weight_map", folder->weight_map);

    return folder_write_json(run, folder, "model.safetensors.index.json", index);
}

/* ---- all of them ---- */

int export_shards(struct run *run, struct folder *folder) {
    bool linked = is_linked(run, folder);
    int r = open_container(run, folder);

    for (int i = 0; i < run_layers(run) && !r; i++) {
        r = run_cancelled(run);
        if (!r)
            r = linked ? link_layer(run, folder, i) : make_layer(run, folder, i);
        if (!r && run->made)
            r = progress_add(&run->progress, 1);
    }
    if (!r)
        r = take_all(run, folder);
    if (!r)
        r = add_rest(run, folder);
    if (!r)
        r = take_all(run, folder);
    if (r)
        return r;
    if (!checkpoint_intact(run->checkpoint))
        return failure_set(run->failure, -EBADMSG, "model_invalid",
                           "do not change a model while a job reads it; retry the job",
                           "a file of the model was cut short while it was exported");
    return folder->container ? finish_container(run, folder) : write_index(run, folder);
}
