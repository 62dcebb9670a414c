// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/presets.h"

#include "base/macros.h"
#include "base/str.h"

/* Groups in the model's order that are quantized in that of their activations. */
#define GROUPS(size) "\"groupsize\": " #size ", \"act_order\": true, \"static_groups\": true"
/* All that makes the most of the bits. */
#define RECIPE "\"grid\": \"hessian\", \"true_sequential\": true, \"drift\": 0.5, \"refine\": 3"

const struct preset presets[] = {
    {"reference", "GPTQ as published, with grids that span the weights",
     "{\"wbits\": 4, " GROUPS(128) "}"},
    {"fast", "GPTQ with grids that fit the outputs: most of the gain in the same time",
     "{\"wbits\": 4, " GROUPS(128) ", \"grid\": \"hessian\"}"},
    {"best", "the least loss that the bits allow, in about twice the time",
     "{\"wbits\": 4, " GROUPS(128) ", " RECIPE "}"},
    {"vllm", "best, as vLLM reads it: symmetric grids",
     "{\"wbits\": 4, " GROUPS(128) ", " RECIPE ", \"sym\": true, \"format\": \"gptq\", "
                                   "\"for\": \"vllm\"}"},
    {"llama.cpp", "best, as one file for llama.cpp that holds every code as it is",
     "{\"wbits\": 4, " GROUPS(32) ", " RECIPE ", \"sym\": true, \"format\": \"gguf\", "
                                  "\"for\": \"llama.cpp\"}"},
};
const size_t n_presets = ARRAY_SIZE(presets);

json_t *preset_params(const char *name) {
    for (size_t i = 0; i < n_presets; i++) {
        if (str_equal(presets[i].name, name))
            return json_loads(presets[i].params, 0, NULL);
    }
    return json_object();
}
