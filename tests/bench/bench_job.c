// SPDX-License-Identifier: Apache-2.0
/*
 * A whole job on one device: 4 bits, groups of 128, act-order, 128 windows, then an evaluation;
 * seconds by phase and layer, and peak memory. The model may be one of make-checkpoint.
 *
 * usage: bench_job MODEL_DIR TEXT_ROOT [DEVICE [JOB_DIR]]
 * TEXT_ROOT holds demo-calibration.txt and demo-evaluation.txt. JOB_DIR is made and removed.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/pipeline.h"
#include "kernels/registry.h"

#include <stdio.h>
#include <string.h>

#define EXIT_SKIP 77

static int on_event(void *ctx, const char *kind, json_t *data) {
    double *started = ctx;

    if (str_equal(kind, "layer.finished"))
        printf("%7.2f s  layer %2d took %.3f s\n", clock_monotonic() - *started,
               (int)json_integer_value(json_object_get(data, "layer")),
               json_number_value(json_object_get(data, "seconds")));
    if (str_equal(kind, "phase.started"))
        printf("%7.2f s  %s\n", clock_monotonic() - *started,
               json_string_value(json_object_get(data, "phase")));
    if (str_equal(kind, "job.warning"))
        printf("         warning: %s\n", json_string_value(json_object_get(data, "detail")));
    fflush(stdout);
    return 0;
}

static bool on_cancelled(void *ctx) {
    (void)ctx;
    return false;
}

static const char *artifact_name(const json_t *artifact) {
    const char *name = json_string_value(json_object_get(artifact, "name"));

    return name ? name : "";
}

/* One digest of all that was saved: equal for equal bytes. */
static void report_artifacts(json_t *result) {
    struct sha256 *all = sha256_new();
    char text[SHA256_TEXT_SIZE];
    json_t *artifact;
    size_t i;

    json_array_foreach(json_object_get(result, "artifacts"), i, artifact) {
        const char *one = json_string_value(json_object_get(artifact, "sha256"));

        if (all && one && !str_has_prefix(artifact_name(artifact), "quantd"))
            sha256_update(all, one, strlen(one));
    }
    if (all) {
        sha256_finish(all, text);
        printf("saved, but for reports: sha256 %s\n", text);
    }
    sha256_free(all);
    json_object_del(result, "artifacts");
}

static int run(struct backend *b, const char *model, const char *texts, const char *dir,
               struct failure *failure) {
    cleanup(json_decrefp) json_t *request =
        json_pack("{s:s s:s s:i s:i s:b s:i s:[s]}", "model", model, "dataset",
                  "file:demo-calibration.txt", "wbits", 4, "groupsize", 128, "act_order", 1,
                  "nsamples", 128, "eval", "file:demo-evaluation.txt");
    cleanup(json_decrefp) json_t *result = NULL;
    cleanup(params_freep) struct params *params = NULL;
    double started = clock_monotonic();
    const struct pipeline_observer observer = {&started, on_event, on_cancelled};
    struct source_mirror mirror;
    struct corpora corpora;
    struct pipeline_job job;
    int r;

    r = params_parse(JOB_QUANTIZE, request, &params, failure);
    if (r)
        return r;
    source_mirror_init(&mirror, NULL, 0);
    corpora = (struct corpora){&mirror.source, (char **)&texts, 1};
    job = (struct pipeline_job){JOB_QUANTIZE, params, model, dir, &corpora, &observer};
    r = pipeline_run(&job, b, &result, failure);
    printf("%7.2f s  end\n", clock_monotonic() - started);
    if (r == 0) {
        report_artifacts(result);
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    return r;
}

int main(int argc, char **argv) {
    const char *dir = argc > 4 ? argv[4] : "/tmp/quantd-bench-job";
    const char *device = argc > 3 ? argv[3] : "cuda:0";
    double started = clock_monotonic();
    struct failure failure = {};
    struct backend *b;
    int n = 0, r;

    backend_count("cuda", &n);
    if (argc < 3 || (argc < 4 && n == 0)) {
        puts("skipped: usage: bench_job MODEL_DIR TEXT_ROOT [DEVICE], or no CUDA device");
        return EXIT_SKIP;
    }
    r = backend_open(device, &b, &failure);
    if (r == 0) {
        printf("opened in %.2f s\n", clock_monotonic() - started);
        dir_remove(dir);
        r = dir_make(dir);
        if (r == 0)
            r = run(b, argv[1], argv[2], dir, &failure);
        dir_remove(dir);
        started = clock_monotonic();
        b->ops->close(b);
        printf("closed in %.2f s\n", clock_monotonic() - started);
    }
    if (r < 0)
        printf("%s (%s)\n", failure.detail, failure.hint);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
