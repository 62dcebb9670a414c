// SPDX-License-Identifier: Apache-2.0
/* vLLM 0.24 to 0.33, by runs of 0.24 and by the sources of the others: docs/FORMATS.md, "vLLM". */
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"

/* Are experts among the matrices? Their kernel, Marlin, takes less than that of attention. */
static bool has_experts(const struct quantization_config *q) {
    return !q->groups || q->groups & (1u << GROUP_GATE_UP | 1u << GROUP_DOWN);
}

static int check_groupsize(const struct quantization_config *q, const struct model_config *config,
                           struct failure *failure) {
    int groupsize = q->groupsize;

    if (groupsize <= 0)
        return 0;
    if (groupsize != 32 && groupsize != 64 && groupsize != 128)
        return failure_field(failure, "groupsize", "take 32, 64 or 128",
                             "vLLM has no kernel for groups of %d", groupsize);
    if (config && has_experts(q) && groupsize >= config->intermediate_size)
        return failure_field(failure, "groupsize", "take a smaller one",
                             "vLLM computes wrong numbers when groups of %d are not smaller than "
                             "the experts, which are %d wide",
                             groupsize, config->intermediate_size);
    return 0;
}

static int check_gptq(const struct quantization_config *q, struct failure *failure) {
    if (!q->sym)
        return failure_field(failure, "sym", "set it, or take the format compressed-tensors",
                             "vLLM reads only symmetric grids from gptq");
    if (q->desc_act)
        return failure_field(failure, "static_groups", "set it, or leave act_order out",
                             "vLLM wants groups whose columns are neighbours");
    return 0;
}

/* Up to 0.28: 0.33 has more, by its source. */
static int check_compressed_tensors(const struct quantization_config *q, struct failure *failure) {
    if (!has_experts(q))
        return 0;
    if (q->wbits == 8)
        return failure_field(failure, "format", "take gptq",
                             "vLLM does not read experts of 8 bits from compressed-tensors");
    if (q->groupsize <= 0)
        return failure_field(failure, "groupsize", "take 32, 64 or 128, or the format gptq",
                             "vLLM does not read experts with a grid per row from "
                             "compressed-tensors");
    return 0;
}

/* q, k and v of a layer are one module there, and its experts another. */
static int check_rules(const struct quantization_config *q, const struct model_config *config,
                       struct failure *failure) {
    struct split split;

    if (!config || !schemes_split(config, q, &split))
        return 0;
    return failure_field(failure, "rules", "let the rules treat them alike",
                         "vLLM holds %s in one module, and the rules make its matrices differ in "
                         "layer %d",
                         split.module, split.layer);
}

static int check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    int r;

    if (format == &format_dense)
        return 0;
    if (format != &format_gptq && format != &format_compressed_tensors)
        return failure_field(failure, "format", "take gptq, compressed-tensors or dense",
                             "vLLM does not read OLMoE from %s", format->name);
    if (q->wbits != 4 && q->wbits != 8)
        return failure_field(failure, "wbits", "take 4 or 8, or the format dense",
                             "vLLM has no kernel for %d bits", q->wbits);
    r = format == &format_gptq ? check_gptq(q, failure) : check_compressed_tensors(q, failure);
    if (!r)
        r = check_groupsize(q, config, failure);
    return r ? r : check_rules(q, config, failure);
}

const struct engine_ops engine_vllm = {
    .name = "vllm",
    .title = "gptq, compressed-tensors or dense; 4 or 8 bits, groups smaller than an expert",
    .usage = "vLLM:\n\n```sh\nvllm serve .\n```\n",
    .check = check,
};
