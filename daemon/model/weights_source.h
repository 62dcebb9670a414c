// SPDX-License-Identifier: Apache-2.0
/* Where weights come from: a checkpoint, whose layers may be replaced by quantized shards. */
#pragma once

#include "daemon/model/checkpoint.h"

struct weights_source {
    const struct checkpoint *checkpoint;
    const struct quantization_config *quantization; /* of the layers */
    struct safetensors *const *layers; /* a shard per layer, or NULL: as in checkpoint */
};

/* weights_finder() - the tensors of @layer, or those outside the layers (-1). Any thread. */
static inline struct tensor_finder weights_finder(const struct weights_source *source, int layer) {
    if (source->layers && layer >= 0)
        return safetensors_finder(source->layers[layer]);
    return checkpoint_finder(source->checkpoint);
}
