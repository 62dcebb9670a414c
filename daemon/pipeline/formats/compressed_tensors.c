// SPDX-License-Identifier: Apache-2.0
/*
 * The layout pack-quantized of compressed-tensors, which vLLM and transformers read: three or four
 * tensors in place of a weight (daemon/model/readers/compressed_tensors.h), and
 * quantization_config. A column's group is its place in the row: the library gave up weight_g_idx,
 * which said otherwise, in version 0.20.
 */
#include "daemon/model/readers/compressed_tensors.h"
#include "daemon/model/readers/compressed_tensors_config.h"
#include "daemon/model/readers/packing.h"
#include "daemon/pipeline/formats/dynamic.h"
#include "daemon/pipeline/formats/format.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q, (void)config, (void)failure;
    return 0;
}

/* ---- tensors ---- */

/* The zeros of @m, packed along its rows; [words, n_groups]. NULL: no memory. */
static uint32_t *pack_zeros(const struct quantized_matrix *m, int words, struct shard *shard) {
    size_t size = (size_t)words * m->n_groups * sizeof(uint32_t);
    cleanup(freep) uint32_t *by_group = malloc(size);
    uint32_t *packed = shard_block(shard, size);

    if (!by_group || !packed)
        return NULL;
    qzeros_pack(by_group, m->zeros, m->n_groups, m->rows, m->wbits, true);
    words_transpose(packed, by_group, m->n_groups, words);
    return packed;
}

/* No tensor says them, so they must be where a reader will think that they are. */
static bool are_symmetric(const struct quantized_matrix *m) {
    bool symmetric = true;

    for (size_t i = 0; i < (size_t)m->n_groups * m->rows; i++)
        symmetric &= m->zeros[i] == 1 << (m->wbits - 1);
    return symmetric;
}

static void by_row(uint16_t *dst, const struct quantized_matrix *m) {
    for (int g = 0; g < m->n_groups; g++) {
        for (int r = 0; r < m->rows; r++)
            dst[(size_t)r * m->n_groups + g] = m->scales[(size_t)g * m->rows + r];
    }
}

static int add_zeros(const struct matrix_codes *m, struct shard *shard) {
    int words = (int)(((int64_t)m->codes.rows * m->codes.wbits + 31) / 32);
    uint32_t *packed = pack_zeros(&m->codes, words, shard);
    char name[MATRIX_NAME_SIZE + 24];

    if (!packed)
        return -ENOMEM;
    snprintf(name, sizeof(name), "%s.weight_zero_point", m->name);
    return shard_add(shard, name, DTYPE_I32, words, m->codes.n_groups, packed);
}

static int add_matrix(const struct format_context *c, const struct matrix_codes *m,
                      struct shard *shard) {
    const struct quantized_matrix *g = &m->codes;
    int words = (int)((int64_t)g->n * g->wbits / 32), r;
    uint32_t *packed = shard_block(shard, quantized_matrix_bytes(g));
    uint16_t *scales = shard_block(shard, (size_t)g->rows * g->n_groups * sizeof(*scales));
    int64_t *shape = shard_block(shard, 2 * sizeof(*shape));
    char name[MATRIX_NAME_SIZE + 24];

    if (m->sym && !are_symmetric(g))
        return failure_set(c->failure, -EBADMSG, "damaged", "quantize the model again",
                           "the codes of the matrix '%s' are damaged: its grids are not symmetric",
                           m->name);
    if (!packed || !scales || !shape)
        return -ENOMEM;
    words_transpose(packed, g->words, words, g->rows);
    by_row(scales, g);
    shape[0] = g->rows;
    shape[1] = g->n;
    snprintf(name, sizeof(name), "%s.weight_packed", m->name);
    r = shard_add(shard, name, DTYPE_I32, g->rows, words, packed);
    snprintf(name, sizeof(name), "%s.weight_scale", m->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_F16, g->rows, g->n_groups, scales);
    snprintf(name, sizeof(name), "%s.weight_shape", m->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_I64, 2, 0, shape);
    if (!r && !m->sym)
        r = add_zeros(m, shard);
    return r;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    return format_add_layer(c, layer, add_matrix, shard);
}

/* ---- config.json ---- */

/* The linear maps that stay as they are: the head and the routers. */
static json_t *ignored(const struct model_config *config) {
    const struct arch *arch = config->arch;
    cleanup(json_decrefp) json_t *names = json_array();
    char name[MATRIX_NAME_SIZE];

    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *t = &arch->tensors[i];
        int n = t->role == ROLE_HEAD ? 1 : t->role == ROLE_ROUTER ? config->num_hidden_layers : 0;

        for (int layer = 0; layer < n; layer++) {
            arch_name(t->name, layer, -1, name);
            if (json_array_append_new(names, json_string(name)))
                return NULL;
        }
    }
    return steal_ptr(names);
}

static json_t *weights(const struct scheme *scheme) {
    bool grouped = scheme->groupsize > 0;

    return json_pack("{s:i s:s s:b s:s s:o s:b s:n}", "num_bits", scheme->wbits, "type", "int",
                     "symmetric", scheme->sym, "strategy", grouped ? "group" : "channel",
                     "group_size", grouped ? json_integer(scheme->groupsize) : json_null(),
                     "dynamic", false, "actorder");
}

/* A group of modules; takes @targets. */
static int add_group(json_t *groups, json_t *targets, const struct scheme *scheme) {
    char name[32];

    snprintf(name, sizeof(name), "group_%zu", json_object_size(groups));
    return json_object_set_new(groups, name,
                               json_pack("{s:o s:n s:n s:o}", "targets", targets,
                                         "input_activations", "output_activations", "weights",
                                         weights(scheme)));
}

/* The expressions of scheme @i as targets: "re:...". */
static json_t *targets_of(const struct format_context *c, int i) {
    cleanup(json_decrefp) json_t *patterns = scheme_patterns(c->config, c->q, i);
    cleanup(json_decrefp) json_t *targets = json_array();
    json_t *pattern;
    size_t j;

    json_array_foreach(patterns, j, pattern) {
        cleanup(freep) char *target = str_format("re:%s", json_string_value(pattern));

        if (!target || json_array_append_new(targets, json_string(target)))
            return NULL;
    }
    return patterns ? steal_ptr(targets) : NULL;
}

/* What differs from the rest: a group of its own, or ignored. An expression goes before "Linear".
 */
static int add_schemes(const struct format_context *c, json_t *groups, json_t *ignore) {
    for (int i = 1; c->q->schemes && i < c->q->schemes->n; i++) {
        const struct scheme *scheme = &c->q->schemes->list[i];
        json_t *targets = scheme_is_new(c->q, i) ? targets_of(c, i) : NULL;
        int r;

        if (!scheme_is_new(c->q, i))
            continue;
        if (!targets)
            return -ENOMEM;
        if (scheme->wbits != SCHEME_PLAIN) {
            r = add_group(groups, targets, scheme);
        } else {
            r = json_array_extend(ignore, targets);
            json_decref(targets);
        }
        if (r)
            return -ENOMEM;
    }
    return 0;
}

/* The keys that transformers and vLLM read; how it was made is in quantd.json. */
static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    const struct scheme base = {c->q->wbits, c->q->groupsize, c->q->sym, c->q->desc_act, NULL};
    cleanup(json_decrefp) json_t *groups = json_object(), *ignore = ignored(c->config);
    json_t *value;

    (void)meta;
    if (!groups || !ignore || add_group(groups, json_pack("[s]", "Linear"), &base) ||
        add_schemes(c, groups, ignore))
        return failure_oom(c->failure);
    value = json_pack("{s:s s:s s:s s:n s:n s:O s:O}", "quant_method", COMPRESSED_TENSORS_METHOD,
                      "format", COMPRESSED_TENSORS_PACKED, "quantization_status", "compressed",
                      "global_compression_ratio", "kv_cache_scheme", "ignore", ignore,
                      "config_groups", groups);
    return json_object_set_new(config, "quantization_config", value) ? failure_oom(c->failure) : 0;
}

static struct code_bits bits_of(const struct quantization_config *q) {
    return (struct code_bits){.grid = (q->sym ? 0 : q->wbits) + 16, .matrix = 2 * 64};
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    return codes_bits_per_weight(config, q, bits_of);
}

const struct format_ops format_compressed_tensors = {
    .name = "compressed-tensors",
    .title = "packed codes and scales, as vLLM and transformers read them",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8, .sym = true, .asym = true},
    .reader = &reader_compressed_tensors,
    .check = check,
    .add_layer = add_layer,
    .add_plain = format_copy_plain,
    .describe = describe,
    .bits_per_weight = bits_per_weight,
};
