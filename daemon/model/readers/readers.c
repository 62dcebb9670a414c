// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/readers.h"

#include "base/macros.h"
#include "daemon/model/readers/compressed_tensors.h"
#include "daemon/model/readers/gguf.h"
#include "daemon/model/readers/gptq.h"
#include "daemon/model/readers/neutral.h"

#include <errno.h>

const struct reader_ops *const readers[] = {&reader_gptq, &reader_neutral,
                                            &reader_compressed_tensors, &reader_gguf};
const int n_readers = ARRAY_SIZE(readers);

#define HINT                                                                                       \
    "quantd reads checkpoints of 2, 3, 4 or 8 bits in the layouts of GPTQ and compressed-tensors"

int quantization_config_parse(const struct quantization_source *source,
                              struct quantization_config *ret_config) {
    const json_t *method = json_object_get(source->value, "quant_method");

    if (!json_is_object(source->value))
        return failure_set(source->failure, -EBADMSG, "model_invalid", HINT,
                           "cannot use '%s': 'quantization_config' must be an object",
                           source->path);
    for (int i = 0; i < n_readers; i++) {
        int r;

        if (!readers[i]->recognizes(source))
            continue;
        r = readers[i]->parse(source, ret_config);
        if (!r)
            ret_config->reader = readers[i];
        return r;
    }
    if (!method || json_is_null(method))
        method = json_object_get(source->value, "method");
    if (method && !json_is_null(method) && !json_is_string(method))
        return failure_set(source->failure, -EBADMSG, "model_invalid", HINT,
                           "cannot use '%s': 'quant_method' of its quantization must be a string",
                           source->path);
    return failure_set(source->failure, -EBADMSG, "model_unsupported", HINT,
                       "cannot use '%s': the model is quantized by '%.64s', not by 'gptq' or "
                       "'compressed-tensors'",
                       source->path, json_is_string(method) ? json_string_value(method) : "");
}
