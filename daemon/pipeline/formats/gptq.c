// SPDX-License-Identifier: Apache-2.0
/*
 * The layout of GPTQ that GPTQModel, vLLM and transformers read: four tensors in place of a
 * weight (daemon/model/readers/packing.h), and quantization_config.
 */
#include "daemon/model/readers/gptq.h"
#include "daemon/model/readers/packing.h"
#include "daemon/pipeline/formats/dynamic.h"
#include "daemon/pipeline/formats/format.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The packed zeros want whole words along the rows of every matrix. */
static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q;
    for (int i = 0; config && i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        for (int p = 0; p < shape.n_parts; p++) {
            if (shape.parts[p].rows % 32)
                return failure_set(failure, -EINVAL, "model_unsupported",
                                   "only wbits 16 works for this model",
                                   "the %d out-features of %s are not a multiple of 32",
                                   shape.parts[p].rows, shape.parts[p].name);
        }
    }
    return 0;
}

static int add_matrix(const struct format_context *c, const struct matrix_codes *m,
                      struct shard *shard) {
    const struct quantized_matrix *g = &m->codes;
    int words = g->rows * g->wbits / 32, r;
    uint32_t *qzeros = shard_block(shard, (size_t)g->n_groups * words * sizeof(*qzeros));
    char name[MATRIX_NAME_SIZE + 16];

    if (!qzeros)
        return -ENOMEM;
    qzeros_pack(qzeros, g->zeros, g->n_groups, g->rows, g->wbits, c->q->v2);
    snprintf(name, sizeof(name), "%s.qweight", m->name);
    r = shard_add(shard, name, DTYPE_I32, (uint64_t)g->n * g->wbits / 32, g->rows, g->words);
    snprintf(name, sizeof(name), "%s.qzeros", m->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_I32, g->n_groups, words, qzeros);
    snprintf(name, sizeof(name), "%s.scales", m->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_F16, g->n_groups, g->rows, g->scales);
    snprintf(name, sizeof(name), "%s.g_idx", m->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_I32, g->n, 0, g->g_idx);
    return r;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    return format_add_layer(c, layer, add_matrix, shard);
}

/* The matrices of a block that are quantized, in the order of quantization. */
static json_t *quantized_modules(const struct model_config *config) {
    json_t *blocks = json_array();

    for (int i = 0; i < N_GROUPS; i++) {
        json_t *block = json_array();
        struct group_shape shape;

        group_shape(config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts; j++) {
            char name[MATRIX_NAME_SIZE];

            group_matrix_name(&shape, 0, j / shape.n_parts, j % shape.n_parts, name);
            json_array_append_new(block, json_string(name + strlen("model.layers.0.")));
        }
        json_array_append_new(blocks, block);
    }
    return blocks;
}

/* The keys that GPTQModel, vLLM and transformers read. */
static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    const struct quantization_config *q = c->q;
    json_t *value = json_pack("{s:s s:s s:i s:i s:b s:b s:b s:s s:o s:O}", "quant_method", "gptq",
                              "checkpoint_format", q->v2 ? "gptq_v2" : "gptq", "bits", q->wbits,
                              "group_size", q->groupsize, "desc_act", q->desc_act, "sym", q->sym,
                              "lm_head", 0, "pack_dtype", "int32", "modules_in_block_to_quantize",
                              quantized_modules(c->config), "meta", meta);

    if (q->schemes && json_object_set_new(value, "dynamic", dynamic_rules(c->config, q))) {
        json_decref(value);
        return failure_oom(c->failure);
    }
    return json_object_set_new(config, "quantization_config", value) ? failure_oom(c->failure) : 0;
}

static struct code_bits bits_of(const struct quantization_config *q) {
    return (struct code_bits){.grid = q->wbits + 16, .column = 32};
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    return codes_bits_per_weight(config, q, bits_of);
}

const struct format_ops format_gptq = {
    .name = "gptq",
    .title = "packed codes, scales and zeros, as GPTQModel and vLLM read them",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8,
              .sym = true,
              .asym = true,
              .unordered = true},
    .reader = &reader_gptq,
    .check = check,
    .add_layer = add_layer,
    .add_plain = format_copy_plain,
    .describe = describe,
    .config_file = "quantize_config.json",
    .bits_per_weight = bits_per_weight,
};
