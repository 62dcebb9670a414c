// SPDX-License-Identifier: Apache-2.0
/*
 * The checkpoint that other software loads: shards, config.json with its quantization_config,
 * tokenizer files, quantd.json (what was done, and what came of it), and manifest.json, the hash
 * of every other file. It holds no time and no path, so the same job gives the same bytes.
 */
#include "daemon/pipeline/export.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/model/arch/json_python.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/params/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SMALL_FILE_MAX (64 << 20)

/* ---- the folder ---- */

void folder_done(struct folder *folder) {
    free(folder->path);
    json_decref(folder->files);
    json_decref(folder->weight_map);
    *folder = (struct folder){};
}

int folder_add(struct run *run, struct folder *folder, const char *name) {
    cleanup(freep) char *path = str_format("%s/%s", folder->path, name);
    char hash[SHA256_TEXT_SIZE];
    uint64_t size = 0;
    int r;

    if (!path)
        return failure_oom(run->failure);
    r = sha256_of_file(path, hash, &size);
    if (r)
        return failure_errno(run->failure, r, "cannot read", path);
    if (json_array_append_new(folder->files, json_pack("{s:s s:I s:s}", "name", name, "bytes",
                                                       (json_int_t)size, "sha256", hash)))
        return failure_oom(run->failure);
    return 0;
}

static int write_file(struct run *run, struct folder *folder, const char *name, const char *data,
                      size_t size) {
    cleanup(freep) char *path = str_format("%s/%s", folder->path, name);
    int r;

    if (!path)
        return failure_oom(run->failure);
    r = file_replace(path, data, size);
    if (r)
        return failure_errno(run->failure, r, "cannot write", path);
    return folder_add(run, folder, name);
}

int folder_write_json(struct run *run, struct folder *folder, const char *name,
                      const json_t *value) {
    cleanup(freep) char *text = NULL;

    text = value ? json_text_python(value, JSON_SORT_KEYS | JSON_INDENT(2)) : NULL;
    if (!text)
        return failure_oom(run->failure);
    return write_file(run, folder, name, text, strlen(text));
}

int folder_map(struct folder *folder, const struct tensor *tensor, const char *name) {
    folder->tensor_bytes += tensor->size;
    return json_object_set_new(folder->weight_map, tensor->name, json_string(name)) ? -ENOMEM : 0;
}

int folder_add_shard(struct run *run, struct folder *folder, const char *name, const json_t *file) {
    json_t *entry;
    int r = 0;

    if (!json_object_get(file, "sha256") || !json_object_get(file, "bytes")) {
        r = folder_add(run, folder, name);
    } else {
        entry = json_pack("{s:s s:O s:O}", "name", name, "bytes", json_object_get(file, "bytes"),
                          "sha256", json_object_get(file, "sha256"));
        if (json_array_append_new(folder->files, entry))
            r = failure_oom(run->failure);
    }
    if (r)
        return r;
    entry = json_array_get(folder->files, json_array_size(folder->files) - 1);
    folder->shard_bytes += json_integer_value(json_object_get(entry, "bytes"));
    return 0;
}

/* ---- what describes the checkpoint ---- */

static int write_config(struct run *run, struct folder *folder) {
    cleanup(freep) char *path = str_format("%s/config.json", run->checkpoint->dir);
    const struct format_context context = run_format_context(run);
    const struct format_ops *format = folder->format;
    cleanup(json_decrefp) json_t *config = NULL, *meta = NULL;
    const struct params *p = run->params;
    int r;

    meta = json_pack("{s:[s] s:f s:b s:b s:b s:b}", "quantizer", "quantd:" QUANTD_VERSION,
                     "damp_percent", p->percdamp, "static_groups", p->static_groups,
                     "true_sequential", p->true_sequential, "mse", p->grid == GRID_MSE, "nearest",
                     p->method == &method_rtn);
    if (!path || !meta)
        return failure_oom(run->failure);
    r = json_parse_python(path, SMALL_FILE_MAX, "model_invalid", &config, run->failure);
    if (run->made) /* it is another format's */
        json_object_del(config, "quantization_config");
    if (!r)
        r = format->describe(&context, meta, config);
    if (!r)
        r = folder_write_json(run, folder, "config.json", config);
    if (!r && format->config_file)
        r = folder_write_json(run, folder, format->config_file,
                              json_object_get(config, "quantization_config"));
    return r;
}

/* Files that go along as they are, when the model has them. */
static int copy_companions(struct run *run, struct folder *folder) {
    for (int i = 0; i < n_companions; i++) {
        const struct companion *companion = &companions[i];
        cleanup(freep) char *data = NULL;
        size_t size;
        int r;

        if (!companion->copied)
            continue;
        r = companion_read(companion, run->job->model_dir, &data, &size, run->failure);
        if (!r)
            r = write_file(run, folder, companion->name, data, size);
        if (r && r != -ENOENT)
            return r;
    }
    return 0;
}

/* The reports of all layers, without the times, which differ from run to run. */
static json_t *matrices_of(const struct run *run) {
    json_t *all = json_array(), *matrix;
    size_t i;

    for (int layer = 0; layer < run_layers(run); layer++) {
        json_array_foreach(json_object_get(run->reports[layer], "matrices"), i, matrix) {
            json_t *copy = json_copy(matrix);

            json_object_del(copy, "seconds");
            json_array_append_new(all, copy);
        }
    }
    return all;
}

/* What was done, and what came of it. */
static json_t *quantd_json(const struct run *run) {
    json_t *params = params_to_json(run->params), *perplexity = json_object();

    json_object_set_new(params, "seqlen", json_integer(run->seqlen));
    json_object_set_new(params, "batch", json_integer(run->batch));
    for (int i = 0; i < run->n_evals; i++)
        json_object_set(perplexity, run->evals[i].name, run->evals[i].result);
    return json_pack("{s:s s:s s:o s:s s:s s:o s:o}", "quantd", QUANTD_VERSION, "device",
                     run->b->ops->name, "params", params, "model_fingerprint", run->fingerprint,
                     "calibration_sha256", run->calibration ? run->calibration->sha256 : "",
                     "perplexity", perplexity, "matrices", matrices_of(run));
}

/* An export job tells what the job did whose codes it has; only the format is its own. */
static int write_quantd_json(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *all = run->made ? json_clone(run->made) : quantd_json(run);

    if (run->made && json_object_set_new(json_object_get(all, "params"), "format",
                                         json_string(folder->format->name)))
        return failure_oom(run->failure);
    return folder_write_json(run, folder, "quantd.json", all);
}

/* An empty folder @name of work/, for a checkpoint in @format. */
static int folder_begin(struct run *run, struct folder *folder, const struct format_ops *format,
                        const char *name) {
    int r;

    folder->format = format;
    folder->path = str_format("%s/%s", run->work_dir, name);
    folder->files = json_array();
    folder->weight_map = json_object();
    if (!folder->path || !folder->files || !folder->weight_map)
        return failure_oom(run->failure);
    r = dir_remove(folder->path); /* of an attempt that was stopped while it exported */
    if (!r)
        r = dir_make(folder->path);
    return r ? failure_errno(run->failure, r, "cannot set up", folder->path) : 0;
}

/* What a full disk cut short takes the room that other jobs may do with. */
static int folder_end(struct folder *folder, int r) {
    if (folder->path && (r == -ENOSPC || r == -EDQUOT))
        dir_remove(folder->path);
    return r;
}

/* The codes, for an export job, when @checkpoint does not hold them. */
static int keep_codes(struct run *run, const struct folder *checkpoint) {
    cleanup(folder_done) struct folder folder = {};
    int r = folder_begin(run, &folder, &format_neutral, "codes");

    if (!r)
        r = export_shards(run, &folder, checkpoint);
    if (!r)
        r = write_config(run, &folder);
    return folder_end(&folder, r);
}

/* Into the folder, which is empty. */
static int write_folder(struct run *run, struct folder *folder, json_t **ret_result) {
    cleanup(json_decrefp) json_t *manifest = NULL;
    int r = export_shards(run, folder, NULL);

    if (!r)
        r = write_config(run, folder);
    if (!r)
        r = copy_companions(run, folder);
    if (!r)
        r = write_quantd_json(run, folder);
    if (r)
        return r;
    manifest = json_pack("{s:O}", "files", folder->files);
    r = folder_write_json(run, folder, "manifest.json", manifest);
    if (!r && run_keeps_codes(run))
        r = keep_codes(run, folder);
    if (r)
        return r;
    *ret_result = json_pack("{s:I s:O}", "size_bytes", (json_int_t)folder->shard_bytes, "artifacts",
                            folder->files);
    return *ret_result ? 0 : failure_oom(run->failure);
}

int export_checkpoint(struct run *run, json_t **ret_result) {
    cleanup(folder_done) struct folder folder = {};
    int r;

    r = progress_phase(&run->progress, PHASE_EXPORT);
    if (!r)
        r = folder_begin(run, &folder, run->params->format, "artifact");
    if (!r)
        r = write_folder(run, &folder, ret_result);
    return folder_end(&folder, r);
}
