// SPDX-License-Identifier: Apache-2.0
/* Token windows: what calibration and evaluation run through the model. Any thread. */
#pragma once

#include "base/cleanup.h"
#include "daemon/data/corpus.h"
#include "daemon/model/tokenizer/tokenizer.h"

#include <stdint.h>

struct windows {
    int32_t *ids; /* [n, seqlen]; owned */
    int n, seqlen;
    uint64_t n_tokens; /* of the text, before windows were cut; of the documents looked at */
    char sha256[SHA256_TEXT_SIZE]; /* of n, seqlen and ids */
};

/*
 * windows_sample() - @n calibration windows at Python's random.seed(@seed) and
 * randint(0, n_tokens - seqlen - 1), bit for bit. Documents: draw one until it has at least
 * seqlen tokens (one of exactly seqlen is used whole, without a second draw). Of a joinable corpus
 * with less than @n such documents the windows are drawn from all of its text.
 * Return: 0; -ENODATA (dataset_too_short); -EINVAL (parameter_invalid: n < 1, seqlen < 2,
 * more than 2^31 ids);
 * -EBADMSG; -ENOMEM.
 */
int windows_sample(const struct corpus *corpus, const struct tokenizer *tokenizer, int n,
                   int seqlen, uint64_t seed, struct windows **ret_windows,
                   struct failure *failure);

/*
 * windows_cut() - the evaluation windows: the text's tokens cut every seqlen, the tail dropped,
 * at most corpus->max_windows. Documents: 256 windows with seed 0, one per accepted document, as
 * windows_sample() draws them. Return: as above.
 */
int windows_cut(const struct corpus *corpus, const struct tokenizer *tokenizer, int seqlen,
                struct windows **ret_windows, struct failure *failure);

void windows_free(struct windows *windows); /* NULL is fine */

DEFINE_CLEANUP(struct windows *, windows_freep, windows_free)
