// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/contents.h"

#include "daemon/model/arch/scheme.h"
#include "daemon/model/safetensors/finite.h"

#include <errno.h>
#include <stdio.h>

struct look {
    const struct checkpoint *checkpoint;
    struct tensor_finder tensors;
    unsigned int zeros;         /* what those of all matrices said: set of 1 << enum zeros_say */
    char odd[MATRIX_NAME_SIZE]; /* the first matrix whose zeros fit no label, or differ */
    struct failure *failure;
};

static int look_at_plain(struct look *look, const char *name) {
    char full[MATRIX_NAME_SIZE + 8];
    const struct tensor *t;

    snprintf(full, sizeof(full), "%s.weight", name);
    t = tensor_find(&look->tensors, full);
    return !t || tensor_is_finite(t) ? 0 : tensor_not_finite(full, look->failure);
}

static int look_at_zeros(struct look *look, const struct arch_tensor *t, int layer, int expert,
                         const char *name) {
    const struct model_config *c = &look->checkpoint->config;
    const struct quantization_config one =
        quantization_as(&c->quantization, scheme_of(c, &c->quantization, t, layer, expert));
    const struct quantization_config *q = &one;
    enum zeros_say says = ZEROS_AS_LABELLED;
    int r;

    if (!q->sym || !q->reader->has(&look->tensors, name))
        return 0;
    r = q->reader->zeros(&look->tensors, q, name, arch_dim(c, t->rows), arch_dim(c, t->columns),
                         &says);
    if (r)
        return failure_oom(look->failure);
    look->zeros |= 1u << says;
    if (!look->odd[0] && (says == ZEROS_OF_NONE || (look->zeros & (look->zeros - 1))))
        snprintf(look->odd, sizeof(look->odd), "%s", name);
    return 0;
}

static int look_at(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct look *look = ctx;
    char name[MATRIX_NAME_SIZE];

    arch_name(t->name, layer, expert, name);
    if (t->role != ROLE_MATRIX)
        return look_at_plain(look, name);
    return look->checkpoint->config.quantization.present
               ? look_at_zeros(look, t, layer, expert, name)
               : 0;
}

int contents_check(struct checkpoint *checkpoint, struct contents *ret_contents,
                   struct failure *failure) {
    struct look look = {
        .checkpoint = checkpoint, .tensors = checkpoint_finder(checkpoint), .failure = failure};
    struct quantization_config *q = &checkpoint->config.quantization;
    int r = arch_walk(&checkpoint->config, look_at, &look);

    if (r)
        return r;
    if (!checkpoint_intact(checkpoint))
        return failure_set(failure, -EBADMSG, "model_invalid",
                           "do not change a model while a job reads it; retry the job",
                           "a file of the model was cut short while it was read");
    if (look.odd[0])
        return failure_set(failure, -EBADMSG, "model_invalid",
                           "say \"sym\": false in its quantization_config if its grids are not "
                           "symmetric; else fetch or quantize it again",
                           "the zeros of '%s' are not in the middle of the grid, as 'sym' and "
                           "'checkpoint_format' %s say",
                           look.odd, q->v2 ? "gptq_v2" : "gptq");
    *ret_contents = (struct contents){.zeros_relabelled = look.zeros == 1u << ZEROS_OF_OTHER};
    q->v2 ^= ret_contents->zeros_relabelled;
    return 0;
}
