// SPDX-License-Identifier: Apache-2.0
/*
 * The files of another job that this one reads, against the hashes that its manifest.json lists.
 * Weights were hashed beside everything else, the other files are small.
 */
#include "api/wire.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <string.h>

#define MANIFEST_BYTES_MAX (64 << 20)

/* A folder of the job, "artifact" or "codes". */
struct listed {
    struct run *run;
    char *dir;        /* owned */
    const char *name; /* the last part of dir */
    json_t *manifest; /* owned */
};

static void listed_done(struct listed *listed) {
    free(listed->dir);
    json_decref(listed->manifest);
}

static int damaged(const struct listed *listed, const char *file, const char *what) {
    return failure_set(listed->run->failure, -EBADMSG, "folder_damaged",
                       "bring the job's folder back from a copy, or quantize the model again",
                       "'%s/%s' of %s %s", listed->name, file, listed->run->params->model, what);
}

/* The entry of @name; NULL: none. */
static const json_t *find(const struct listed *listed, const char *name) {
    json_t *file;
    size_t i;

    json_array_foreach(json_object_get(listed->manifest, "files"), i, file) {
        if (str_equal(json_string_value(json_object_get(file, "name")), name))
            return file;
    }
    return NULL;
}

static int compare(const struct listed *listed, const json_t *file, const char *name,
                   const char *sha256) {
    if (!file)
        return damaged(listed, name, "is not in manifest.json");
    return str_equal(json_string_value(json_object_get(file, "sha256")), sha256)
               ? 0
               : damaged(listed, name, "does not have the hash that its manifest.json lists");
}

/* Do the figures, or other files, follow from the file? Weights are not asked about. */
static bool is_read(const char *file) {
    for (int i = 0; i < n_companions; i++) {
        if (str_equal(file, companions[i].name))
            return companions[i].copied || companions[i].json;
    }
    return str_equal(file, "quantd.json") || str_equal(file, "quantize_config.json");
}

static int check_small(const struct listed *listed, const json_t *file) {
    const char *name = json_string_value(json_object_get(file, "name"));
    cleanup(freep) char *path = name ? str_format("%s/%s", listed->dir, name) : NULL;
    char sha256[SHA256_TEXT_SIZE];
    uint64_t size;
    int r;

    if (!name || !str_is_safe_name(name))
        return damaged(listed, "manifest.json", "lists a file without a good name");
    if (!is_read(name))
        return 0;
    r = path ? sha256_of_file(path, sha256, &size) : -ENOMEM;
    if (r == -ENOENT)
        return damaged(listed, name, "is missing");
    return r ? failure_open(listed->run->failure, r, "cannot read", path)
             : compare(listed, file, name, sha256);
}

/* Weights that the job reads, in the folder that they are in. */
static int check_weights(const struct listed *listed) {
    const struct checkpoint *checkpoint = listed->run->checkpoint;
    size_t n = strlen(listed->dir);

    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        const struct fingerprint_file *file = &checkpoint->files[i];
        int r;

        if (strncmp(file->path, listed->dir, n) || file->path[n] != '/')
            continue;
        r = compare(listed, find(listed, file->name), file->name,
                    fingerprint_sha256(listed->run->hashing, i));
        if (r)
            return r;
    }
    return 0;
}

static int check_folder(const struct listed *listed) {
    json_t *file;
    size_t i;
    int r = check_weights(listed);

    json_array_foreach(json_object_get(listed->manifest, "files"), i, file) {
        if (!r)
            r = check_small(listed, file);
    }
    return r;
}

static int read_manifest(struct listed *listed) {
    cleanup(freep) char *path = str_format("%s/manifest.json", listed->dir);

    return path ? json_parse_file(path, MANIFEST_BYTES_MAX, "folder_damaged", &listed->manifest,
                                  listed->run->failure)
                : failure_oom(listed->run->failure);
}

/* That of the checkpoint, which says what the job was and has its tokenizer. */
static int check_artifact(struct run *run) {
    cleanup(listed_done) struct listed artifact = {run, strdup(run->job->model_dir), "artifact"};
    int r = artifact.dir ? read_manifest(&artifact) : failure_oom(run->failure);

    if (r == -ENOENT)
        return damaged(&artifact, "manifest.json", "is missing");
    return r ? r : check_folder(&artifact);
}

static int warn(struct run *run) {
    *run->failure = (struct failure){};
    return run_event(run, WIRE_EVENT_JOB_WARNING,
                     json_pack("{s:s s:o}", "code", "codes_unchecked", "detail",
                               json_sprintf("%s is of an earlier version, which kept no hashes of "
                                            "its codes: whether they are whole was not checked",
                                            run->params->model)));
}

/* That of the codes, when they were read instead of the checkpoint. */
static int check_codes(struct run *run) {
    cleanup(listed_done) struct listed codes = {run, strdup(run->checkpoint->dir), "codes"};
    int r;

    if (run->checkpoint->is_gguf || str_equal(codes.dir, run->job->model_dir))
        return 0;
    r = codes.dir ? read_manifest(&codes) : failure_oom(run->failure);
    if (r == -ENOENT)
        return warn(run);
    return r ? r : check_folder(&codes);
}

int manifest_check(struct run *run) {
    int r;

    if (!str_has_prefix(run->params->model, "job:"))
        return 0;
    r = check_artifact(run);
    return r ? r : check_codes(run);
}
