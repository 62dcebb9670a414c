// SPDX-License-Identifier: Apache-2.0
/* transformers 5.13 to 5.24 with compressed-tensors 0.20: docs/FORMATS.md, "compressed-tensors". */
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"

static int check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    (void)config;
    if (format == &format_dense)
        return 0;
    if (format != &format_compressed_tensors)
        return failure_field(failure, "format", "take compressed-tensors with sym, or dense",
                             "transformers does not read OLMoE from %s", format->name);
    if (!q->sym)
        return failure_field(failure, "sym", "set it, or take the format dense",
                             "transformers does not load asymmetric experts");
    return 0;
}

const struct engine_ops engine_transformers = {
    .name = "transformers",
    .title = "compressed-tensors with symmetric grids, or dense",
    .usage = "transformers, 4.57 or 5.13 and later:\n\n```python\nfrom transformers import "
             "AutoModelForCausalLM, AutoTokenizer\n"
             "model = AutoModelForCausalLM.from_pretrained(\".\")\n"
             "tokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n",
    .check = check,
};
