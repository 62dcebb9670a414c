// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/finite.h"

#include <errno.h>
#include <string.h>

/* The exponent of every float of a type is all ones exactly when it is Inf or NaN. */
bool tensor_is_finite(const struct tensor *t) {
    const unsigned char *bytes = t->data;
    uint32_t found = 0;

    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return true;
    if (t->dtype == DTYPE_F32) {
        for (size_t i = 0; i < t->n; i++) {
            uint32_t bits;

            memcpy(&bits, bytes + 4 * i, 4);
            found |= (bits & 0x7f800000) == 0x7f800000;
        }
    } else {
        uint16_t mask = t->dtype == DTYPE_F16 ? 0x7c00 : 0x7f80;

        for (size_t i = 0; i < t->n; i++) {
            uint16_t bits;

            memcpy(&bits, bytes + 2 * i, 2);
            found |= (bits & mask) == mask;
        }
    }
    return !found;
}

int tensor_not_finite(const char *name, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "model_invalid",
                       "the checkpoint is damaged: fetch or export it again",
                       "tensor '%s' holds values that are not finite", name);
}
