// SPDX-License-Identifier: Apache-2.0
/*
 * A whole job by pipeline_run(): 4 bits, groups of 128, act-order, then evaluations of the model
 * and of what came out; one table of where the time went. Needs nothing but the model.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/config_read.h"
#include "daemon/model/checkpoint.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/pipeline.h"
#include "kernels/registry.h"
#include "kernels/start.h"
#include "tests/bench/ceiling.h"
#include "tests/bench/disk.h"
#include "tests/bench/flops.h"
#include "tests/bench/random_text.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define CALIBRATION "calibration.txt"
#define EVALUATION "evaluation.txt"

struct bench {
    const char *model, *device, *data_root, *dataset, *eval, *work;
    int nsamples, seqlen, windows, batch;
    json_t *set; /* parameters of the quantization beside those of the table; owned */
    double gemm; /* TFLOP/s; 0: unknown */
    bool twice, keep, measure_disk;

    struct backend *b;
    struct model_config config;
    struct failure failure;

    /* The run at work: */
    double started, last_layer;
    int n_layers;
    double layer_wall, layer_seconds, solver_seconds, first_layer;
    double wall; /* of the last quantization */
};

/* ---- the events of a run ---- */

/* Seconds of the layer: up to the end of its solver, and of the solver alone. */
static void count_layer(struct bench *bench, const json_t *data) {
    json_t *matrices = json_object_get(data, "matrices"), *matrix;
    double now = clock_monotonic();
    size_t i;

    json_array_foreach(matrices, i, matrix) bench->solver_seconds +=
        json_number_value(json_object_get(matrix, "seconds"));
    bench->layer_seconds += json_number_value(json_object_get(data, "seconds"));
    if (bench->n_layers++ == 0)
        bench->first_layer = now - bench->last_layer;
    bench->layer_wall += now - bench->last_layer;
    bench->last_layer = now;
}

static int on_event(void *ctx, const char *kind, json_t *data) {
    struct bench *bench = ctx;

    if (str_equal(kind, "layer.finished"))
        count_layer(bench, data);
    if (str_equal(kind, "phase.started") &&
        str_equal(json_string_value(json_object_get(data, "phase")), "quantize"))
        bench->last_layer = clock_monotonic();
    if (str_equal(kind, "job.warning"))
        printf("warning: %s\n", json_string_value(json_object_get(data, "detail")));
    return 0;
}

static bool on_cancelled(void *ctx) {
    (void)ctx;
    return false;
}

static int run_job(struct bench *bench, const char *model, const char *name, json_t *request,
                   json_t **ret_result) {
    const struct pipeline_observer observer = {bench, on_event, on_cancelled};
    enum job_kind kind = json_object_get(request, "wbits") ? JOB_QUANTIZE : JOB_EVAL;
    cleanup(json_decrefp) json_t *owned = request;
    cleanup(freep) char *dir = str_format("%s/%s", bench->work, name);
    cleanup(freep) char *texts = str_format("%s/texts", bench->work);
    cleanup(freep) char *hashes = str_format("%s/hashes.json", bench->work);
    cleanup(params_freep) struct params *params = NULL;
    char *roots[] = {bench->data_root ? (char *)bench->data_root : texts};
    struct source_mirror mirror;
    struct corpora corpora;
    int r;

    if (!dir || !texts || !hashes || !owned)
        return failure_oom(&bench->failure);
    source_mirror_init(&mirror, NULL, 0);
    corpora = (struct corpora){&mirror.source, roots, 1};
    r = params_parse(kind, owned, &params, &bench->failure);
    if (!r)
        r = dir_make(dir);
    bench->n_layers = 0;
    bench->layer_wall = bench->layer_seconds = bench->solver_seconds = 0;
    bench->started = bench->last_layer = clock_monotonic();
    return r ? r
             : pipeline_run(&(struct pipeline_job){.kind = kind,
                                                   .params = params,
                                                   .model_dir = model,
                                                   .dir = dir,
                                                   .corpora = &corpora,
                                                   .observer = &observer,
                                                   .hash_cache = hashes},
                            bench->b, ret_result, &bench->failure);
}

/* ---- the quantization ---- */

static double seconds_of(const json_t *result, const char *phase) {
    return json_number_value(json_object_get(json_object_get(result, "seconds"), phase));
}

static void print_line(const char *name, double seconds, double tokens, double flops, double gemm) {
    printf("%-28s %9.3f s", name, seconds);
    if (tokens > 0)
        printf(" %12.0f tokens/s", tokens / seconds);
    if (flops > 0)
        printf(" %9.2f TFLOP/s", flops / seconds * 1e-12);
    if (flops > 0 && gemm > 0)
        printf(" %6.1f %% of the GEMM rate", 100 * flops / seconds * 1e-12 / gemm);
    putchar('\n');
}

/* What the arithmetic alone would take at the rate of a large product. */
static void print_floor(const struct bench *bench, double tokens) {
    const struct model_config *c = &bench->config;
    double layers = c->num_hidden_layers;
    double passes = (2 * layers - 1) * tokens * layer_flops(c, bench->seqlen);
    double hessians = layers * tokens * hessian_flops(c), solver = layers * solver_flops(c);

    printf("%-28s %.3g TFLOP passes, %.3g Hessians, %.3g solver (f32)", "arithmetic",
           passes * 1e-12, hessians * 1e-12, solver * 1e-12);
    if (bench->gemm > 0)
        printf("; the first two take %.3f s at %.2f TFLOP/s",
               (passes + hessians) * 1e-12 / bench->gemm, bench->gemm);
    putchar('\n');
}

static void print_quantization(struct bench *bench, const json_t *result, double wall) {
    static const char *const phases[] = {"load", "calibrate", "quantize", "export"};
    const json_t *memory = json_object_get(result, "peak_memory");
    double tokens = (double)bench->nsamples * bench->seqlen;
    int n = bench->n_layers;

    printf("\n%-28s %9.3f s, with closing of files\n", "quantization", wall);
    for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
        print_line(phases[i], seconds_of(result, phases[i]),
                   str_equal(phases[i], "quantize") ? tokens * n : 0, 0, 0);
    if (n > 0) {
        double solver = bench->solver_seconds, rest = bench->layer_wall - bench->layer_seconds;

        printf("%-28s %9.3f s first, %.3f s mean, of it\n", "a layer", bench->first_layer,
               bench->layer_wall / n);
        print_line("  pass for Hessians", (bench->layer_seconds - solver) / n, tokens,
                   tokens *
                       (layer_flops(&bench->config, bench->seqlen) + hessian_flops(&bench->config)),
                   bench->gemm);
        print_line("  factors and column loop", solver / n, 0, solver_flops(&bench->config), 0);
        print_line("  pass on, wait for files", rest / n, tokens, 0, 0);
    }
    print_floor(bench, tokens);
    printf("%-28s %9.3f GiB device, %.3f GiB host\n", "peak memory",
           json_number_value(json_object_get(memory, "device")) / 0x1p30,
           json_number_value(json_object_get(memory, "host")) / 0x1p30);
    printf("%-28s %9.3f GB, %.2f bits per weight\n", "checkpoint",
           json_number_value(json_object_get(result, "size_bytes")) * 1e-9,
           json_number_value(json_object_get(result, "bits_per_weight")));
    bench->wall = wall;
}

static int quantize(struct bench *bench, const char *name) {
    cleanup(json_decrefp) json_t *result = NULL;
    json_t *request =
        json_pack("{s:s s:s s:i s:i s:b s:i s:i s:[]}", "model", bench->model, "dataset",
                  bench->dataset, "wbits", 4, "groupsize", 128, "act_order", 1, "nsamples",
                  bench->nsamples, "seqlen", bench->seqlen, "eval");
    int r;

    if (bench->batch > 0)
        json_object_set_new(request, "batch", json_integer(bench->batch));
    if (bench->set)
        json_object_update(request, bench->set);
    r = run_job(bench, bench->model, name, request, &result);
    if (!r)
        print_quantization(bench, result, clock_monotonic() - bench->started);
    return r;
}

/* ---- the same bytes twice ---- */

/* {name: sha256} of the files of the artifact; NULL when one cannot be read. */
static json_t *digest(const struct bench *bench, const char *name) {
    cleanup(freep) char *path = str_format("%s/%s/artifact", bench->work, name);
    cleanup(closedirp) DIR *dir = path ? opendir(path) : NULL;
    cleanup(json_decrefp) json_t *files = json_object();

    if (!dir || !files)
        return NULL;
    for (struct dirent *entry; (entry = readdir(dir));) {
        cleanup(freep) char *file = str_format("%s/%s", path, entry->d_name);
        char hash[SHA256_TEXT_SIZE];
        uint64_t size;

        if (entry->d_name[0] == '.')
            continue;
        if (!file || sha256_of_file(file, hash, &size))
            return NULL;
        json_object_set_new(files, entry->d_name, json_string(hash));
    }
    return steal_ptr(files);
}

static int compare(struct bench *bench) {
    cleanup(json_decrefp) json_t *first = digest(bench, "first"), *second = digest(bench, "second");
    int different = 0;
    const char *name;
    json_t *hash;

    if (!first || !second)
        return failure_set(&bench->failure, -EIO, "io_error", NULL, "cannot read the checkpoints");
    json_object_foreach(first, name, hash) {
        if (json_equal(hash, json_object_get(second, name)))
            continue;
        printf("'%s' differs\n", name);
        different++;
    }
    different += json_object_size(first) != json_object_size(second);
    printf("\n%-28s %zu files, %d differ\n", "two runs", json_object_size(first), different);
    return different ? failure_set(&bench->failure, -EBADMSG, "different", NULL,
                                   "two runs gave different checkpoints")
                     : 0;
}

/* ---- evaluation ---- */

static int evaluate(struct bench *bench, const char *model, const char *name, const char *title) {
    json_t *request =
        json_pack("{s:s s:[s] s:i}", "model", model, "eval", bench->eval, "seqlen", bench->seqlen);
    cleanup(json_decrefp) json_t *result = NULL;
    const json_t *set;
    double tokens;
    int r;

    if (bench->batch > 0)
        json_object_set_new(request, "batch", json_integer(bench->batch));
    r = run_job(bench, model, name, request, &result);
    if (r)
        return r;
    set = json_object_get(json_object_get(result, "perplexity"), bench->eval);
    tokens = json_number_value(json_object_get(set, "windows")) * bench->seqlen;
    printf("\n%-28s perplexity %.4f, %d windows of %d\n", title,
           json_number_value(json_object_get(set, "value")),
           (int)json_integer_value(json_object_get(set, "windows")), bench->seqlen);
    print_line("load", seconds_of(result, "load"), 0, 0, 0);
    print_line("evaluate", seconds_of(result, "evaluate"), tokens,
               tokens * model_flops(&bench->config, bench->seqlen), bench->gemm);
    return 0;
}

/* ---- the whole ---- */

static int write_texts(struct bench *bench) {
    cleanup(freep) char *tokenizer = str_format("%s/tokenizer.json", bench->model);
    cleanup(freep) char *dir = str_format("%s/texts", bench->work);
    cleanup(freep) char *calibration = str_format("%s/texts/" CALIBRATION, bench->work);
    cleanup(freep) char *evaluation = str_format("%s/texts/" EVALUATION, bench->work);
    size_t seqlen = bench->seqlen;
    int r;

    if (bench->data_root)
        return 0;
    if (!tokenizer || !dir || !calibration || !evaluation)
        return failure_oom(&bench->failure);
    r = dir_make(dir);
    if (r)
        return failure_errno(&bench->failure, r, "cannot make the folder", dir);
    r = random_text_write(calibration, tokenizer, (bench->nsamples + 2) * seqlen, 1,
                          &bench->failure);
    if (!r)
        r = random_text_write(evaluation, tokenizer, bench->windows * seqlen + seqlen / 4, 2,
                              &bench->failure);
    return r;
}

static void print_head(const struct bench *bench) {
    const struct model_config *c = &bench->config;
    struct backend_info info;

    bench->b->ops->info(bench->b, &info);
    printf("%-28s %s\n", "device", info.name);
    printf("%-28s %d layers, %d experts top-%d, %d x %d, vocabulary %d\n", "model",
           c->num_hidden_layers, c->num_experts, c->num_experts_per_tok, c->hidden_size,
           c->intermediate_size, c->vocab_size);
    printf("%-28s 4 bits, groups of 128, act-order, %d x %d tokens\n", "job", bench->nsamples,
           bench->seqlen);
    printf("%-28s %9.2f TFLOP/s of a large product\n", "GEMM rate", bench->gemm);
    fflush(stdout);
}

/* What writing the job's files alone would take, codes that are kept beside the checkpoint too;
 * last, as removing files is work for the disk. */
static int print_disk(struct bench *bench) {
    cleanup(freep) char *artifact = str_format("%s/first/artifact", bench->work);
    cleanup(freep) char *codes = str_format("%s/first/codes", bench->work);
    double bytes = artifact && codes ? disk_files(artifact) + disk_files(codes) : 0, rate;
    const struct disk_way way = {4, false, true};
    int r = disk_rate(bench->work, (size_t)bytes, &way, &rate);

    if (r)
        return failure_errno(&bench->failure, r, "cannot write into", bench->work);
    printf("\n%-28s %9.3f s at %.2f GB/s, the folder's rate: %.0f %% of the job\n",
           "bytes of the job's files", bytes / rate, rate * 1e-9, 100 * bytes / rate / bench->wall);
    return 0;
}

static int run_all(struct bench *bench) {
    cleanup(freep) char *artifact = str_format("%s/first/artifact", bench->work);
    int r;

    if (!artifact)
        return failure_oom(&bench->failure);
    print_head(bench);
    r = write_texts(bench);
    if (!r)
        r = quantize(bench, "first");
    if (!r && bench->twice)
        r = quantize(bench, "second");
    if (!r && bench->twice)
        r = compare(bench);
    if (!r && bench->windows > 0)
        r = evaluate(bench, bench->model, "eval", "evaluation, as it is");
    if (!r && bench->windows > 0)
        r = evaluate(bench, artifact, "eval-quantized", "evaluation, quantized");
    return !r && bench->measure_disk ? print_disk(bench) : r;
}

/* Opens what the run needs; a folder of its own unless one is named. */
static int run_bench(struct bench *bench) {
    char made[] = "/tmp/quantd-bench-XXXXXX";
    int r;

    r = model_config_read(NULL, bench->model, &bench->config, &bench->failure);
    if (!r && bench->seqlen == 0)
        bench->seqlen = MIN(2048, bench->config.max_position_embeddings);
    if (!r && bench->gemm == 0) {
        r = ceiling_product(bench->device, &bench->gemm, &bench->failure);
        bench->gemm *= 1e-12;
    }
    if (!r)
        r = backend_open(bench->device, &bench->b, &bench->failure);
    if (r)
        return r;
    if (!bench->work)
        bench->work = mkdtemp(made);
    r = bench->work ? run_all(bench)
                    : failure_errno(&bench->failure, -errno, "cannot make the folder", made);
    bench->b->ops->close(bench->b);
    if (bench->work && !bench->keep)
        dir_remove(bench->work);
    return r;
}

static const char usage[] =
    "usage: bench_pipeline [OPTION ...] MODEL_DIR\n\n"
    "  --device NAME      auto, cpu or cuda:N; auto\n"
    "  --nsamples N       calibration windows; 128\n"
    "  --seqlen N         tokens of a window; min(2048, what the model can)\n"
    "  --windows N        windows of random text to evaluate, 0: none; 128\n"
    "  --batch N          windows that go through a layer at once; as memory allows\n"
    "  --set NAME=JSON    a parameter of the quantization, such as method='\"rtn\"'\n"
    "  --disk             measure the rate of the job's folder by as many bytes\n"
    "  --gemm X           TFLOP/s to compare with; measured\n"
    "  --data-root DIR    take texts from here, not random ones:\n"
    "  --dataset NAME     calibration, below --data-root\n"
    "  --eval NAME        evaluation, below --data-root\n"
    "  --twice            quantize twice and compare the bytes\n"
    "  --work DIR         new folder for the job, removed at the end; in /tmp\n"
    "  --keep             do not remove it\n";

static int number(const char *text, uint64_t max, int *ret_value) {
    uint64_t value;
    int r = str_parse_u64(text, max, &value);

    if (!r)
        *ret_value = (int)value;
    return r;
}

/* NAME=JSON */
static int set_param(struct bench *bench, const char *text) {
    cleanup(freep) char *name = strdup(text);
    char *equals = name ? strchr(name, '=') : NULL;
    json_t *value;

    if (!equals)
        return -EINVAL;
    *equals = '\0';
    value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    if (!bench->set)
        bench->set = json_object();
    return json_object_set_new(bench->set, name, value) ? -EINVAL : 0;
}

static int set_option(struct bench *bench, int option, const char *text) {
    switch (option) {
    case 'd':
        bench->device = text;
        return 0;
    case 'n':
        return number(text, 65536, &bench->nsamples);
    case 's':
        return number(text, 131072, &bench->seqlen);
    case 'w':
        return number(text, 65536, &bench->windows);
    case 'b':
        return number(text, 4096, &bench->batch);
    case 'g':
        return str_parse_double(text, &bench->gemm);
    case 'r':
        bench->data_root = text;
        return 0;
    case 'c':
        bench->dataset = text;
        return 0;
    case 'e':
        bench->eval = text;
        return 0;
    case 't':
        bench->twice = true;
        return 0;
    case 'W':
        bench->work = text;
        return 0;
    case 'D':
        bench->measure_disk = true;
        return 0;
    case 'S':
        return set_param(bench, text);
    case 'k':
        bench->keep = true;
        return 0;
    default:
        return -EINVAL;
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"device", 1, NULL, 'd'},    {"nsamples", 1, NULL, 'n'}, {"seqlen", 1, NULL, 's'},
        {"windows", 1, NULL, 'w'},   {"batch", 1, NULL, 'b'},    {"gemm", 1, NULL, 'g'},
        {"data-root", 1, NULL, 'r'}, {"dataset", 1, NULL, 'c'},  {"eval", 1, NULL, 'e'},
        {"twice", 0, NULL, 't'},     {"work", 1, NULL, 'W'},     {"keep", 0, NULL, 'k'},
        {"set", 1, NULL, 'S'},       {"disk", 0, NULL, 'D'},     {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct bench bench = {
        .device = "auto",
        .nsamples = 128,
        .windows = 128,
        .dataset = "file:" CALIBRATION,
        .eval = "file:" EVALUATION,
    };
    int option, r = 0;

    kernels_run_test(argc, argv);
    kernels_choose(argv);
    while (!r && (option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        r = set_option(&bench, option, optarg);
    }
    if (r || optind != argc - 1) {
        fputs(usage, stderr);
        return 2;
    }
    bench.model = argv[optind];
    r = run_bench(&bench);
    json_decref(bench.set);
    if (r)
        fprintf(stderr, "bench_pipeline: %s%s%s\n", bench.failure.detail,
                bench.failure.hint[0] ? "; " : "", bench.failure.hint);
    return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
