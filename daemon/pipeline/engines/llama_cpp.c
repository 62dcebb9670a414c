// SPDX-License-Identifier: Apache-2.0
/* llama.cpp, and what is built on it: Ollama, LM Studio. docs/FORMATS.md, "gguf". */
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"

/* What a GGUF file can hold is the format's own check. */
static int check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    (void)q;
    (void)config;
    if (format == &format_gguf)
        return 0;
    return failure_field(failure, "format", "take gguf", "llama.cpp does not read %s",
                         format->name);
}

const struct engine_ops engine_llama_cpp = {
    .name = "llama.cpp",
    .title = "gguf",
    .usage = "llama.cpp:\n\n```sh\nllama-cli -m model.gguf -p \"The capital of France is\"\n```\n",
    .check = check,
};
