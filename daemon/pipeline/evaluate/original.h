// SPDX-License-Identifier: Apache-2.0
/*
 * The original of a quantized model: what the quantized one is compared with. Of a quantize job it
 * is the model itself; of an eval job it is what the model's quantd.json names. The thread of the
 * run.
 */
#pragma once

#include "daemon/model/checkpoint.h"
#include "daemon/pipeline/run.h"

struct original {
    struct checkpoint *own;             /* of an eval job; owned; NULL: the model of the run */
    struct fingerprint *hashing;        /* of own; owned */
    char fingerprint[SHA256_TEXT_SIZE]; /* "": not known yet */
};

/* original_checkpoint() - its weights; run->original is not NULL. */
const struct checkpoint *original_checkpoint(const struct run *run);

/*
 * original_learn() - wait for the fingerprint of an original that is another model than the run's.
 * One that the quantized model was not made from is dropped, with the reason in run->no_original.
 * Return: 0 or -ENOMEM.
 */
int original_learn(struct run *run);

/* original_drop() - there is no comparison, for the reason @format. */
void original_drop(struct run *run, const char *format, ...) printf_format(2, 3);

/* original_check() - are its files what they were when the job began? As run_check_model(). */
int original_check(const struct run *run);
