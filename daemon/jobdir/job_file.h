// SPDX-License-Identifier: Apache-2.0
/*
 * JOBDIR/job.json: all that a run of a job needs to know, so that it can run where there is no
 * queue and no hub. Its members, all but model_root, original and states mandatory:
 *   format      JOB_FILE_FORMAT
 *   version     of the daemon that wrote it; another one refuses it
 *   id          of the job
 *   kind        "quantize", "eval" or "export"
 *   request     the parameters as they were asked for (daemon/pipeline/params/request.h)
 *   model_dir   absolute path of the model's folder
 *   model_root  the folder around model_dir that no link in it may leave; else model_dir
 *   files       {"HOST/PATH": absolute path}: the files of public data sets that the job reads
 *   data_roots  [absolute path]: where file:PATH is looked up
 *   device      "auto", "cpu", "cuda:N"
 *   original    of the model that an eval job measures (struct job_original): {name, dir, root,
 *               fingerprint, why}; dir and root may be null; optional
 *   states      folder of kept states (base/cache/cache.h): {dir, id, limit, floor}, the last two
 *               in bytes; optional. It is used where its id is found, which is where it is shared
 */
#pragma once

#include "base/cache/cache.h"
#include "base/cleanup.h"
#include "daemon/data/corpus.h"
#include "daemon/pipeline/job.h"
#include "daemon/pipeline/params/request.h"

#define JOB_FILE_FORMAT 1
#define JOB_FILE_MAX (1 << 20) /* bytes */

/* A source over the files that job.json lists. */
struct job_files {
    struct source source;
    const json_t *paths; /* {"HOST/PATH": path}; borrowed */
};

struct job_file {
    json_t *json; /* owned, and all strings below are its */
    int64_t id;
    enum job_kind kind;
    struct params *params; /* owned */
    const char *model_dir, *model_root, *device;
    struct job_original original; /* name NULL: none is named */
    struct cache states;          /* off when there is none here; owned */
    struct job_files files;
    const char **data_roots; /* [corpora.n_data_roots], owned */
    struct corpora corpora;  /* over the two above */
};

/* What job.json says, for its writer; all borrowed. */
struct job_file_spec {
    int64_t id;
    const char *kind;
    const json_t *request;
    const char *model_dir, *model_root; /* model_root NULL: the folder itself */
    const json_t *files;                /* {"HOST/PATH": path} */
    char *const *data_roots;            /* [n_data_roots] */
    int n_data_roots;
    const char *device;
    const struct job_original *original; /* NULL: none is named */
    const struct cache *states;          /* NULL: none are kept */
};

/*
 * job_file_write() - write DIR/job.json, whole or not at all; one that says the same stays. Any
 * thread. Return: 0 or -errno with the failure.
 */
int job_file_write(const char *dir, const struct job_file_spec *spec, struct failure *failure);

/*
 * job_file_read() - read DIR/job.json, untrusted; the caller owns *ret_file. Any thread.
 * Return: 0; -EPROTONOSUPPORT (job_file_other: of another format or version); -EBADMSG
 * (job_file_invalid); -EINVAL: its request is no good; -ENOENT; or -errno.
 */
int job_file_read(const char *dir, struct job_file **ret_file, struct failure *failure);
void job_file_free(struct job_file *file); /* NULL is fine */
DEFINE_CLEANUP(struct job_file *, job_file_freep, job_file_free)
