// SPDX-License-Identifier: Apache-2.0
/* config.json, and after a NUL byte quantize_config.json. */
#include "daemon/model/arch/config_read.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\0', size) : NULL;
    size_t first = end ? (size_t)(end - data) : size;
    cleanup(model_config_done) struct model_config config = {};
    struct failure failure = {};
    int r;

    fuzz_file("config.json", data, first);
    if (end)
        fuzz_file("quantize_config.json", end + 1, size - first - 1);
    r = model_config_read(NULL, fuzz_folder(), &config, &failure);
    fuzz_require(!r == !failure.code[0]);
    if (!r) {
        fuzz_require(config.head_dim > 0 && config.head_dim % 2 == 0);
        fuzz_require(config.head_dim * config.num_attention_heads == config.hidden_size);
        fuzz_require(config.num_experts_per_tok <= config.num_experts);
        fuzz_require(!config.quantization.present || config.quantization.groupsize == -1 ||
                     config.quantization.groupsize > 0);
    }
    if (end)
        unlink(fuzz_file("quantize_config.json", "", 0));
    return 0;
}
