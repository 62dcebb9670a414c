// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/checkpoint_check.h"

#include "daemon/model/arch/scheme.h"
#include "daemon/model/safetensors/expect.h"

#include <errno.h>
#include <stdio.h>

#define NAME_SIZE 256 /* longer than every name below */

struct check {
    const struct checked_model *model;
    struct expecting expecting;
};

/* Is there a tensor called @name with @suffix? */
static bool has(const struct check *check, const char *name, const char *suffix) {
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    return tensor_find(&check->model->tensors, full) != NULL;
}

/* Embedding and head of a GGUF file may be in blocks, as a matrix is. */
static int check_plain(const struct check *check, const struct arch_tensor *t, const char *name) {
    const struct model_config *c = check->model->config;
    const struct quantization_config *q = &c->quantization;
    const struct expected expected = {EXPECT_FLOATS,
                                      t->columns == DIM_NONE ? 1 : 2,
                                      {arch_dim(c, t->rows), arch_dim(c, t->columns)}};
    char full[NAME_SIZE];

    if (q->present && !arch_in_layer(t) && t->columns != DIM_NONE &&
        q->reader->has(&check->model->tensors, name))
        return q->reader->check(&check->expecting, q, name, arch_dim(c, t->rows),
                                arch_dim(c, t->columns));
    snprintf(full, sizeof(full), "%s.weight", name);
    return expect_tensor(&check->expecting, full, &expected);
}

/* A linear map that may be quantized. */
static int check_matrix(const struct check *check, const struct arch_tensor *t, int layer,
                        int expert, const char *name) {
    const struct checked_model *model = check->model;
    const struct quantization_config *q = &model->config->quantization;

    if (has(check, name, "bias"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_unsupported",
                           "the projections of this architecture have no bias",
                           "model '%s': tensor '%s.bias' is not supported", model->dir, name);
    if (q->present && (q->reader->has(&model->tensors, name) || !has(check, name, "weight"))) {
        const struct quantization_config one =
            quantization_as(q, scheme_of(model->config, q, t, layer, expert));

        return q->reader->check(&check->expecting, &one, name, arch_dim(model->config, t->rows),
                                arch_dim(model->config, t->columns));
    }
    if (!q->present && !has(check, name, "weight") && has(check, name, "qweight"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_invalid",
                           "add the quantize_config.json that belongs to the model",
                           "model '%s': '%s' is quantized, but config.json has no "
                           "quantization_config",
                           model->dir, name);
    return check_plain(check, t, name);
}

/* All of @group in one tensor; and not in single ones as well, which may say something else. */
static int check_fused(const struct check *check, enum group group, const struct tensor *fused,
                       const char *single) {
    const struct checked_model *model = check->model;
    struct group_shape shape;

    if (has(check, single, "weight") || has(check, single, "qweight"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_invalid",
                           "keep one of the two: they may come from two models",
                           "model '%s' has tensor '%s' as well as '%s'", model->dir, fused->name,
                           single);
    group_shape(model->config, group, &shape);
    return expect_tensor(&check->expecting, fused->name,
                         &(struct expected){EXPECT_FLOATS, 3, {shape.G, shape.rows, shape.n}});
}

static int check_tensor(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    const struct check *check = ctx;
    const struct tensor *fused = NULL;
    char name[MATRIX_NAME_SIZE];

    arch_name(t->name, layer, expert, name);
    if (t->role == ROLE_MATRIX)
        fused = arch_fused(check->model->config, &check->model->tensors, t->group, layer);
    if (fused)
        return check_fused(check, t->group, fused, name);
    if (arch_is_tied(check->model->config, t) && !has(check, name, "weight"))
        return 0;
    return t->role == ROLE_MATRIX ? check_matrix(check, t, layer, expert, name)
                                  : check_plain(check, t, name);
}

int checkpoint_check(const struct checked_model *model, struct failure *failure) {
    const char *hint =
        model->config->quantization.present
            ? "each projection of attention and experts must be there, quantized or plain"
            : "fetch the model again, or save it again with all its tensors";
    struct check check = {model, {model->dir, model->listing, hint, model->tensors, failure}};

    return arch_walk(model->config, check_tensor, &check);
}
