// SPDX-License-Identifier: Apache-2.0
#include "daemon/jobdir/job_file.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static json_t *original_to_json(const struct job_original *original) {
    return json_pack("{ss ss? ss? ss ss}", "name", original->name, "dir", original->dir, "root",
                     original->root, "fingerprint", original->fingerprint, "why", original->why);
}

static json_t *states_to_json(const struct cache *states) {
    return json_pack("{ss ss sI sI}", "dir", states->dir, "id", states->id, "limit",
                     (json_int_t)states->limit, "floor", (json_int_t)states->floor);
}

static json_t *spec_to_json(const struct job_file_spec *spec) {
    cleanup(json_decrefp) json_t *roots = json_array();

    for (int i = 0; i < spec->n_data_roots; i++) {
        if (json_array_append_new(roots, json_string(spec->data_roots[i])))
            return NULL;
    }
    return json_pack("{si ss sI ss sO ss ss* sO sO ss so* so*}", "format", JOB_FILE_FORMAT,
                     "version", QUANTD_VERSION, "id", (json_int_t)spec->id, "kind", spec->kind,
                     "request", spec->request, "model_dir", spec->model_dir, "model_root",
                     spec->model_root, "files", spec->files, "data_roots", roots, "device",
                     spec->device, "original",
                     spec->original ? original_to_json(spec->original) : NULL, "states",
                     cache_is_on(spec->states) ? states_to_json(spec->states) : NULL);
}

int job_file_write(const char *dir, const struct job_file_spec *spec, struct failure *failure) {
    cleanup(json_decrefp) json_t *json = spec_to_json(spec);
    cleanup(freep) char *path = str_format("%s/job.json", dir), *before = NULL;
    cleanup(freep) char *text = json ? json_text(json, JSON_SORT_KEYS | JSON_INDENT(2)) : NULL;
    size_t size;
    int r;

    if (!path || !text)
        return failure_oom(failure);
    if (!file_read(path, JOB_FILE_MAX, &before, &size) && str_equal(before, text))
        return 0;
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(failure, r, "cannot write", path) : 0;
}

static int fetch(struct source *source, const char *host, const char *path, char **ret_path,
                 struct failure *failure) {
    const struct job_files *files = (const struct job_files *)source; /* its first member */
    cleanup(freep) char *key = str_format("%s/%s", host, path);
    const char *local = key ? json_string_value(json_object_get(files->paths, key)) : NULL;

    if (!key)
        return failure_oom(failure);
    if (!local)
        return failure_set(failure, -ENOENT, "dataset_not_found",
                           "name its local path under \"files\" of job.json",
                           "no local file is named for 'https://%s'", key);
    *ret_path = strdup(local);
    return *ret_path ? 0 : failure_oom(failure);
}

static int invalid(struct failure *failure, const char *what) {
    return failure_set(failure, -EBADMSG, "job_file_invalid", "see daemon/jobdir/job_file.h",
                       "job.json: %s", what);
}

static bool is_absolute(const json_t *path) {
    return json_is_string(path) && json_string_value(path)[0] == '/' &&
           strlen(json_string_value(path)) == json_string_length(path);
}

/* Checked first: in another format everything else may be different. */
static int check_version(const json_t *json, struct failure *failure) {
    json_int_t format = json_integer_value(json_object_get(json, "format"));
    const char *version = json_string_value(json_object_get(json, "version"));

    if (format == JOB_FILE_FORMAT && str_equal(version, QUANTD_VERSION))
        return 0;
    return failure_set(failure, -EPROTONOSUPPORT, "job_file_other",
                       "install the same version of quantd everywhere",
                       "job.json is of format %" JSON_INTEGER_FORMAT " and quantd %s; this is "
                       "format %d and quantd " QUANTD_VERSION,
                       format, version ? version : "?", JOB_FILE_FORMAT);
}

static int read_files(struct job_file *file, struct failure *failure) {
    json_t *paths = json_object_get(file->json, "files"), *path;
    const char *key;

    if (!json_is_object(paths))
        return invalid(failure, "'files' is no object");
    json_object_foreach(paths, key, path) {
        if (!is_absolute(path))
            return invalid(failure, "a path of 'files' is not absolute");
    }
    file->files = (struct job_files){.source = {.fetch = fetch}, .paths = paths};
    file->corpora.source = &file->files.source;
    return 0;
}

static int read_data_roots(struct job_file *file, struct failure *failure) {
    json_t *roots = json_object_get(file->json, "data_roots"), *root;
    size_t i;

    if (!json_is_array(roots))
        return invalid(failure, "'data_roots' is no array");
    file->data_roots = calloc(json_array_size(roots) + 1, sizeof(*file->data_roots));
    if (!file->data_roots)
        return failure_oom(failure);
    json_array_foreach(roots, i, root) {
        if (!is_absolute(root))
            return invalid(failure, "a path of 'data_roots' is not absolute");
        file->data_roots[i] = json_string_value(root);
    }
    file->corpora.data_roots = (char *const *)file->data_roots;
    file->corpora.n_data_roots = (int)json_array_size(roots);
    return 0;
}

static int read_original(struct job_file *file, struct failure *failure) {
    const json_t *json = json_object_get(file->json, "original");
    const json_t *dir = json_object_get(json, "dir"), *root = json_object_get(json, "root");

    if (!json)
        return 0;
    file->original = (struct job_original){
        .name = json_string_value(json_object_get(json, "name")),
        .dir = json_string_value(dir),
        .root = json_string_value(root),
        .fingerprint = json_string_value(json_object_get(json, "fingerprint")),
        .why = json_string_value(json_object_get(json, "why")),
    };
    if (!file->original.name || !file->original.fingerprint || !file->original.why ||
        (!json_is_null(dir) && !is_absolute(dir)) || (!json_is_null(root) && !is_absolute(root)))
        return invalid(failure, "'original' lacks a member, or a path of it is not absolute");
    return 0;
}

/* A folder that is not the one of the daemon is not used, and one that is missing not made. */
static int read_states(struct job_file *file, struct failure *failure) {
    const json_t *json = json_object_get(file->json, "states"), *dir = json_object_get(json, "dir");
    const char *id = json_string_value(json_object_get(json, "id"));
    json_int_t limit = json_integer_value(json_object_get(json, "limit"));
    json_int_t floor = json_integer_value(json_object_get(json, "floor"));
    int r;

    if (!json)
        return 0;
    if (!is_absolute(dir) || !id || limit < 0 || floor < 0)
        return invalid(failure, "'states' lacks a member, or its path is not absolute");
    r = cache_join(&file->states, json_string_value(dir), id, (uint64_t)limit, (uint64_t)floor);
    return r == -ENOMEM ? failure_oom(failure) : 0;
}

static int read_members(struct job_file *file, struct failure *failure) {
    const json_t *json = file->json, *model_dir = json_object_get(json, "model_dir");
    const json_t *model_root = json_object_get(json, "model_root");
    const char *kind = json_string_value(json_object_get(json, "kind"));

    file->id = json_integer_value(json_object_get(json, "id"));
    file->device = json_string_value(json_object_get(json, "device"));
    file->model_dir = json_string_value(model_dir);
    file->model_root = json_string_value(model_root);
    if (file->id < 1)
        return invalid(failure, "'id' is no id of a job");
    if (!file->device)
        return invalid(failure, "'device' is no string");
    if (!is_absolute(model_dir))
        return invalid(failure, "'model_dir' is no absolute path");
    if (model_root && !is_absolute(model_root))
        return invalid(failure, "'model_root' is no absolute path");
    if (job_kind_from_name(kind, &file->kind))
        return invalid(failure, "'kind' is not quantize, eval or export");
    return params_parse(file->kind, json_object_get(json, "request"), &file->params, failure);
}

int job_file_read(const char *dir, struct job_file **ret_file, struct failure *failure) {
    cleanup(job_file_freep) struct job_file *file = calloc(1, sizeof(*file));
    cleanup(freep) char *path = str_format("%s/job.json", dir);
    int r;

    if (!file || !path)
        return failure_oom(failure);
    r = json_parse_file(path, JOB_FILE_MAX, "job_file_invalid", &file->json, failure);
    if (!r && !json_is_object(file->json))
        r = invalid(failure, "it is no object");
    if (!r)
        r = check_version(file->json, failure);
    if (!r)
        r = read_members(file, failure);
    if (!r)
        r = read_original(file, failure);
    if (!r)
        r = read_states(file, failure);
    if (!r)
        r = read_files(file, failure);
    if (!r)
        r = read_data_roots(file, failure);
    if (r)
        return r;
    *ret_file = steal_ptr(file);
    return 0;
}

void job_file_free(struct job_file *file) {
    if (!file)
        return;
    params_free(file->params);
    free(file->data_roots);
    cache_close(&file->states);
    json_decref(file->json);
    free(file);
}
