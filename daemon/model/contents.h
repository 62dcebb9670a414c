// SPDX-License-Identifier: Apache-2.0
/* What the data of a checkpoint must hold, looked at before any hour is spent on it. */
#pragma once

#include "daemon/model/checkpoint.h"

/* What was found, for the user to know. */
struct contents {
    /* The zeros of all matrices show that checkpoint_format is the other one of gptq and gptq_v2,
     * and config.quantization.v2 was set right. */
    bool zeros_relabelled;
};

/*
 * contents_check() - embedding, head, norms and routers hold numbers, and the zeros of a symmetric
 * quantized model are in the middle of the grid. All that is plain is read. Any thread, and
 * no other one at the checkpoint.
 * Return: 0, or -EBADMSG (model_invalid), or -ENOMEM.
 */
int contents_check(struct checkpoint *checkpoint, struct contents *ret_contents,
                   struct failure *failure);
