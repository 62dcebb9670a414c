// SPDX-License-Identifier: Apache-2.0
/* GPTQModel 7.6 and 7.7, which read gptq and gptq_v2 of 2, 3, 4 and 8 bits. */
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"

static int check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    (void)q;
    (void)config;
    if (format == &format_gptq)
        return 0;
    return failure_field(failure, "format", "take gptq", "GPTQModel does not read %s",
                         format->name);
}

const struct engine_ops engine_gptqmodel = {
    .name = "gptqmodel",
    .title = "gptq",
    .usage = "GPTQModel, 7.6 or later:\n\n```python\nfrom gptqmodel import GPTQModel\nmodel = "
             "GPTQModel.load(\".\")\n```\n",
    .check = check,
};
