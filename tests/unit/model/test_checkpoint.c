// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/model/arch/olmoe.h"
#include "daemon/model/checkpoint.h"
#include "tests/unit/model/mutate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"
#define SINGLE "model.safetensors"

static char root[] = "/tmp/quantd-test-XXXXXX";
static char demo[500];

static void path_of(char path[200], const char *name) {
    snprintf(path, 200, "%s/m/%s", root, name);
}

static void write_text(const char *name, const char *text) {
    char path[200];

    path_of(path, name);
    assert_int_equal(file_replace(path, text, strlen(text)), 0);
}

/* The folder m, empty. */
static int make_folder(void **state) {
    char path[200];

    (void)state;
    path_of(path, "");
    return dir_remove(path) || dir_make(path);
}

static int make_root(void **state) {
    (void)state;
    snprintf(demo, sizeof(demo), "%s/data/olmoe-demo",
             getenv("QUANTD_SOURCE") ? getenv("QUANTD_SOURCE") : ".");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    return dir_remove(root);
}

static void link_demo(const char *name) {
    char path[200], target[600];

    path_of(path, name);
    snprintf(target, sizeof(target), "%s/%s", demo, name);
    assert_int_equal(symlink(target, path), 0);
}

static char *read_demo(const char *name) {
    char path[600], *text;
    size_t size;

    snprintf(path, sizeof(path), "%s/%s", demo, name);
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    return text;
}

static int open_folder(struct checkpoint **ret_checkpoint, struct failure *f) {
    char path[200];

    snprintf(path, sizeof(path), "%s/m", root);
    return checkpoint_open(NULL, path, ret_checkpoint, f);
}

static void expect_bad(int wanted, const char *code, const char *words) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    struct failure f = {};
    int r = open_folder(&checkpoint, &f);

    if (r != wanted || strcmp(f.code, code) != 0 || !strstr(f.detail, words))
        fail_msg("%d %s '%s' instead of %d %s '%s'", r, f.code, f.detail, wanted, code, words);
}

static void expect_good(void) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    struct failure f = {};

    if (open_folder(&checkpoint, &f))
        fail_msg("%s", f.detail);
}

static void test_demo(void **state) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    const struct tensor *tensor;
    uint64_t n_elements = 0;
    struct failure f = {};
    size_t n = 0;

    (void)state;
    if (checkpoint_open(NULL, demo, &checkpoint, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(checkpoint->config.hidden_size, 256);
    assert_int_equal(checkpoint->config.intermediate_size, 128);
    assert_int_equal(checkpoint->config.num_hidden_layers, 3);
    assert_int_equal(checkpoint->config.num_experts, 16);
    assert_int_equal(checkpoint->config.vocab_size, 4096);
    assert_int_equal(checkpoint->n_shards, 2);
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        n += safetensors_n_tensors(checkpoint->shards[i]);
        for (size_t j = 0; j < safetensors_n_tensors(checkpoint->shards[i]); j++)
            n_elements += safetensors_at(checkpoint->shards[i], j)->n;
    }
    assert_int_equal(n, 3 + 3 * (2 + 4 + 2 + 1 + 16 * 3));
    assert_int_equal(n_elements, arch_n_parameters(&checkpoint->config));
    tensor = checkpoint_find(checkpoint, "model.layers.%d.mlp.experts.%d.down_proj.weight", 2, 15);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, DTYPE_BF16);
    assert_int_equal(tensor->shape[0], 256);
    assert_int_equal(tensor->shape[1], 128);
    assert_null(checkpoint_find(checkpoint, "model.layers.%d.mlp.gate.weight", 3));
    assert_null(checkpoint_find(checkpoint, "%2000d", 1));
    assert_true(checkpoint_intact(checkpoint));
}

static void test_released_size(void **state) {
    const struct model_config config = {.arch = &arch_olmoe,
                                        .hidden_size = 2048,
                                        .intermediate_size = 1024,
                                        .num_hidden_layers = 16,
                                        .num_attention_heads = 16,
                                        .num_key_value_heads = 16,
                                        .head_dim = 128,
                                        .num_experts = 64,
                                        .vocab_size = 50304};

    (void)state;
    assert_true(arch_n_parameters(&config) == 6919161856);
}

static void test_missing_shard(void **state) {
    (void)state;
    link_demo("config.json");
    link_demo(INDEX);
    link_demo(SHARD_1);
    expect_bad(-ENOENT, "model_incomplete", SHARD_2);
    link_demo(SHARD_2);
    expect_good();
}

/* What is found instead of weights; later ones say more than earlier ones. */
static const struct {
    const char *name, *text, *code, *words;
    int r;
} strangers[] = {
    {"model.onnx", "", "model_unsupported", "an ONNX file", -EBADMSG},
    {"pytorch_model.bin", "", "model_unsupported", "'pytorch_model.bin', a pickle file", -EBADMSG},
    {"model-00001-of-00002.safetensors", "", "model_incomplete", "without 'model.safetensors.index",
     -ENOENT},
    {"weights.Q4_K_M.gguf", "", "model_unsupported", "a GGUF file", -EBADMSG},
    {"adapter_model.safetensors", "", "model_unsupported", "an adapter", -EBADMSG},
    {"adapter_config.json", "{}", "model_unsupported", "an adapter", -EBADMSG},
};

static void remove_file(const char *name) {
    char path[200];

    path_of(path, name);
    assert_int_equal(unlink(path), 0);
}

static void test_no_weights(void **state) {
    (void)state;
    expect_bad(-ENOENT, "model_incomplete", "config.json");
    link_demo("config.json");
    expect_bad(-ENOENT, "model_incomplete", "neither");
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
        write_text(strangers[i].name, strangers[i].text);
        expect_bad(strangers[i].r, strangers[i].code, strangers[i].words);
    }
}

static void test_lfs_pointers(void **state) {
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";

    (void)state;
    write_text("config.json", pointer);
    expect_bad(-EBADMSG, "model_invalid", "config.json': it is a Git LFS pointer");
    remove_file("config.json");
    link_demo("config.json");
    write_text(INDEX, pointer);
    expect_bad(-EBADMSG, "model_invalid", INDEX "': it is a Git LFS pointer");
    write_text(SINGLE, pointer);
    expect_bad(-EBADMSG, "model_incomplete", SINGLE "': it is a Git LFS pointer");
}

/* An index whose entry for lm_head.weight is @shard, in JSON. */
static void write_index(const char *tensor, const char *shard) {
    cleanup(freep) char *text = read_demo(INDEX), *changed = NULL;
    json_t *index = json_loads(text, 0, NULL);

    assert_non_null(index);
    json_object_set_new(json_object_get(index, "weight_map"), tensor,
                        json_loads(shard, JSON_DECODE_ANY, NULL));
    changed = json_dumps(index, 0);
    write_text(INDEX, changed);
    json_decref(index);
}

static void test_bad_index(void **state) {
    static const char *const bad_shards[] = {
        "\"../x.safetensors\"",
        "\"/etc/passwd\"",
        "\"a/b.safetensors\"",
        "\"\"",
        "\".x.safetensors\"",
        "\"weights.bin\"",
        "1",
        "null",
    };
    static const char *const bad_indexes[] = {"", "[]", "{}", "{\"weight_map\":[]}",
                                              "{\"weight_map\":{}}"};

    (void)state;
    link_demo("config.json");
    link_demo(SHARD_1);
    link_demo(SHARD_2);
    for (size_t i = 0; i < ARRAY_SIZE(bad_indexes); i++) {
        write_text(INDEX, bad_indexes[i]);
        expect_bad(-EBADMSG, "model_invalid", INDEX);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad_shards); i++) {
        write_index("lm_head.weight", bad_shards[i]);
        expect_bad(-EBADMSG, "model_invalid", "not a name of a shard");
    }
    write_index("lm_head.weight", "\"missing.safetensors\"");
    expect_bad(-ENOENT, "model_incomplete", "'missing.safetensors'");
    write_index("no.such.weight", "\"" SHARD_1 "\"");
    expect_bad(-ENOENT, "model_incomplete", "'no.such.weight'");
    write_index("lm_head.weight", "\"" SHARD_1 "\"");
    expect_bad(-ENOENT, "model_incomplete", "'lm_head.weight'");
}

/* A small model made here, plain or quantized to 4 bits in groups of 16. */
#define SMALL                                                                                      \
    "\"model_type\":\"olmoe\",\"hidden_size\":64,\"intermediate_size\":32,"                        \
    "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"num_key_value_heads\":2,"                 \
    "\"num_experts\":2,\"num_experts_per_tok\":1,\"vocab_size\":24"
#define GPTQ ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":16}"
#define GPTQ_ACT_ORDER                                                                             \
    ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":16,"            \
    "\"desc_act\":true}"

struct small {
    struct tensor tensors[64];
    char names[64][100];
    size_t n;
};

static struct small small;

static void add(const char *prefix, const char *name, enum dtype dtype, int n_dims, uint64_t rows,
                uint64_t columns) {
    static const unsigned char zeros[65536];
    size_t n = rows * (n_dims == 2 ? columns : 1);

    assert_true(small.n < ARRAY_SIZE(small.tensors) && 2 * n * dtype_size(dtype) <= sizeof(zeros));
    snprintf(small.names[small.n], sizeof(small.names[0]), "%s%s", prefix, name);
    small.tensors[small.n] = (struct tensor){.name = small.names[small.n],
                                             .dtype = dtype,
                                             .n_dims = n_dims,
                                             .shape = {rows, columns},
                                             .n = n,
                                             .size = n * dtype_size(dtype),
                                             .data = zeros};
    small.n++;
}

static void add_projection(bool quantized, const char *name, int out, int in) {
    if (!quantized) {
        add(name, ".weight", DTYPE_BF16, 2, out, in);
        return;
    }
    add(name, ".qweight", DTYPE_I32, 2, in / 8, out);
    add(name, ".qzeros", DTYPE_I32, 2, in / 16, out / 8);
    add(name, ".scales", DTYPE_F16, 2, in / 16, out);
    add(name, ".g_idx", DTYPE_I32, 1, in, 0);
}

static void make_small(bool quantized) {
    const char *layer = "model.layers.0.";

    small.n = 0;
    add("", "model.embed_tokens.weight", DTYPE_BF16, 2, 24, 64);
    add(layer, "input_layernorm.weight", DTYPE_F32, 1, 64, 0);
    add(layer, "post_attention_layernorm.weight", DTYPE_F16, 1, 64, 0);
    add(layer, "self_attn.q_norm.weight", DTYPE_BF16, 1, 64, 0);
    add(layer, "self_attn.k_norm.weight", DTYPE_BF16, 1, 32, 0);
    add(layer, "mlp.gate.weight", DTYPE_BF16, 2, 2, 64);
    add("", "model.norm.weight", DTYPE_BF16, 1, 64, 0);
    add_projection(quantized, "model.layers.0.self_attn.q_proj", 64, 64);
    add_projection(quantized, "model.layers.0.self_attn.k_proj", 32, 64);
    add_projection(quantized, "model.layers.0.self_attn.v_proj", 32, 64);
    add_projection(quantized, "model.layers.0.self_attn.o_proj", 64, 64);
    for (int i = 0; i < 2; i++) {
        char name[80];

        snprintf(name, sizeof(name), "model.layers.0.mlp.experts.%d.gate_proj", i);
        add_projection(quantized, name, 32, 64);
        snprintf(name, sizeof(name), "model.layers.0.mlp.experts.%d.up_proj", i);
        add_projection(quantized, name, 32, 64);
        snprintf(name, sizeof(name), "model.layers.0.mlp.experts.%d.down_proj", i);
        add_projection(quantized, name, 64, 32);
    }
    add("", "lm_head.weight", DTYPE_BF16, 2, 24, 64);
}

static void save_small(const char *config, size_t n) {
    struct failure f = {};
    char path[200];

    path_of(path, SINGLE);
    if (safetensors_write(path, small.tensors, n, NULL, NULL, &f))
        fail_msg("%s", f.detail);
    write_text("config.json", config);
}

/* Each tensor in turn is missing, has another shape, another dtype. */
static void sweep(const char *config) {
    for (size_t i = 0; i < small.n; i++) {
        struct tensor whole = small.tensors[i], last = small.tensors[small.n - 1];
        struct tensor *t = &small.tensors[i];
        bool is_float = whole.dtype != DTYPE_I32;

        *t = last;
        save_small(config, small.n - 1);
        expect_bad(-ENOENT, "model_incomplete", whole.name);
        *t = whole;

        t->n_dims = 3;
        t->shape[1] = whole.n_dims == 2 ? whole.shape[1] : 1;
        t->shape[2] = 1;
        save_small(config, small.n);
        expect_bad(-EBADMSG, "model_invalid", whole.name);
        *t = whole;

        t->shape[0] += 1;
        t->size += whole.size / whole.shape[0];
        save_small(config, small.n);
        expect_bad(-EBADMSG, "model_invalid", whole.name);
        *t = whole;

        t->dtype = is_float ? DTYPE_I16 : DTYPE_F32;
        t->size = whole.n * dtype_size(t->dtype);
        save_small(config, small.n);
        expect_bad(-EBADMSG, "model_invalid", whole.name);
        *t = whole;
    }
    save_small(config, small.n);
    expect_good();
}

static void test_small_plain(void **state) {
    (void)state;
    make_small(false);
    sweep("{" SMALL "}");
}

static void test_small_quantized(void **state) {
    (void)state;
    make_small(true);
    sweep("{" SMALL GPTQ_ACT_ORDER "}");
}

static void test_optional_tensors(void **state) {
    (void)state;
    make_small(false);
    save_small("{" SMALL ",\"tie_word_embeddings\":true}", small.n - 1);
    expect_good();
    save_small("{" SMALL ",\"tie_word_embeddings\":true}", small.n);
    expect_good();
    add("model.layers.0.self_attn.rotary_emb.", "inv_freq", DTYPE_F32, 1, 8, 0);
    save_small("{" SMALL "}", small.n);
    expect_good();
    add("model.layers.0.self_attn.", "q_proj.bias", DTYPE_F32, 1, 64, 0);
    save_small("{" SMALL "}", small.n);
    expect_bad(-EBADMSG, "model_unsupported", "q_proj.bias");

    make_small(true);
    save_small("{" SMALL "}", small.n);
    expect_bad(-EBADMSG, "model_invalid", "is quantized");
    for (size_t i = 0; i < small.n;) {
        if (strstr(small.tensors[i].name, "g_idx"))
            memmove(&small.tensors[i], &small.tensors[i + 1],
                    (--small.n - i) * sizeof(small.tensors[0]));
        else
            i++;
    }
    save_small("{" SMALL GPTQ "}", small.n);
    expect_good();
    save_small("{" SMALL GPTQ_ACT_ORDER "}", small.n);
    expect_bad(-ENOENT, "model_incomplete", "g_idx");
}

/* All experts of a layer in one tensor, and not in single ones as well. */
static void test_fused(void **state) {
    size_t n_single;

    (void)state;
    make_small(false);
    n_single = small.n;
    add("model.layers.0.", "mlp.experts.down_proj", DTYPE_BF16, 2, 2 * 64, 32);
    small.tensors[small.n - 1].n_dims = 3;
    memcpy(small.tensors[small.n - 1].shape, (uint64_t[]){2, 64, 32}, 3 * sizeof(uint64_t));
    save_small("{" SMALL "}", small.n);
    expect_bad(-EBADMSG, "model_invalid", "as well as");
    for (size_t i = 0; i < n_single; i++) {
        if (strstr(small.names[i], "down_proj"))
            snprintf(small.names[i], sizeof(small.names[i]), "unused.%zu", i);
    }
    save_small("{" SMALL "}", small.n);
    expect_good();
    memcpy(small.tensors[small.n - 1].shape, (uint64_t[]){2, 32, 64}, 3 * sizeof(uint64_t));
    save_small("{" SMALL "}", small.n);
    expect_bad(-EBADMSG, "model_invalid",
               "'model.layers.0.mlp.experts.down_proj' has shape [2,32,64]");
}

/* A tensor that a second shard holds, too: which one counts is not defined. */
static void test_tensor_in_two_shards(void **state) {
    struct strbuf index = {};
    struct failure f = {};
    char path[200];

    (void)state;
    make_small(false);
    write_text("config.json", "{" SMALL "}");
    path_of(path, "a.safetensors");
    assert_int_equal(safetensors_write(path, small.tensors, small.n, NULL, NULL, &f), 0);
    path_of(path, "b.safetensors");
    assert_int_equal(safetensors_write(path, small.tensors, 2, NULL, NULL, &f), 0);
    strbuf_puts(&index, "{\"weight_map\":{");
    for (size_t i = 0; i < small.n; i++)
        strbuf_printf(&index, "%s\"%s\":\"%s.safetensors\"", i ? "," : "", small.names[i],
                      i ? "a" : "b");
    strbuf_puts(&index, "}}");
    write_text(INDEX, index.data);
    strbuf_done(&index);
    expect_bad(-EBADMSG, "model_invalid", "model.embed_tokens.weight");
}

static void fingerprint(char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    struct fingerprint *hashing = NULL;
    struct failure f = {};

    if (open_folder(&checkpoint, &f) || checkpoint_start_hashing(checkpoint, NULL, &hashing, &f))
        fail_msg("%s", f.detail);
    assert_int_equal(fingerprint_wait(hashing, ret_text, &f), 0);
    assert_int_equal(strlen(ret_text), SHA256_TEXT_SIZE - 1);
    assert_int_equal(watch_check(&checkpoint->watch, &f), 0);
    fingerprint_free(hashing);
}

static void test_fingerprint(void **state) {
    char first[SHA256_TEXT_SIZE], again[SHA256_TEXT_SIZE], other[SHA256_TEXT_SIZE];
    static unsigned char ones[24 * 64 * 2];

    (void)state;
    make_small(false);
    save_small("{" SMALL "}", small.n);
    fingerprint(first);
    fingerprint(again);
    assert_string_equal(first, again);
    save_small("{" SMALL " }", small.n);
    fingerprint(other);
    assert_string_not_equal(first, other);
    ones[sizeof(ones) - 1] = 1;
    small.tensors[small.n - 1].data = ones;
    save_small("{" SMALL "}", small.n);
    fingerprint(other);
    assert_string_not_equal(first, other);
    make_small(true);
    save_small("{" SMALL "}", small.n);
    write_text("quantize_config.json", "{\"bits\":4,\"group_size\":16}");
    fingerprint(first);
    write_text("quantize_config.json", "{\"bits\":4,\"group_size\":16,\"sym\":true}");
    fingerprint(other);
    assert_string_not_equal(first, other);
}

static void test_cut_short(void **state) {
    char path[200];

    (void)state;
    make_small(false);
    save_small("{" SMALL "}", small.n);
    path_of(path, SINGLE);
    assert_int_equal(truncate(path, 100), 0);
    expect_bad(-EBADMSG, "model_invalid", SINGLE);
}

/* Damage to @name of the shipped model: refused or read, never a crash. */
static void mutate_file(const char *name) {
    cleanup(freep) char *whole = read_demo(name), *text = NULL;
    size_t size = strlen(whole);
    uint64_t seed = 7;

    text = malloc(size);
    assert_non_null(text);
    for (int i = 0; i < 500; i++) {
        cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
        struct failure f = {};
        char path[200];
        FILE *file;

        memcpy(text, whole, size);
        mutate(text, size, &seed);
        path_of(path, name);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
        if (open_folder(&checkpoint, &f))
            assert_true(f.code[0] && f.detail[0]);
    }
}

static void test_mutated_config(void **state) {
    (void)state;
    link_demo(INDEX);
    link_demo(SHARD_1);
    link_demo(SHARD_2);
    mutate_file("config.json");
}

static void test_mutated_index(void **state) {
    (void)state;
    link_demo("config.json");
    link_demo(SHARD_1);
    link_demo(SHARD_2);
    mutate_file(INDEX);
}

#define IN_FOLDER(test) cmocka_unit_test_setup(test, make_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demo),
        cmocka_unit_test(test_released_size),
        IN_FOLDER(test_missing_shard),
        IN_FOLDER(test_no_weights),
        IN_FOLDER(test_lfs_pointers),
        IN_FOLDER(test_bad_index),
        IN_FOLDER(test_small_plain),
        IN_FOLDER(test_small_quantized),
        IN_FOLDER(test_optional_tensors),
        IN_FOLDER(test_fused),
        IN_FOLDER(test_tensor_in_two_shards),
        IN_FOLDER(test_fingerprint),
        IN_FOLDER(test_cut_short),
        IN_FOLDER(test_mutated_config),
        IN_FOLDER(test_mutated_index),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
