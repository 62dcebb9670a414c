// SPDX-License-Identifier: Apache-2.0
/* A whole safetensors file; what it gives lies within it. */
#include "daemon/model/safetensors/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    const char *path = fuzz_file("x.safetensors", data, size), *begin;
    struct failure failure = {};
    size_t all, total = 0;
    int r;

    r = safetensors_open(NULL, path, &file, &failure);
    fuzz_require(!r == !!file && !r == !failure.code[0]);
    if (r)
        return 0;
    begin = safetensors_data(file, &all);
    for (size_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor *t = safetensors_at(file, i);

        fuzz_require(t->size <= all && total <= all - t->size);
        fuzz_require(t->size == 0 || (const char *)t->data == begin + total);
        fuzz_require(safetensors_find(file, t->name));
        total += t->size;
    }
    fuzz_require(total == all && safetensors_intact(file));
    return 0;
}
