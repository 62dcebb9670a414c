// SPDX-License-Identifier: Apache-2.0
/*
 * Checkpoints that are written otherwise than ours: all experts of a layer in one tensor, quantized
 * experts beside plain attention, keys that are no JSON. Each says the same and must measure the
 * same.
 */
#include "base/file.h"
#include "daemon/model/checkpoint.h"
#include "tests/e2e/lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TENSORS_MAX 1024

/* A checkpoint in the making: tensors of opened models, and memory of its own. */
struct mix {
    struct tensor tensors[TENSORS_MAX];
    size_t n;
    char names[TENSORS_MAX][128];
    void *blocks[TENSORS_MAX];
    size_t n_blocks;
};

static struct mix mix;

static void mix_add(const struct tensor *t, const char *name) {
    assert_true(mix.n < TENSORS_MAX);
    mix.tensors[mix.n] = *t;
    snprintf(mix.names[mix.n], sizeof(mix.names[0]), "%s", name);
    mix.tensors[mix.n].name = mix.names[mix.n];
    mix.n++;
}

/* Writes what was added as the one shard of a copy of @from. */
static char *mix_save(struct lab *lab, const char *from, const char *name) {
    char *model = lab_copy(lab, from, name);
    cleanup(freep) char *path = str_format("%s/model.safetensors", model);
    cleanup(freep) char *index = str_format("%s/model.safetensors.index.json", model);
    struct failure failure = {};

    unlink(index);
    if (safetensors_write(path, mix.tensors, mix.n, NULL, NULL, &failure))
        fail_msg("%s", failure.detail);
    for (size_t i = 0; i < mix.n_blocks; i++)
        free(mix.blocks[i]);
    mix.n = mix.n_blocks = 0;
    return model;
}

static struct checkpoint *open_model(const char *dir) {
    struct checkpoint *checkpoint;
    struct failure failure = {};

    if (checkpoint_open(NULL, dir, &checkpoint, &failure))
        fail_msg("%s: %s", dir, failure.detail);
    return checkpoint;
}

/* Adds every tensor of @from whose name has @part in it, or, without @wanted, has not. */
static void add_where(const struct checkpoint *from, const char *part, bool wanted) {
    for (size_t i = 0; i < from->n_shards; i++) {
        for (size_t j = 0; j < safetensors_n_tensors(from->shards[i]); j++) {
            const struct tensor *t = safetensors_at(from->shards[i], j);

            if ((strstr(t->name, part) != NULL) == wanted)
                mix_add(t, t->name);
        }
    }
}

/* All experts' @parts of @layer, one above the other, as @name. */
static void add_fused(const struct checkpoint *from, int layer, const char *name,
                      const char *const *parts, int n_parts) {
    const struct model_config *c = &from->config;
    const struct tensor *first =
        checkpoint_find(from, "model.layers.%d.mlp.experts.0.%s.weight", layer, parts[0]);
    cleanup(freep) char *full = str_format("model.layers.%d.mlp.experts.%s", layer, name);
    struct tensor fused = *first;
    char *at = malloc(first->size * n_parts * c->num_experts);

    assert_non_null(at);
    fused.n_dims = 3;
    fused.shape[0] = c->num_experts;
    fused.shape[1] = first->shape[0] * n_parts;
    fused.shape[2] = first->shape[1];
    fused.n = first->n * n_parts * c->num_experts;
    fused.size = first->size * n_parts * c->num_experts;
    fused.data = mix.blocks[mix.n_blocks++] = at;
    for (int i = 0; i < c->num_experts * n_parts; i++, at += first->size)
        memcpy(at,
               checkpoint_find(from, "model.layers.%d.mlp.experts.%d.%s.weight", layer, i / n_parts,
                               parts[i % n_parts])
                   ->data,
               first->size);
    mix_add(&fused, full);
}

static char *fused_model(struct lab *lab, const char *name) {
    static const char *const gate_up[] = {"gate_proj", "up_proj"}, *const down[] = {"down_proj"};
    cleanup(checkpoint_freep) struct checkpoint *demo = open_model(lab->demo);

    add_where(demo, ".mlp.experts.", false);
    for (int i = 0; i < demo->config.num_hidden_layers; i++) {
        add_fused(demo, i, "gate_up_proj", gate_up, 2);
        add_fused(demo, i, "down_proj", down, 1);
    }
    return mix_save(lab, lab->demo, name);
}

/* Evaluated and quantized as the model with a tensor for each expert, digit for digit. */
static void test_fused(void **state) {
    static const char request[] = "{'wbits': 4, 'groupsize': 64, 'nearest': true}";
    struct lab *lab = *state;
    cleanup(freep) char *model = fused_model(lab, "fused");
    cleanup(json_decrefp) json_t *want = lab_must(lab, "single", NULL, "{'kind': 'eval'}");
    cleanup(json_decrefp) json_t *is = lab_must(lab, "fused", model, "{'kind': 'eval'}");
    cleanup(json_decrefp) json_t *want_4 = lab_must(lab, "single-4", NULL, request);
    cleanup(json_decrefp) json_t *is_4 = lab_must(lab, "fused-4", model, request);

    assert_true(lab_perplexity(is) == lab_perplexity(want));
    assert_true(lab_perplexity(is_4) == lab_perplexity(want_4));
}

/* Quantized experts beside the same attention as plain bf16, which a rule of `dynamic` says. */
static void test_experts_only(void **state) {
    static const char dense[] = "{'wbits': 4, 'groupsize': 64, 'nearest': true, 'format': 'dense'}";
    static const char packed[] = "{'wbits': 4, 'groupsize': 64, 'nearest': true}";
    struct lab *lab = *state;
    cleanup(json_decrefp) json_t *all = lab_must(lab, "packed", NULL, packed);
    cleanup(freep) char *packed_dir = lab_path(lab, "jobs/packed/artifact");
    cleanup(freep) char *dense_dir = lab_path(lab, "jobs/dense/artifact");
    cleanup(checkpoint_freep) struct checkpoint *a = open_model(packed_dir);
    cleanup(checkpoint_freep) struct checkpoint *b = NULL;
    cleanup(json_decrefp) json_t *result = NULL;
    cleanup(freep) char *model = NULL;

    json_decref(lab_must(lab, "dense", NULL, dense));
    b = open_model(dense_dir);
    add_where(a, ".self_attn.", false);
    add_where(b, ".self_attn.", true);
    model = mix_save(lab, packed_dir, "experts-only");
    result = lab_must(lab, "experts-only", model, "{'kind': 'eval'}");
    if (!(fabs(lab_perplexity(result) / lab_perplexity(all) - 1) <= 2e-3))
        fail_msg("%g, not %g", lab_perplexity(result), lab_perplexity(all));

    /* Neither quantized nor plain. */
    add_where(a, ".self_attn.q_proj.", false);
    free(steal_ptr(model));
    model = mix_save(lab, packed_dir, "no-attention");
    lab_must_fail(lab, "no-attention", model, "{'kind': 'eval'}", "model_incomplete",
                  "self_attn.q_proj");
}

/* A key that is not used holds what only Python calls JSON, here and in the checkpoint. */
static void test_unused_key(void **state) {
    struct lab *lab = *state;
    cleanup(freep) char *model = lab_copy(lab, lab->demo, "python");
    cleanup(freep) char *path = str_format("%s/config.json", model), *text = NULL, *out = NULL;
    cleanup(freep) char *artifact = lab_path(lab, "jobs/python/artifact");
    cleanup(freep) char *exported = str_format("%s/config.json", artifact), *changed = NULL;
    size_t size;

    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    changed = str_format("{\"unused\": [NaN, -Infinity, {\"x\": 1e999}],%s", strchr(text, '{') + 1);
    assert_int_equal(file_replace(path, changed, strlen(changed)), 0);
    json_decref(lab_must(lab, "python", model, "{'wbits': 4, 'nearest': true, 'eval': []}"));
    assert_int_equal(file_read(exported, 1 << 20, &out, &size), 0);
    assert_true(strstr(out, "NaN,") && strstr(out, "-Infinity,") && strstr(out, "\"x\": 1e999"));
    json_decref(lab_must(lab, "python-read", artifact, "{'kind': 'eval'}"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_experts_only),
        cmocka_unit_test(test_unused_key),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
