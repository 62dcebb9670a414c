// SPDX-License-Identifier: Apache-2.0
/*
 * A temporary folder with two short texts and a backend, in which a test runs jobs of the demo
 * model by pipeline_run() and looks at what they say and leave. Every function fails the test
 * that calls it when something is wrong with the folder itself. One thread.
 */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/safetensors/safetensors.h"
#include "daemon/pipeline/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAB_EVAL "file:evaluation.txt"

struct lab {
    char *root;    /* the folder; owned */
    char *demo;    /* the demo model; owned */
    char *data[1]; /* the data root, ROOT/data; owned */
    bool keeps;    /* the caller removes the folder */
    struct backend *backend;
    struct source_mirror mirror; /* of nothing */
    struct corpora corpora;

    /* The last run: */
    json_t *events; /* [{kind, data}], in order; owned */
    bool cancels;   /* the observer asks it to stop */

    /* The next run is cancelled at the @stop_at-th event of @stop_kind; 0: never. */
    const char *stop_kind;
    int stop_at;
    const char *fail_kind; /* events of this kind are refused with -EIO */
};

/*
 * lab_device() - the labs of this program compute on the device that its first argument names, or,
 * without one, on the cpu. Return: 0, or EXIT_SKIP when no such device is there, which is printed.
 */
#define EXIT_SKIP 77
int lab_device(int argc, char **argv);

/* lab_setup(), lab_teardown() - fixtures of a cmocka group; the state is a struct lab. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* lab_open() - a lab in the existing folder @root, or in a new one when NULL. */
struct lab *lab_open(const char *root);
void lab_free(struct lab *lab);

/* lab_path() - a path under the folder; owned by the caller. */
char *lab_path(const struct lab *lab, const char *format, ...) printf_format(2, 3);

/* lab_json() - the JSON of @text, which says ' for "; owned by the caller. */
json_t *lab_json(const char *text);

/*
 * lab_run() - run @request (JSON, ' for ") in ROOT/jobs/@job on the model at @model (NULL: the
 * demo). What the request leaves out is filled in: dataset file:calibration.txt, eval LAB_EVAL,
 * nsamples 8, seqlen 128; {'kind': 'eval'} makes it an evaluation, and
 * {'kind': 'export'} an export of the job whose checkpoint is @model. Return: as pipeline_run().
 */
int lab_run(struct lab *lab, const char *job, const char *model, const char *request,
            json_t **ret_result, struct failure *failure);

/* lab_must() - lab_run() that must succeed; the result is owned by the caller. */
json_t *lab_must(struct lab *lab, const char *job, const char *model, const char *request);

/*
 * lab_must_fail() - lab_run() that must fail with code @code, a detail that has @words in it and a
 * hint, and leave neither artifact nor result.
 */
void lab_must_fail(struct lab *lab, const char *job, const char *model, const char *request,
                   const char *code, const char *words);

/* lab_perplexity() - of LAB_EVAL. */
double lab_perplexity(const json_t *result);

/* lab_count() - events of @kind in the last run. */
int lab_count(const struct lab *lab, const char *kind);

/* lab_digest() - {name: sha256} of the files in ROOT/jobs/@job/artifact; owned by the caller. */
json_t *lab_digest(const struct lab *lab, const char *job);

/* lab_exists() - is ROOT/jobs/@job/@name there? */
bool lab_exists(const struct lab *lab, const char *job, const char *name);

/* lab_copy() - copy the files of folder @from to ROOT/models/@name; its path, owned. */
char *lab_copy(const struct lab *lab, const char *from, const char *name);

/* lab_edit_json() - set @key of the JSON file @name in @model; @value NULL: delete it. */
void lab_edit_json(const char *model, const char *name, const char *key, json_t *value);

/*
 * A tensor on its way to another model: @t and its bytes, t->size at @data, may be changed; with
 * another dtype or shape *@ret_data is memory that becomes the lab's. Return: keep it?
 */
typedef bool lab_edit(void *ctx, struct tensor *t, unsigned char *data, void **ret_data);

/*
 * lab_rewrite() - the model at @from as ROOT/models/@name, every tensor gone through @edit, all
 * in one model.safetensors; its path, owned by the caller.
 */
char *lab_rewrite(const struct lab *lab, const char *from, const char *name, lab_edit *edit,
                  void *ctx);
