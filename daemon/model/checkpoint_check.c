// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/checkpoint_check.h"

#include "daemon/model/arch.h"
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

static int check_plain(const struct check *check, const struct arch_tensor *t, const char *name) {
    const struct model_config *c = check->model->config;
    const struct expected expected = {EXPECT_FLOATS,
                                      t->columns == DIM_NONE ? 1 : 2,
                                      {arch_dim(c, t->rows), arch_dim(c, t->columns)}};
    char full[NAME_SIZE];

    snprintf(full, sizeof(full), "%s.weight", name);
    return expect_tensor(&check->expecting, full, &expected);
}

/* A linear map that may be quantized. */
static int check_matrix(const struct check *check, const struct arch_tensor *t, const char *name) {
    const struct checked_model *model = check->model;
    const struct quantization_config *q = &model->config->quantization;

    if (has(check, name, "bias"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_unsupported",
                           "the projections of this architecture have no bias",
                           "model '%s': tensor '%s.bias' is not supported", model->dir, name);
    if (q->present)
        return q->reader->check(&check->expecting, q, name, arch_dim(model->config, t->rows),
                                arch_dim(model->config, t->columns));
    if (!has(check, name, "weight") && has(check, name, "qweight"))
        return failure_set(check->expecting.failure, -EBADMSG, "model_invalid",
                           "add the quantize_config.json that belongs to the model",
                           "model '%s': '%s' is quantized, but config.json has no "
                           "quantization_config",
                           model->dir, name);
    return check_plain(check, t, name);
}

static int check_tensor(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    const struct check *check = ctx;
    char name[MATRIX_NAME_SIZE];

    arch_name(t->name, layer, expert, name);
    if (arch_is_tied(check->model->config, t) && !has(check, name, "weight"))
        return 0;
    return t->role == ROLE_MATRIX ? check_matrix(check, t, name) : check_plain(check, t, name);
}

int checkpoint_check(const struct checked_model *model, struct failure *failure) {
    const char *hint = model->config->quantization.present
                           ? "all projections of attention and experts must be quantized alike"
                           : "fetch the model again, or save it again with all its tensors";
    struct check check = {model, {model->dir, model->listing, hint, model->tensors, failure}};

    return arch_walk(model->config, check_tensor, &check);
}
