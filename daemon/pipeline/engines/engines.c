// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/engines/engine.h"

const struct engine_ops *const engines[] = {
    &engine_vllm,
    &engine_llama_cpp,
    &engine_transformers,
    &engine_gptqmodel,
};
const size_t n_engines = ARRAY_SIZE(engines);

/* The groups of matrices that are of each scheme. */
struct holders {
    const struct model_config *config;
    const struct quantization_config *q;
    unsigned int groups[SCHEMES_MAX];
};

static int add_matrix(void *ctx, const struct arch_tensor *tensor, int layer, int expert) {
    struct holders *holders = ctx;
    const struct scheme *scheme;

    if (tensor->role != ROLE_MATRIX)
        return 0;
    scheme = scheme_of(holders->config, holders->q, tensor, layer, expert);
    holders->groups[scheme - holders->q->schemes->list] |= 1u << tensor->group;
    return 0;
}

int engine_check(const struct engine_ops *engine, const struct format_ops *format,
                 const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    struct holders holders = {.config = config, .q = q};
    struct quantization_config base = *q;
    int r = 0;

    if (q->schemes && config)
        arch_walk(config, add_matrix, &holders);
    for (int i = 1; q->schemes && i < q->schemes->n && !r; i++) {
        struct quantization_config one = quantization_as(q, &q->schemes->list[i]);

        one.groups = holders.groups[i];
        r = one.present ? engine->check(format, &one, config, failure) : 0;
    }
    if (q->schemes)
        base.groups = holders.groups[0];
    return r ? r : engine->check(format, &base, config, failure);
}
