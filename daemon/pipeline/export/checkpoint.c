// SPDX-License-Identifier: Apache-2.0
/*
 * The checkpoint that other software loads: shards, config.json with its quantization_config,
 * tokenizer files, quantd.json (what was done, and what came of it), README.md, and manifest.json,
 * the hash of every other file. It holds no time and no path, so the same job gives the same bytes.
 */
#include "daemon/pipeline/export/folder.h"

#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/model/arch/json_python.h"
#include "daemon/pipeline/export/card.h"
#include "daemon/pipeline/export/reexport.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/params/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SMALL_FILE_MAX (64 << 20)

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
    r = json_parse_python(run->checkpoint->root, path, SMALL_FILE_MAX, "model_invalid", &config,
                          run->failure);
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
        r = companion_read(companion, job_model_root(run->job), run->job->model_dir, &data, &size,
                           run->failure);
        if (!r)
            r = folder_write(run, folder, companion->name, data, size);
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
    json_t *difference = json_object();
    struct backend_info info;

    json_object_set_new(params, "seqlen", json_integer(run->seqlen));
    json_object_set_new(params, "batch", json_integer(run->batch));
    for (int i = 0; i < run->n_evals; i++)
        json_object_set(perplexity, run->evals[i].name, run->evals[i].result);
    for (int i = 0; i < run->n_evals; i++) {
        json_t *value = json_object_get(run->evals[i].details, "difference");

        if (value)
            json_object_set(difference, run->evals[i].name, value);
    }
    run->b->ops->info(run->b, &info);
    return json_pack("{s:s s:s s:s s:o s:s s:s s:o s:o s:o}", "quantd", QUANTD_VERSION, "device",
                     run->b->ops->name, "library", info.library, "params", params,
                     "model_fingerprint", run->fingerprint, "calibration_sha256",
                     run->calibration ? run->calibration->sha256 : "", "perplexity", perplexity,
                     "difference", difference, "matrices", matrices_of(run));
}

/* An export job records the parameters of the job whose codes it has; only these are its own. */
static int write_quantd_json(struct run *run, struct folder *folder) {
    cleanup(json_decrefp) json_t *all = run->made ? json_clone(run->made) : quantd_json(run);
    cleanup(freep) char *card = NULL;
    struct license license;
    int r;

    if (!all || (run->made && reexport_set_own(run->params, json_object_get(all, "params"))))
        return failure_oom(run->failure);
    r = folder_write_json(run, folder, "quantd.json", all);
    if (!r)
        r = license_read(job_model_root(run->job), run->job->model_dir, &license, run->failure);
    if (!r)
        r = card_new(all, run->params, &run->quantization, &run->checkpoint->config, &license,
                     &card, run->failure);
    return r ? r : folder_write(run, folder, "README.md", card, strlen(card));
}

/* The codes, for an export job, when the checkpoint does not hold them; with hashes of their own.
 */
static int keep_codes(struct run *run) {
    cleanup(folder_done) struct folder folder = {};
    int r = folder_begin(run, &folder, &format_neutral, "codes");

    if (!r)
        r = export_shards(run, &folder);
    if (!r)
        r = write_config(run, &folder);
    if (!r)
        r = folder_list(run, &folder);
    return folder_end(&folder, r);
}

/* Into the folder, which is empty. */
static int write_folder(struct run *run, struct folder *folder, json_t **ret_result) {
    int r = export_shards(run, folder);

    if (!r)
        r = write_config(run, folder);
    if (!r)
        r = copy_companions(run, folder);
    if (!r)
        r = write_quantd_json(run, folder);
    if (!r)
        r = folder_list(run, folder);
    if (!r && run_keeps_codes(run))
        r = keep_codes(run);
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
