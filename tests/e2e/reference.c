// SPDX-License-Identifier: Apache-2.0
/*
 * Runs the pipeline for every row of a reference file (PyTorch, float32) and holds the
 * perplexities to it. Usage: reference DEVICE FILE MODEL DATA_ROOT|- MIRROR|- [ID ...]
 *
 * Tolerances, relative, and why: unquantized 0.05 % (order of sums in f32); nearest 0.3 % (we
 * store f16 scales); GPTQ 1 % (a tie broken the other way moves all later columns), 5 % on ptb,
 * which is noisy on this model, and at 2 bits. Rows with `difference` also say how far the model
 * is from the original: 0.5 % of each figure for nearest, 5 % of the maximum, which is one token;
 * for GPTQ 3 % of log_ratio, kl_mean and same_top, the rest is printed; the original's own
 * perplexity 0.05 %. On a device of bf16 the activations carry 8 bits:
 * 0.5 % unquantized and nearest, 2 % GPTQ, and 5 % as before; the difference four times as much,
 * and a standard error of n windows by what it is uncertain itself, 1 / sqrt(2 (n - 1)).
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/pipeline.h"
#include "kernels/registry.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXIT_SKIP 77

struct context {
    const char *model;
    struct corpora corpora;
    struct backend *backend;
    const char *folder;
    int warnings;
};

static int on_event(void *ctx, const char *kind, json_t *data) {
    struct context *context = ctx;

    if (str_equal(kind, "job.warning")) {
        context->warnings++;
        printf("    warning: %s\n", json_string_value(json_object_get(data, "detail")));
    }
    return 0;
}

static bool on_cancelled(void *ctx) {
    (void)ctx;
    return false;
}

/* The reference's names of data sets, as ours. */
static const char *set_name(const char *name) {
    static const char *const pairs[][2] = {
        {"evaluation", "file:demo-evaluation.txt"},
        {"calibration", "file:demo-calibration.txt"},
        {"wikitext2-train", "wikitext2"},
        {"ptb-train", "ptb"},
        {"c4-train", "c4"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        if (str_equal(pairs[i][0], name))
            return pairs[i][1];
    }
    return name;
}

/* {part of a module's name: bits} as rules. */
static json_t *rules_of(json_t *bits) {
    json_t *rules = json_array(), *value;
    const char *module;

    json_object_foreach(bits, module, value)
        json_array_append_new(rules, json_pack("{sssO}", "modules", module, "wbits", value));
    return rules;
}

static json_t *request_of(const struct context *context, const json_t *row) {
    json_t *config = json_object_get(row, "config"), *request = json_object(), *eval = json_array();
    static const char *const same[] = {"groupsize", "sym",           "act_order",
                                       "nsamples",  "static_groups", "true_sequential",
                                       "nearest",   "batch"};
    const char *calibrate = json_string_value(json_object_get(config, "calibrate")), *set;
    json_t *value;

    json_object_set_new(request, "model", json_string(context->model));
    json_object_set(request, "wbits", json_object_get(config, "bits"));
    json_object_set(request, "seqlen", json_object_get(row, "seqlen"));
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        if (json_object_get(config, same[i]))
            json_object_set(request, same[i], json_object_get(config, same[i]));
    }
    if (json_object_get(config, "rules"))
        json_object_set_new(request, "rules", rules_of(json_object_get(config, "rules")));
    if (calibrate)
        json_object_set_new(request, "dataset", json_string(set_name(calibrate)));
    json_object_foreach(json_object_get(row, "ppl"), set, value)
        json_array_append_new(eval, json_string(set_name(set)));
    json_object_set_new(request, "eval", eval);
    return request;
}

static double tolerance(const struct context *context, const json_t *config, const char *set) {
    json_int_t bits = json_integer_value(json_object_get(config, "bits"));
    bool exact = context->backend->ops->act == DTYPE_F32;
    bool nearest = json_is_true(json_object_get(config, "nearest"));

    if (bits == 16)
        return exact ? 0.0005 : 0.005;
    if (bits == 2 || (!nearest && str_has_prefix(set, "ptb")))
        return 0.05;
    if (nearest)
        return exact ? 0.003 : 0.005;
    return exact ? 0.01 : 0.02;
}

/*
 * Figures that are known to differ more, and why that is no fault; docs/NUMERICS.md has the
 * evidence. Each has a bound of its own, which still fails when something breaks.
 */
static const struct {
    const char *backend, *id, *set;
    double bound;
} explained[] = {
    /* f16 scales: with f32 scales both are 0.000 % off */
    {"cpu", "rtn-4-g64-sym", "wikitext2", 0.006},
    {"cpu", "rtn-4-g64-sym", "ptb", 0.015},
    {"cuda", "rtn-4-g64-sym", "ptb", 0.015},
    /* the order of sums: other batches of windows move these by as much */
    {"cpu", "gptq-3-g128-act-trueseq", "wikitext2", 0.02},
    {"cpu", "gptq-3-g128-act-trueseq", "ptb", 0.10},
    {"cpu", "gptq-3-act-c4-s256", "wikitext2", 0.025},
    {"cpu", "gptq-3-act-ptb", "wikitext2", 0.05},
    {"cpu", "gptq-2-g128", "ptb", 0.10},
    {"cuda", "gptq-3", "ptb", 0.08},
    {"cuda", "gptq-3-g128-act", "ptb", 0.09},
    {"cuda", "gptq-3-g128-act-trueseq", "ptb", 0.08},
    {"cuda", "gptq-2-g128", "ptb", 0.15},
    {"cuda", "gptq-2-g128", "c4-new", 0.08},
};

static bool is_explained(const struct context *context, const char *id, const char *set,
                         double deviation) {
    for (size_t i = 0; i < ARRAY_SIZE(explained); i++) {
        if (str_equal(explained[i].backend, context->backend->ops->name) &&
            str_equal(explained[i].id, id) && str_equal(explained[i].set, set))
            return fabs(deviation) <= explained[i].bound;
    }
    return false;
}

/* Prints and judges one row. Return: figures outside their tolerance. */
static int compare(const struct context *context, const json_t *row, const json_t *result,
                   double seconds) {
    json_t *config = json_object_get(row, "config"), *expected;
    const char *id = json_string_value(json_object_get(config, "id")), *set;
    int failures = 0;

    printf("%-28s %5.1f s", id, seconds);
    json_object_foreach(json_object_get(row, "ppl"), set, expected) {
        json_t *measured = json_object_get(json_object_get(result, "perplexity"), set_name(set));
        double value = json_number_value(json_object_get(measured, "value"));
        double deviation = value / json_number_value(expected) - 1;
        bool same_windows =
            json_integer_value(json_object_get(measured, "windows")) ==
            json_integer_value(json_object_get(json_object_get(row, "windows"), set));
        const char *verdict = "";

        if (!(fabs(deviation) <= tolerance(context, config, set)))
            verdict = is_explained(context, id, set, deviation) ? " explained" : " WRONG";
        if (!same_windows)
            verdict = " WRONG windows";
        printf("  %s %.4f (%+.3f %%)%s", set, value, 100 * deviation, verdict);
        failures += strstr(verdict, "WRONG") != NULL;
    }
    printf("\n");
    fflush(stdout);
    return failures;
}

/*
 * Figures of rows of nearest that move more when scales are rounded to f16: with f32 scales all
 * are within 0.001 % (docs/NUMERICS.md).
 */
static bool is_moved_by_f16(const json_t *config, const char *figure, double deviation) {
    static const char *const moved[] = {"log_ratio_stderr", "kl_stderr",       "kl_p99",
                                        "kl_p999",          "same_top_stderr", "mean_dp"};

    for (size_t i = 0; i < ARRAY_SIZE(moved); i++) {
        if (str_equal(moved[i], figure))
            return json_is_true(json_object_get(config, "nearest")) && fabs(deviation) <= 0.025;
    }
    return false;
}

/* By how much a figure of the difference may be off, relative; 0: it is not judged. */
static double figure_tolerance(const struct context *context, const json_t *config,
                               const char *figure, int windows) {
    static const char *const judged[] = {"log_ratio", "kl_mean", "same_top"};
    bool exact = context->backend->ops->act == DTYPE_F32; /* see docs/NUMERICS.md */
    bool nearest = json_is_true(json_object_get(config, "nearest"));
    double factor = exact ? 1 : 4;

    if (str_equal(figure, "tokens"))
        return 1e-9;
    if (nearest && !exact && strstr(figure, "_stderr"))
        return 1 / sqrt(2.0 * (windows - 1));
    if (nearest)
        return factor * (str_equal(figure, "kl_max") ? 0.05 : 0.005);
    for (size_t i = 0; i < ARRAY_SIZE(judged); i++) {
        if (str_equal(judged[i], figure))
            return factor * 0.03;
    }
    return 0;
}

/* The figures of one set that are off. Return: how many are more than they may. */
static int compare_figures(const struct context *context, const json_t *config, json_t *expected,
                           const json_t *measured, int windows) {
    const char *figure;
    int failures = 0;
    json_t *want;

    json_object_foreach(expected, figure, want) {
        double value = json_number_value(json_object_get(measured, figure));
        double deviation = value / json_number_value(want) - 1;
        double allowed = figure_tolerance(context, config, figure, windows);
        bool off = allowed > 0 && !(fabs(deviation) <= allowed);
        bool wrong = off && !is_moved_by_f16(config, figure, deviation);

        printf("    %-18s %.6g (%+.3f %%)%s\n", figure, value, 100 * deviation,
               wrong          ? " WRONG"
               : off          ? " explained"
               : allowed == 0 ? " (not judged)"
                              : "");
        failures += wrong;
    }
    return failures;
}

/* How far the model is from the original, and the original's perplexity, where the row has it. */
static int compare_difference(const struct context *context, const json_t *row,
                              const json_t *result) {
    bool exact = context->backend->ops->act == DTYPE_F32;
    json_t *config = json_object_get(row, "config"), *expected;
    const char *set;
    int failures = 0;

    json_object_foreach(json_object_get(row, "difference"), set, expected) {
        const char *name = set_name(set);
        json_t *measured = json_object_get(json_object_get(result, "difference"), name);
        double base = json_number_value(json_object_get(json_object_get(result, "baseline"), name));
        double want = json_number_value(json_object_get(json_object_get(row, "baseline"), set));
        double deviation = base / want - 1;
        int windows =
            (int)json_integer_value(json_object_get(json_object_get(row, "windows"), set));
        bool wrong = !(fabs(deviation) <= (exact ? 0.0005 : 0.005));

        printf("    %-18s %.6g (%+.3f %%)%s\n", "original", base, 100 * deviation,
               wrong ? " WRONG" : "");
        failures += wrong + compare_figures(context, config, expected, measured, windows);
    }
    return failures;
}

static int run_row(struct context *context, const json_t *row) {
    const struct pipeline_observer observer = {context, on_event, on_cancelled};
    cleanup(json_decrefp) json_t *request = request_of(context, row), *result = NULL;
    cleanup(params_freep) struct params *params = NULL;
    double started = clock_monotonic();
    struct failure failure = {};
    struct pipeline_job job;
    int r;

    dir_remove(context->folder);
    r = dir_make(context->folder);
    if (!r)
        r = params_parse(JOB_QUANTIZE, request, &params, &failure);
    job = (struct pipeline_job){
        .kind = JOB_QUANTIZE,
        .params = params,
        .model_dir = context->model,
        .dir = context->folder,
        .corpora = &context->corpora,
        .observer = &observer,
    };
    if (!r)
        r = pipeline_run(&job, context->backend, &result, &failure);
    if (r) {
        printf("%s: %s: %s (%s)\n",
               json_string_value(json_object_get(json_object_get(row, "config"), "id")),
               failure.code, failure.detail, failure.hint);
        return 1;
    }
    return compare(context, row, result, clock_monotonic() - started) +
           compare_difference(context, row, result);
}

static bool wanted(const json_t *row, char **ids, int n_ids) {
    const char *id = json_string_value(json_object_get(json_object_get(row, "config"), "id"));

    for (int i = 0; i < n_ids; i++) {
        if (str_equal(ids[i], id))
            return true;
    }
    return n_ids == 0;
}

int main(int argc, char **argv) {
    cleanup(json_decrefp) json_t *rows = NULL;
    char folder[] = "/tmp/quantd-reference-XXXXXX";
    struct source_mirror mirror;
    struct context context = {};
    struct failure failure = {};
    int failures = 0, n = 0;
    json_t *row;
    size_t i;

    if (argc < 6)
        return EXIT_FAILURE;
    context.model = argv[3];
    if (access(argv[2], R_OK) || (strcmp(argv[5], "-") && access(argv[5], R_OK))) {
        printf("skipped: '%s' or '%s' is not on this machine\n", argv[2], argv[5]);
        return EXIT_SKIP;
    }
    if (json_parse_file(argv[2], 1 << 20, "reference", &rows, &failure) ||
        backend_open(argv[1], &context.backend, &failure) || !mkdtemp(folder)) {
        printf("cannot start: %s\n", failure.detail);
        return EXIT_FAILURE;
    }
    context.folder = folder;
    source_mirror_init(&mirror, &argv[5], strcmp(argv[5], "-") ? 1 : 0);
    context.corpora = (struct corpora){&mirror.source, &argv[4], strcmp(argv[4], "-") ? 1 : 0};
    json_array_foreach(rows, i, row) {
        if (!wanted(row, argv + 6, argc - 6))
            continue;
        failures += run_row(&context, row);
        n++;
    }
    dir_remove(folder);
    context.backend->ops->close(context.backend);
    printf("%d rows, %d figures outside their tolerance\n", n, failures);
    return failures || n == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
