// SPDX-License-Identifier: Apache-2.0
/* A quantized matrix in a hostile file: two bytes that choose the layout, then safetensors. */
#include "base/macros.h"
#include "daemon/model/readers/readers.h"
#include "daemon/model/safetensors/safetensors.h"
#include "tests/fuzz/fuzz.h"

#define ROWS 32
#define COLUMNS 32
#define NAME "self_attn.q_proj"

static void check(const struct quantized_matrix *g, const struct quantization_config *q) {
    for (int i = 0; i < g->n; i++)
        fuzz_require(g->g_idx[i] >= 0 && g->g_idx[i] < g->n_groups);
    for (int i = 0; i < g->n_groups * g->rows; i++) {
        fuzz_require(g->zeros[i] < 1 << q->wbits);
        fuzz_require((g->scales[i] & 0x7c00) != 0x7c00);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int bits[] = {2, 3, 4, 8}, groups[] = {-1, 8, 16, 32};
    cleanup(safetensors_freep) struct safetensors *file = NULL;
    struct quantization_config q = {.present = true};
    enum zeros_say says = ZEROS_AS_LABELLED;
    const struct reader_ops *reader;
    struct expecting expecting;
    struct tensor_finder tensors;
    cleanup(quantized_matrix_done) struct quantized_matrix matrix = {};
    struct failure failure = {};
    int r;

    if (size < 2)
        return 0;
    q.wbits = bits[data[0] % ARRAY_SIZE(bits)];
    q.groupsize = groups[data[1] % ARRAY_SIZE(groups)];
    q.v2 = data[1] & 64;
    q.sym = data[1] & 32;
    q.desc_act = data[1] & 16;
    if (safetensors_open(NULL, fuzz_file("x.safetensors", data + 2, size - 2), &file, &failure))
        return 0;
    tensors = safetensors_finder(file);
    reader = readers[data[0] / 64 % n_readers];
    expecting = (struct expecting){"", "", "", tensors, &failure};
    if (reader->check(&expecting, &q, NAME, ROWS, COLUMNS) == 0)
        fuzz_require(reader->zeros(&tensors, &q, NAME, ROWS, COLUMNS, &says) == 0 &&
                     says <= ZEROS_OF_NONE);
    r = reader->read(&tensors, &q, NAME, ROWS, COLUMNS, &matrix, &failure);
    fuzz_require(!r == (matrix.words || matrix.values));
    if (!r && matrix.words)
        check(&matrix, &q);
    return 0;
}
