// SPDX-License-Identifier: Apache-2.0
/* A whole GGUF file: its table lies within it, and its model is read with all that it has. */
#include "daemon/model/readers/gguf.h"
#include "daemon/model/arch/arch.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/gguf/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

static int read_matrix(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    const struct checkpoint *checkpoint = ctx;
    const struct tensor_finder tensors = checkpoint_finder(checkpoint);
    const struct model_config *config = &checkpoint->config;
    cleanup(quantized_matrix_done) struct quantized_matrix matrix = {};
    char name[MATRIX_NAME_SIZE];
    struct failure failure = {};
    int r;

    arch_name(t->name, layer, expert, name);
    if (!reader_gguf.has(&tensors, name))
        return 0;
    r = reader_gguf.read(&tensors, &config->quantization, name, arch_dim(config, t->rows),
                         arch_dim(config, t->columns), &matrix, &failure);
    fuzz_require(!r == !!matrix.values && !r == !failure.code[0]);
    for (size_t i = 0; !r && i < (size_t)matrix.rows * matrix.n; i++)
        fuzz_require(isfinite(matrix.values[i]));
    return 0;
}

static void check_table(const struct gguf_file *file, size_t size) {
    const struct gguf_entry *embedding = gguf_find(file, "token_embd.weight");

    fuzz_require(gguf_intact(file));
    fuzz_require(!embedding || (embedding->size <= size && embedding->type->block > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("x.gguf", data, size);
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(gguf_freep) struct gguf_file *file = NULL;
    struct failure failure = {}, of_model = {}, of_tokenizer = {};
    int r = gguf_open(NULL, path, &file, &failure);

    fuzz_require(!r == !!file && !r == !failure.code[0]);
    if (r)
        return 0;
    check_table(file, size);
    r = gguf_tokenizer(file, NULL, path, &tokenizer, &of_tokenizer);
    fuzz_require(!r == !!tokenizer && !r == !of_tokenizer.code[0]);
    r = checkpoint_open(NULL, path, &checkpoint, &of_model);
    fuzz_require(!r == !!checkpoint && !r == !of_model.code[0]);
    if (!r)
        arch_walk(&checkpoint->config, read_matrix, checkpoint);
    return 0;
}
