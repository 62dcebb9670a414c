// SPDX-License-Identifier: Apache-2.0
/*
 * Bringing weights to a backend: of a layer, and of what is outside of the layers. Used by the
 * thread of the backend. Functions return 0 or -errno; when an op failed the reason is the
 * backend's, else it is in the failure.
 */
#pragma once

#include "daemon/model/arch/layer.h"
#include "daemon/model/staged_codes.h"
#include "daemon/model/weights_source.h"

/*
 * weights_queue_matrix() - queue the weights of @matrix to @dst [rows, n] act, by way of @codes.
 * The matrix stays the caller's, and as it is until the queue is done with it.
 */
int weights_queue_matrix(struct backend *b, const struct quantized_matrix *matrix,
                         struct code_memory *codes, struct span dst);

/*
 * weights_fetch_bf16() - queue the act in @src to the host, as @bf16, as many elements, which are
 * there after the next fetch_wait().
 */
int weights_fetch_bf16(struct backend *b, uint16_t *bf16, struct span src, struct failure *failure);

/*
 * layer_weights_stage() - start to bring the weights of @layer to @dst, which no queued work uses:
 * plain ones by stage(), quantized ones at once, by way of @codes (NULL is fine when none is
 * quantized).
 */
int layer_weights_stage(struct backend *b, const struct weights_source *source, int layer,
                        struct layer_weights *dst, struct code_memory *codes,
                        struct failure *failure);

/*
 * layer_weights_unpack() - the same with the codes of the layer in @staged, which queued work reads
 * afterwards; stage_wait() has been called since they were queued. NULL: none are.
 */
int layer_weights_unpack(struct backend *b, const struct weights_source *source, int layer,
                         struct layer_weights *dst, struct code_memory *codes,
                         const struct staged_codes *staged, struct failure *failure);

/*
 * layer_weights_ready() - wait for what was staged. A weight that is not finite is refused by name
 * (model_invalid), and so is a file that was cut short meanwhile.
 */
int layer_weights_ready(struct backend *b, const struct weights_source *source, int layer,
                        struct layer_weights *dst, struct failure *failure);

/* layer_weights_load() - both. */
int layer_weights_load(struct backend *b, const struct weights_source *source, int layer,
                       struct layer_weights *dst, struct code_memory *codes,
                       struct failure *failure);

/* The weights outside of the layers. */
struct outer_weights {
    struct span all;
    struct span embedding; /* [vocab, d] */
    struct span norm;      /* [d] */
    struct span head;      /* [vocab, d]; the embedding when tied */
};

size_t outer_weights_size(const struct model_config *config, size_t act_size, bool head);
/*
 * outer_weights_load() - allocate and fill; @head false: only the embedding. @q8_0: embedding and
 * head as they are once they are rounded to Q8_0 of ggml.
 */
int outer_weights_load(struct backend *b, const struct checkpoint *checkpoint, bool head, bool q8_0,
                       struct outer_weights *ret_ends, struct failure *failure);
void outer_weights_free(struct backend *b, struct outer_weights *ends);
