// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "daemon/pipeline/engines/engine.h"

const struct engine_ops *const engines[] = {
    &engine_vllm,
    &engine_llama_cpp,
    &engine_transformers,
    &engine_gptqmodel,
};
const size_t n_engines = ARRAY_SIZE(engines);
