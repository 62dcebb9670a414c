// SPDX-License-Identifier: Apache-2.0
/*
 * A quantized model beside its original on the same windows. The last hidden states of the
 * original are kept for the windows of a turn, then both heads are computed tile by tile: logits
 * are never stored. What the comparison takes is never part of what the job plans, so it changes
 * neither how many windows go through at once nor a byte of a result: it uses device memory that
 * is free, else the host's. The thread of the run.
 */
#pragma once

#include "daemon/pipeline/evaluate/difference.h"
#include "daemon/pipeline/evaluate/pass.h"
#include "daemon/pipeline/evaluate/states.h"

/* A set that is compared. */
struct compared {
    struct difference difference;
    struct states states;
};

struct comparison {
    bool on; /* there is an original, and memory */
    struct pass *pass;
    struct eval_model base;
    struct outer_weights ends; /* of base, when it has its own */
    struct span all;           /* what follows is in */
    struct span kl, nll, best; /* [batch * seqlen] f32, f32, i32: nll and best of the original */
    struct span scratch;       /* of the two heads */
    struct span kept;          /* [room of a turn, seqlen, d] act; empty: in host_kept */
    unsigned char *host_kept;
    unsigned char *buffer;                     /* of the sets' states */
    float *host_kl, *host_base_nll, *host_nll; /* [batch * seqlen] */
    int32_t *host_base_best, *host_best;
    struct compared sets[PARAMS_EVALS_MAX]; /* of run->evals; zeroed: not begun, or over */
};

/* comparison_init() - on is false when run->original is NULL or dropped. Return: 0 or -errno. */
int comparison_init(struct comparison *c, struct pass *pass, const struct outer_weights *ends);
void comparison_done(struct comparison *c); /* a zeroed one is fine */

/* comparison_begin() - set @set of run->evals. Return: 0 or -errno. */
int comparison_begin(struct comparison *c, int set);

/*
 * comparison_keep() - run the windows of @turn through the original, and keep what comes out; or
 * take what came out in an earlier job. Their sets have begun.
 */
int comparison_keep(struct comparison *c, const struct turn *turn);

/*
 * comparison_score() - windows first .. first + count - 1 of @part, which are kept, against hidden
 * states @x of the quantized model, normed, with its @head; @nll and @best: where its figures go.
 * Waits.
 */
struct scored {
    struct span x, head, nll, best, targets;
};
int comparison_score(struct comparison *c, const struct scored *scored,
                     const struct turn_part *part, int first, int count);

/*
 * comparison_end() - set @set was compared, and its difference is no longer needed. Return: 0 or
 * -errno.
 */
int comparison_end(struct comparison *c, int set);
