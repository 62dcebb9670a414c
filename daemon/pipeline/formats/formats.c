// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/format.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/scheme.h"

#include <errno.h>

const struct format_ops *const formats[] = {&format_gptq, &format_compressed_tensors, &format_dense,
                                            &format_gguf, &format_pt};
const int n_formats = ARRAY_SIZE(formats);

const struct format_ops *format_find(const char *name) {
    for (int i = 0; i < n_formats; i++) {
        if (str_equal(formats[i]->name, name))
            return formats[i];
    }
    return NULL;
}

static bool has_groupsize(const int *groupsizes, int groupsize) {
    if (!groupsizes)
        return true;
    while (*groupsizes && *groupsizes != groupsize)
        groupsizes++;
    return *groupsizes != 0;
}

static int refuse(const struct format_ops *format, struct failure *failure, const char *hint,
                  const char *what) {
    return failure_field(failure, "format", hint, "%s cannot hold %s", format->name, what);
}

/* One scheme. */
static int check_holds(const struct format_ops *format, const struct quantization_config *q,
                       struct failure *failure) {
    const struct format_holds *holds = &format->holds;
    char what[64];

    if (q->sub_bits && !holds->k_grids)
        return refuse(format, failure, "take the format gguf, dense or pt, or leave gguf_type out",
                      "the grids of gguf_type");
    snprintf(what, sizeof(what), "%d bits", q->wbits);
    if (!(holds->wbits >> q->wbits & 1))
        return refuse(format, failure, "take another wbits, or another format", what);
    if (!(q->sym ? holds->sym : holds->asym))
        return refuse(format, failure, "change sym, or take another format",
                      q->sym ? "symmetric grids" : "asymmetric grids");
    snprintf(what, sizeof(what), q->groupsize > 0 ? "groups of %d columns" : "one grid per row",
             q->groupsize);
    if (!has_groupsize(holds->groupsizes, q->groupsize))
        return refuse(format, failure, "take another groupsize, or another format", what);
    if (q->desc_act && !holds->unordered)
        return refuse(format, failure,
                      "add static_groups, leave act_order out, or take another "
                      "format",
                      "groups whose columns are not neighbours");
    return 0;
}

int format_check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure) {
    int r = q->schemes ? 0 : check_holds(format, q, failure);

    for (int i = 0; q->schemes && i < q->schemes->n && !r; i++) {
        const struct quantization_config one = quantization_as(q, &q->schemes->list[i]);

        r = one.present ? check_holds(format, &one, failure) : 0;
    }
    return r ? r : format->check(q, config, failure);
}

int format_copy_plain(const struct format_context *c, const struct tensor *tensor,
                      struct shard *shard) {
    return shard_add_copy(shard, tensor) ? failure_oom(c->failure) : 0;
}

int format_add_layer(const struct format_context *c, const struct layer_codes *layer,
                     int (*add_matrix)(const struct format_context *c, const struct matrix_codes *m,
                                       struct shard *shard),
                     struct shard *shard) {
    int r = 0;

    for (size_t i = 0; i < layer->plain.n_tensors && !r; i++)
        r = shard_add_copy(shard, &layer->plain.tensors[i]);
    for (size_t i = 0; i < layer->n_matrices && !r; i++)
        r = add_matrix(c, &layer->matrices[i], shard);
    return r == -ENOMEM ? failure_oom(c->failure) : r;
}
