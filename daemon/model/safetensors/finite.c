// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/finite.h"

#include "base/macros.h"
#include "base/task.h"

#include <errno.h>
#include <string.h>

#define PART ((size_t)4 << 20) /* elements that a thread takes at a time */

/* The exponent of every float of a type is all ones exactly when it is Inf or NaN. */
static int find_in_part(void *ctx, int part) {
    const struct tensor *t = ctx;
    size_t first = part * PART, n = MIN(t->n - first, PART);
    const unsigned char *bytes = (const unsigned char *)t->data + first * dtype_size(t->dtype);
    uint32_t found = 0;

    if (t->dtype == DTYPE_F32) {
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;

            memcpy(&bits, bytes + 4 * i, 4);
            found |= (bits & 0x7f800000) == 0x7f800000;
        }
    } else {
        uint16_t mask = t->dtype == DTYPE_F16 ? 0x7c00 : 0x7f80;

        for (size_t i = 0; i < n; i++) {
            uint16_t bits;

            memcpy(&bits, bytes + 2 * i, 2);
            found |= (bits & mask) == mask;
        }
    }
    return (int)found;
}

/* By several threads: most of the time goes into bringing the pages. */
bool tensor_is_finite(const struct tensor *t) {
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return true;
    return !tasks_share(find_in_part, (void *)t, (int)((t->n + PART - 1) / PART));
}

int tensor_not_finite(const char *name, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "the checkpoint is damaged: fetch or export it again",
                       "tensor '%s' holds values that are not finite", name);
}
