// SPDX-License-Identifier: Apache-2.0
/* The JSON header of a safetensors file alone. */
#include "daemon/model/safetensors/header.h"
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(freep) char *text = fuzz_text(data, size);
    struct failure failure = {};
    struct header header = {};
    int r;

    r = safetensors_header_parse(text, size, "x", &header, &failure);
    fuzz_require(!r == !failure.code[0]);
    for (size_t i = 0; !r && i < header.n_entries; i++) {
        const char *name = header.entries[i].tensor.name;

        fuzz_require(name >= text && name + strlen(name) <= text + size);
        fuzz_require(header.entries[i].tensor.n_dims <= TENSOR_DIMS_MAX);
    }
    free(header.entries);
    return 0;
}
