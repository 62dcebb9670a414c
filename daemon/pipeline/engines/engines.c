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

int engine_check(const struct engine_ops *engine, const struct format_ops *format,
                 const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    int r = 0;

    for (int i = 1; q->schemes && i < q->schemes->n && !r; i++) {
        const struct quantization_config one = quantization_as(q, &q->schemes->list[i]);

        r = one.present ? engine->check(format, &one, config, failure) : 0;
    }
    return r ? r : engine->check(format, q, config, failure);
}
