// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/lab.h"

#include "base/file.h"
#include "daemon/pipeline/params/request.h"
#include "kernels/registry.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define TEXT_BYTES 9000 /* of each text: enough for 20 windows of 128 tokens */

/* ---- the device ---- */

static const char *device = "cpu";

int lab_device(int argc, char **argv) {
    int n = 1;

    device = argc > 1 ? argv[1] : "cpu";
    if (str_has_prefix(device, "cuda"))
        backend_count("cuda", &n);
    if (n > 0)
        return 0;
    puts("skipped: no CUDA device");
    return EXIT_SKIP;
}

/* ---- the folder ---- */

char *lab_path(const struct lab *lab, const char *format, ...) {
    char name[400];
    va_list args;
    char *path;

    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    path = str_format("%s/%s", lab->root, name);
    assert_non_null(path);
    return path;
}

static char *source_file(const char *name) {
    const char *source = getenv("QUANTD_SOURCE");

    return str_format("%s/%s", source ? source : ".", name);
}

static void read_whole(const char *path, char **ret_data, size_t *ret_size) {
    int r = file_read(path, 1 << 30, ret_data, ret_size);

    if (r)
        fail_msg("cannot read '%s': %s", path, strerror(-r));
}

static void write_whole(const char *path, const void *data, size_t size) {
    int r = file_replace(path, data, size);

    if (r)
        fail_msg("cannot write '%s': %s", path, strerror(-r));
}

/* The first lines of a demo text. */
static void take_text(const struct lab *lab, const char *name) {
    cleanup(freep) char *relative = str_format("data/texts/demo-%s", name);
    cleanup(freep) char *from = source_file(relative), *to = lab_path(lab, "data/%s", name);
    cleanup(freep) char *text = NULL;
    size_t size;

    read_whole(from, &text, &size);
    assert_true(size > TEXT_BYTES);
    size = TEXT_BYTES;
    while (text[size - 1] != '\n')
        size--;
    write_whole(to, text, size);
}

struct lab *lab_open(const char *root) {
    struct lab *lab = calloc(1, sizeof(*lab));
    char made[] = "/tmp/quantd-test-XXXXXX";
    struct failure failure = {};

    assert_non_null(lab);
    lab->keeps = root != NULL;
    lab->root = strdup(root ? root : mkdtemp(made));
    lab->demo = source_file("data/olmoe-demo");
    lab->data[0] = lab_path(lab, "data");
    lab->events = json_array();
    if (backend_open(device, &lab->backend, &failure))
        fail_msg("%s", failure.detail);
    source_mirror_init(&lab->mirror, NULL, 0);
    lab->corpora = (struct corpora){&lab->mirror.source, lab->data, 1};
    if (!root) {
        assert_int_equal(dir_make(lab->data[0]), 0);
        take_text(lab, "calibration.txt");
        take_text(lab, "evaluation.txt");
    }
    return lab;
}

void lab_free(struct lab *lab) {
    lab->backend->ops->close(lab->backend);
    if (!lab->keeps)
        dir_remove(lab->root);
    json_decref(lab->events);
    free(lab->root);
    free(lab->demo);
    free(lab->data[0]);
    free(lab);
}

int lab_setup(void **state) {
    *state = lab_open(NULL);
    return 0;
}

int lab_teardown(void **state) {
    if (*state)
        lab_free(*state);
    return 0;
}

/* ---- jobs ---- */

json_t *lab_json(const char *text) {
    cleanup(freep) char *copy = strdup(text);
    struct failure failure = {};
    json_t *value = NULL;

    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    if (json_parse(copy, strlen(copy), "request", "bad", &value, &failure))
        fail_msg("%s: %s", copy, failure.detail);
    return value;
}

static int on_event(void *ctx, const char *kind, json_t *data) {
    struct lab *lab = ctx;

    json_array_append_new(lab->events,
                          json_pack("{s:s s:o}", "kind", kind, "data", json_deep_copy(data)));
    if (lab->stop_kind && str_equal(kind, lab->stop_kind) && lab_count(lab, kind) == lab->stop_at)
        lab->cancels = true;
    return lab->fail_kind && str_equal(kind, lab->fail_kind) ? -EIO : 0;
}

static bool on_cancelled(void *ctx) {
    const struct lab *lab = ctx;

    return lab->cancels;
}

static void fill_in(json_t *request, const char *model, enum job_kind *ret_kind) {
    cleanup(json_decrefp) json_t *defaults =
        lab_json("{'nsamples': 8, 'dataset': 'file:calibration.txt'}");
    cleanup(json_decrefp) json_t *always = lab_json("{'eval': '" LAB_EVAL "', 'seqlen': 128}");

    const char *kind = json_string_value(json_object_get(request, "kind"));

    if (job_kind_from_name(kind ? kind : "quantize", ret_kind))
        fail_msg("there is no kind '%s'", kind);
    json_object_del(request, "kind");
    if (*ret_kind == JOB_QUANTIZE)
        json_object_update_missing(request, defaults);
    if (*ret_kind != JOB_EXPORT)
        json_object_update_missing(request, always);
    json_object_set_new(request, "model", json_string(*ret_kind == JOB_EXPORT ? "job:1" : model));
}

int lab_run(struct lab *lab, const char *job, const char *model, const char *request,
            json_t **ret_result, struct failure *failure) {
    const struct pipeline_observer observer = {lab, on_event, on_cancelled};
    cleanup(freep) char *dir = lab_path(lab, "jobs/%s", job);
    cleanup(json_decrefp) json_t *object = lab_json(request);
    cleanup(params_freep) struct params *params = NULL;
    struct pipeline_job pipeline_job = {
        .model_dir = model ? model : lab->demo,
        .dir = dir,
        .corpora = &lab->corpora,
        .observer = &observer,
    };

    json_array_clear(lab->events);
    lab->cancels = false;
    fill_in(object, pipeline_job.model_dir, &pipeline_job.kind);
    assert_int_equal(dir_make(dir), 0);
    if (params_parse(pipeline_job.kind, object, &params, failure))
        fail_msg("%s: %s", request, failure->detail);
    pipeline_job.params = params;
    return pipeline_run(&pipeline_job, lab->backend, ret_result, failure);
}

json_t *lab_must(struct lab *lab, const char *job, const char *model, const char *request) {
    struct failure failure = {};
    json_t *result = NULL;
    int r = lab_run(lab, job, model, request, &result, &failure);

    if (r)
        fail_msg("%s: %d %s: %s (%s)", request, r, failure.code, failure.detail, failure.hint);
    assert_true(json_is_object(result));
    return result;
}

void lab_must_fail(struct lab *lab, const char *job, const char *model, const char *request,
                   const char *code, const char *words) {
    cleanup(json_decrefp) json_t *result = NULL;
    struct failure failure = {};
    int r = lab_run(lab, job, model, request, &result, &failure);

    if (r >= 0 || result || !str_equal(failure.code, code) || !strstr(failure.detail, words) ||
        !failure.hint[0])
        fail_msg("%d %s: '%s' (%s), not %s: '%s' with a hint", r, failure.code, failure.detail,
                 failure.hint, code, words);
    assert_false(lab_exists(lab, job, "artifact"));
    assert_false(lab_exists(lab, job, "result.json"));
}

double lab_perplexity(const json_t *result) {
    const json_t *set = json_object_get(json_object_get(result, "perplexity"), LAB_EVAL);
    double value = json_number_value(json_object_get(set, "value"));

    assert_true(isfinite(value) && value > 1);
    return value;
}

int lab_count(const struct lab *lab, const char *kind) {
    json_t *event;
    int n = 0;
    size_t i;

    json_array_foreach(lab->events, i, event) n +=
        str_equal(json_string_value(json_object_get(event, "kind")), kind);
    return n;
}

bool lab_exists(const struct lab *lab, const char *job, const char *name) {
    cleanup(freep) char *path = lab_path(lab, "jobs/%s/%s", job, name);

    return access(path, F_OK) == 0;
}

json_t *lab_digest(const struct lab *lab, const char *job) {
    cleanup(freep) char *path = lab_path(lab, "jobs/%s/artifact", job);
    cleanup(closedirp) DIR *dir = opendir(path);
    json_t *digest = json_object();

    if (!dir)
        fail_msg("job %s has no artifact", job);
    for (struct dirent *entry; (entry = readdir(dir));) {
        cleanup(freep) char *file = str_format("%s/%s", path, entry->d_name);
        char hash[SHA256_TEXT_SIZE];
        uint64_t size;

        if (entry->d_name[0] == '.')
            continue;
        assert_int_equal(sha256_of_file(file, hash, &size), 0);
        json_object_set_new(digest, entry->d_name, json_string(hash));
    }
    return digest;
}

/* ---- models ---- */

char *lab_copy(const struct lab *lab, const char *from, const char *name) {
    char *to = lab_path(lab, "models/%s", name);
    cleanup(closedirp) DIR *dir = opendir(from);

    assert_non_null(dir);
    assert_int_equal(dir_make(to), 0);
    for (struct dirent *entry; (entry = readdir(dir));) {
        cleanup(freep) char *source = str_format("%s/%s", from, entry->d_name);
        cleanup(freep) char *target = str_format("%s/%s", to, entry->d_name);
        cleanup(freep) char *data = NULL;
        size_t size;

        if (entry->d_name[0] == '.')
            continue;
        read_whole(source, &data, &size);
        write_whole(target, data, size);
    }
    return to;
}

void lab_edit_json(const char *model, const char *name, const char *key, json_t *value) {
    cleanup(freep) char *path = str_format("%s/%s", model, name), *text = NULL;
    cleanup(json_decrefp) json_t *object = NULL;
    struct failure failure = {};

    if (json_parse_file(path, 1 << 20, "bad", &object, &failure))
        fail_msg("%s", failure.detail);
    if (value)
        json_object_set_new(object, key, value);
    else
        json_object_del(object, key);
    text = json_dumps(object, 0);
    write_whole(path, text, strlen(text));
}

/* The tensors of a model in the making. */
struct rewrite {
    struct tensor tensors[1024];
    void *blocks[1024];
    size_t n;
};

static void rewrite_file(struct rewrite *rewrite, const struct safetensors *file, lab_edit *edit,
                         void *ctx) {
    for (size_t i = 0; i < safetensors_n_tensors(file); i++) {
        struct tensor t = *safetensors_at(file, i);
        unsigned char *data = malloc(t.size);
        void *other = NULL;

        assert_true(data && rewrite->n < ARRAY_SIZE(rewrite->tensors));
        memcpy(data, t.data, t.size);
        t.name = strdup(t.name);
        if (!edit(ctx, &t, data, &other)) {
            free((char *)t.name);
            free(data);
            continue;
        }
        if (other)
            free(data);
        t.data = rewrite->blocks[rewrite->n] = other ? other : data;
        rewrite->tensors[rewrite->n++] = t;
    }
}

static bool is_tensor_file(const char *name) {
    return strstr(name, ".safetensors") != NULL;
}

char *lab_rewrite(const struct lab *lab, const char *from, const char *name, lab_edit *edit,
                  void *ctx) {
    char *to = lab_copy(lab, from, name);
    cleanup(freep) char *single = str_format("%s/model.safetensors", to);
    cleanup(closedirp) DIR *dir = opendir(from);
    cleanup(freep) struct rewrite *rewrite = calloc(1, sizeof(*rewrite));
    struct failure failure = {};

    assert_true(dir && rewrite);
    for (struct dirent *entry; (entry = readdir(dir));) {
        cleanup(freep) char *path = str_format("%s/%s", to, entry->d_name);
        cleanup(safetensors_freep) struct safetensors *file = NULL;

        if (!is_tensor_file(entry->d_name))
            continue;
        if (!strstr(entry->d_name, "index")) {
            if (safetensors_open(NULL, path, &file, &failure))
                fail_msg("%s", failure.detail);
            rewrite_file(rewrite, file, edit, ctx);
        }
        unlink(path);
    }
    if (safetensors_write(single, rewrite->tensors, rewrite->n, NULL, NULL, &failure))
        fail_msg("%s", failure.detail);
    for (size_t i = 0; i < rewrite->n; i++) {
        free((char *)rewrite->tensors[i].name);
        free(rewrite->blocks[i]);
    }
    return to;
}
