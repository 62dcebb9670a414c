// SPDX-License-Identifier: Apache-2.0
/*
 * What an earlier attempt left in a job's folder, one record of it hostile: the first byte chooses
 * which. The job, one layer of a tiny model, goes on from there and ends in any way but badly.
 */
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/pipeline.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/model/tiny_model.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REQUEST                                                                                    \
    "{\"model\":\"m\",\"wbits\":4,\"groupsize\":32,\"nearest\":true,\"eval\":[\"file:x.txt\"],"    \
    "\"seqlen\":16}"
#define TEXT "the quick brown fox jumps over the lazy dog and back again"
#define RECORD_MAX ((size_t)1 << 20)

/* The records; PLAN_REST is what follows the true settings and files in a plan. */
enum { PLAN, PLAN_REST, REPORT, SHARD, EVAL, RESULT, N_RECORDS };

static const char *const names[N_RECORDS] = {
    "work/plan.json",   "work/plan.json", "work/layer-000.json", "work/layer-000.safetensors",
    "work/eval-0.json", "result.json",
};

/* The tiny world, of the process. */
static struct {
    struct params *params;
    struct backend *backend;
    struct source_mirror mirror;
    struct corpora corpora;
    char model[96], data[96], job[96];
    char *root;
    struct {
        char *data; /* as a sound attempt wrote it */
        size_t size;
    } records[N_RECORDS];
    const char *stop_at; /* an event */
    bool stopped;
} lab;

static int on_event(void *ctx, const char *kind, json_t *data) {
    (void)ctx;
    fuzz_require(json_is_object(data));
    if (str_equal(kind, "layer.found"))
        fuzz_require(json_integer_value(json_object_get(data, "layer")) == 0);
    lab.stopped |= str_equal(kind, lab.stop_at);
    return 0;
}

static bool on_cancelled(void *ctx) {
    (void)ctx;
    return lab.stopped;
}

static int run(json_t **ret_result, struct failure *failure) {
    const struct pipeline_observer observer = {NULL, on_event, on_cancelled};
    const struct pipeline_job job = {.params = lab.params,
                                     .model_dir = lab.model,
                                     .dir = lab.job,
                                     .corpora = &lab.corpora,
                                     .observer = &observer};

    lab.stopped = false;
    return pipeline_run(&job, lab.backend, ret_result, failure);
}

static void put(int record, const void *data, size_t size) {
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", lab.job, names[record]);
    fuzz_require(file_replace(path, data, size) == 0);
}

static void keep(int record) {
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", lab.job, names[record]);
    fuzz_require(
        !file_read(path, RECORD_MAX, &lab.records[record].data, &lab.records[record].size));
}

/* Stops an attempt after its evaluation, when all records are there, and lets another one end. */
static void make_records(void) {
    cleanup(json_decrefp) json_t *result = NULL;
    struct failure failure = {};

    lab.stop_at = "eval.finished";
    fuzz_require(run(&result, &failure) != 0);
    lab.stop_at = NULL;
    for (int i = PLAN; i <= EVAL; i++)
        keep(i);
    if (run(&result, &failure))
        fuzz_fail(__FILE__, __LINE__, failure.detail);
    keep(RESULT);
}

static void set_up(void) {
    cleanup(json_decrefp) json_t *request = json_loads(REQUEST, 0, NULL);
    struct failure failure = {};

    snprintf(lab.model, sizeof(lab.model), "%s/model", fuzz_folder());
    snprintf(lab.data, sizeof(lab.data), "%s/data", fuzz_folder());
    snprintf(lab.job, sizeof(lab.job), "%s/job", fuzz_folder());
    fuzz_require(!dir_make(lab.data) && !dir_make(lab.job));
    fuzz_file("data/x.txt", TEXT, strlen(TEXT));
    if (tiny_model_write(lab.model, &failure))
        fuzz_fail(__FILE__, __LINE__, failure.detail);
    lab.root = lab.data;
    source_mirror_init(&lab.mirror, NULL, 0);
    lab.corpora = (struct corpora){&lab.mirror.source, &lab.root, 1};
    if (params_parse(JOB_QUANTIZE, request, &lab.params, &failure) ||
        backend_cpu.open(0, &lab.backend, &failure))
        fuzz_fail(__FILE__, __LINE__, failure.detail);
    make_records();
}

/* The folder as the sound attempt left it, but for record @which. */
static void lay_out(int which, const uint8_t *data, size_t size) {
    char path[128];

    fuzz_require(!dir_remove(lab.job));
    snprintf(path, sizeof(path), "%s/work", lab.job);
    fuzz_require(!dir_make(path));
    for (int i = PLAN; i <= EVAL; i++) {
        if (i != PLAN_REST)
            put(i, lab.records[i].data, lab.records[i].size);
    }
    if (which == PLAN_REST) {
        cleanup(json_decrefp) json_t *plan = json_loads(lab.records[PLAN].data, 0, NULL);
        cleanup(freep) char *settings = json_dumps(json_object_get(plan, "settings"), 0);
        cleanup(freep) char *files = json_dumps(json_object_get(plan, "files"), 0);
        cleanup(freep) char *text = str_format("{\"settings\":%s,\"files\":%s,%.*s", settings,
                                               files, (int)size, (const char *)data);

        fuzz_require(text);
        put(PLAN, text, strlen(text));
    } else {
        put(which, data, size);
    }
    if (which == RESULT) {
        snprintf(path, sizeof(path), "%s/artifact", lab.job);
        fuzz_require(!dir_make(path));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(json_decrefp) json_t *result = NULL;
    struct failure failure = {};
    int r;

    if (!lab.backend)
        set_up();
    if (size < 1)
        return 0;
    lay_out(data[0] % N_RECORDS, data + 1, size - 1);
    r = run(&result, &failure);
    fuzz_require(!r == !!result && !r == !failure.code[0]);
    if (r)
        return 0;
    fuzz_require(json_is_object(json_object_get(result, "perplexity")));
    fuzz_require(json_is_array(json_object_get(result, "artifacts")));
    return 0;
}
