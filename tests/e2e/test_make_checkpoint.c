// SPDX-License-Identifier: Apache-2.0
/* Random checkpoints: any geometry opens, computes finite numbers, and is the same every time. */
#include "tests/e2e/lab.h"

#include "base/file.h"
#include "base/hash.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/tokenizer/tokenizer.h"
#include "tools/byte_tokenizer.h"
#include "tools/random_checkpoint.h"

#include <errno.h>
#include <math.h>

static const struct random_checkpoint odd = {
    .config =
        {
            .hidden_size = 96,
            .intermediate_size = 64,
            .num_hidden_layers = 3,
            .num_attention_heads = 6,
            .num_key_value_heads = 2,
            .num_experts = 7,
            .num_experts_per_tok = 3,
            .vocab_size = 431,
            .max_position_embeddings = 130,
            .clip_qkv = 2.5f,
            .norm_topk_prob = true,
        },
    .dtype = DTYPE_BF16,
    .seed = 5,
    .shard_bytes = 60000,
    .n_threads = 3,
};

static char *write_model(const struct lab *lab, const char *name,
                         const struct random_checkpoint *what) {
    char *dir = lab_path(lab, "models/%s", name);
    struct random_checkpoint_facts facts = {};
    struct failure failure = {};

    if (random_checkpoint_write(what, dir, &facts, &failure))
        fail_msg("%s: %s", failure.code, failure.detail);
    assert_true(facts.parameters > 0 && facts.n_shards > 0);
    assert_int_equal(facts.bytes, facts.parameters * dtype_size(what->dtype));
    return dir;
}

/* The hashes of all files of the folder, in one. */
static json_t *digest(const char *path) {
    cleanup(closedirp) DIR *dir = opendir(path);
    json_t *all = json_object();

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        cleanup(freep) char *file = str_format("%s/%s", path, entry->d_name);
        char hash[SHA256_TEXT_SIZE];
        uint64_t size;

        if (entry->d_name[0] == '.')
            continue;
        assert_int_equal(sha256_of_file(file, hash, &size), 0);
        json_object_set_new(all, entry->d_name, json_string(hash));
    }
    return all;
}

static void same_bytes_by_any_number_of_threads(void **state) {
    struct random_checkpoint what = odd;
    cleanup(freep) char *a = write_model(*state, "threads-3", &what);
    cleanup(freep) char *b = NULL, *c = NULL;
    cleanup(json_decrefp) json_t *of_a = digest(a), *of_b = NULL, *of_c = NULL;

    what.n_threads = 1;
    b = write_model(*state, "threads-1", &what);
    of_b = digest(b);
    what.seed = 6;
    c = write_model(*state, "other-seed", &what);
    of_c = digest(c);
    assert_true(json_object_size(of_a) > 5); /* several shards */
    assert_true(json_equal(of_a, of_b));
    assert_false(json_equal(of_a, of_c));
}

/* Mean and standard deviation of a tensor of f32. */
static void moments(const struct checkpoint *checkpoint, const char *name, double *ret_mean,
                    double *ret_std) {
    const struct tensor *t = checkpoint_find(checkpoint, "%s", name);
    cleanup(freep) float *values = NULL;
    double sum = 0, squares = 0;

    assert_non_null(t);
    values = calloc(t->n, sizeof(float));
    assert_non_null(values);
    assert_int_equal(dtype_to_f32(values, t->data, t->dtype, t->n), 0);
    for (size_t i = 0; i < t->n; i++) {
        assert_true(isfinite(values[i]));
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    *ret_mean = sum / t->n;
    *ret_std = sqrt(squares / t->n - *ret_mean * *ret_mean);
}

static void weights_have_their_scale(void **state) {
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    struct random_checkpoint what = odd;

    for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++) {
        cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
        cleanup(freep) char *dir = NULL;
        struct failure failure = {};
        double mean, std;

        what.dtype = dtypes[i];
        dir = write_model(*state, dtype_name(dtypes[i]), &what);
        if (checkpoint_open(NULL, dir, &checkpoint, &failure))
            fail_msg("%s", failure.detail);
        assert_int_equal(checkpoint->config.num_key_value_heads, 2);
        assert_true(checkpoint->config.norm_topk_prob && checkpoint->config.clip_qkv == 2.5f);
        moments(checkpoint, "model.embed_tokens.weight", &mean, &std);
        assert_true(fabs(mean) < 0.02 && fabs(std - 1) < 0.02);
        moments(checkpoint, "model.layers.2.mlp.experts.6.down_proj.weight", &mean, &std);
        assert_true(fabs(mean) < 0.01 && fabs(std * 8 - 1) < 0.05);
        moments(checkpoint, "model.norm.weight", &mean, &std);
        assert_true(mean == 1 && std == 0);
    }
}

/* Every expert of every layer is visited. */
static void check_routing(const struct lab *lab) {
    int layers = 0;
    json_t *event;
    size_t i;

    json_array_foreach(lab->events, i, event) {
        json_t *matrices = json_object_get(json_object_get(event, "data"), "matrices"), *matrix;
        size_t j;

        if (!str_equal(json_string_value(json_object_get(event, "kind")), "layer.finished"))
            continue;
        layers++;
        json_array_foreach(matrices, j, matrix) {
            assert_string_equal(json_string_value(json_object_get(matrix, "method")), "gptq");
            assert_true(json_integer_value(json_object_get(matrix, "tokens")) > 100);
        }
    }
    assert_int_equal(layers, odd.config.num_hidden_layers);
}

static void jobs_run_on_it(void **state) {
    struct lab *lab = *state;
    struct random_checkpoint what = odd;
    cleanup(freep) char *dir = write_model(lab, "odd", &what), *tied = NULL;
    cleanup(json_decrefp) json_t *plain = lab_must(lab, "plain", dir, "{'kind': 'eval'}");
    cleanup(json_decrefp) json_t *quantized = NULL, *of_tied = NULL;

    assert_true(lab_perplexity(plain) < 431 * 431);
    quantized = lab_must(lab, "quantized", dir, "{'wbits': 4, 'groupsize': 32}");
    assert_true(lab_perplexity(quantized) < 431 * 431);
    check_routing(lab);
    what.config.tie_word_embeddings = true;
    tied = write_model(lab, "tied", &what);
    of_tied = lab_must(lab, "tied", tied, "{'kind': 'eval'}");
    assert_true(isfinite(lab_perplexity(of_tied)));
}

/* Each character is one token, and what the bytes say comes out as it went in. */
static void characters_are_tokens(void **state) {
    static const char text[] = "a\xe0\xa0\x80\xe4\xb8\x80\xe4\xb8\x81\xed\x9f\xbf\x7f";
    static const int sizes[] = {256, 257, 258, 431, 50304, 100000};
    cleanup(freep) char *path = lab_path(*state, "tokenizer.json");

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
        cleanup(freep) int32_t *ids = NULL;
        struct failure failure = {};
        size_t n;

        if (byte_tokenizer_write(path, sizes[i], &failure) ||
            tokenizer_open(NULL, path, &tokenizer, &failure))
            fail_msg("%d: %s", sizes[i], failure.detail);
        assert_true(tokenizer_n_ids(tokenizer) <= sizes[i]);
        assert_int_equal(tokenizer_encode(tokenizer, text, sizeof(text) - 1, &ids, &n, &failure),
                         0);
        assert_int_equal(n, sizes[i] < 258 ? 14 : sizes[i] < 50000 ? 12 : sizes[i] < 60000 ? 8 : 6);
        assert_int_equal(ids[0], 'a');
        assert_int_equal(ids[n - 1], 0x7f);
    }
}

static void refusals(void **state) {
    cleanup(freep) char *dir = lab_path(*state, "models/refused");
    struct random_checkpoint what = odd;
    struct random_checkpoint_facts facts;
    struct failure failure = {};

    what.config.vocab_size = 255;
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), -EINVAL);
    what.config.num_attention_heads = 7;
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), -EBADMSG);
    what = odd;
    what.tokenizer = "/nonexistent";
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), -ENOENT);
    what.tokenizer = NULL;
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), 0);
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), -EEXIST);
    assert_string_equal(failure.code, "exists");
}

/* A size that no disk has is refused before anything large is written. */
static void too_large(void **state) {
    cleanup(freep) char *dir = lab_path(*state, "models/large");
    struct random_checkpoint what = odd;
    struct random_checkpoint_facts facts;
    struct failure failure = {};

    what.config.hidden_size = 1 << 16;
    what.config.num_attention_heads = what.config.num_key_value_heads = 64;
    what.config.intermediate_size = 1 << 18;
    what.config.num_hidden_layers = 1000;
    what.shard_bytes = INT64_MAX;
    assert_int_equal(random_checkpoint_write(&what, dir, &facts, &failure), -ENOSPC);
    assert_string_equal(failure.code, "disk_full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_by_any_number_of_threads),
        cmocka_unit_test(weights_have_their_scale),
        cmocka_unit_test(jobs_run_on_it),
        cmocka_unit_test(characters_are_tokens),
        cmocka_unit_test(refusals),
        cmocka_unit_test(too_large),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
