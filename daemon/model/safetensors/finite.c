// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/finite.h"

#include "base/macros.h"
#include "base/task.h"

#include <errno.h>
#include <string.h>

#define THREADS 4
#define PART_MIN ((size_t)1 << 20) /* elements that are worth a thread */

/* Some elements of a tensor. */
struct part {
    struct task task;
    const unsigned char *bytes;
    enum dtype dtype;
    size_t n;
};

/* The exponent of every float of a type is all ones exactly when it is Inf or NaN. */
static int find_not_finite(void *ctx) {
    const struct part *part = ctx;
    const unsigned char *bytes = part->bytes;
    uint32_t found = 0;

    if (part->dtype == DTYPE_F32) {
        for (size_t i = 0; i < part->n; i++) {
            uint32_t bits;

            memcpy(&bits, bytes + 4 * i, 4);
            found |= (bits & 0x7f800000) == 0x7f800000;
        }
    } else {
        uint16_t mask = part->dtype == DTYPE_F16 ? 0x7c00 : 0x7f80;

        for (size_t i = 0; i < part->n; i++) {
            uint16_t bits;

            memcpy(&bits, bytes + 2 * i, 2);
            found |= (bits & mask) == mask;
        }
    }
    return (int)found;
}

/* Large tensors by some threads: most of the time goes into bringing their pages. */
bool tensor_is_finite(const struct tensor *t) {
    size_t n_parts = MIN(t->n / PART_MIN + 1, (size_t)THREADS), each = t->n / n_parts;
    struct part parts[THREADS] = {};
    int found = 0;

    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return true;
    for (size_t i = 0; i < n_parts; i++) {
        struct part *part = &parts[i];

        part->bytes = (const unsigned char *)t->data + i * each * dtype_size(t->dtype);
        part->dtype = t->dtype;
        part->n = i + 1 < n_parts ? each : t->n - i * each;
        if (i + 1 == n_parts || task_start(&part->task, find_not_finite, part))
            found |= find_not_finite(part);
    }
    for (size_t i = 0; i < n_parts; i++)
        found |= task_finish(&parts[i].task);
    return !found;
}

int tensor_not_finite(const char *name, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "the checkpoint is damaged: fetch or export it again",
                       "tensor '%s' holds values that are not finite", name);
}
