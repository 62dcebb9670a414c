// SPDX-License-Identifier: Apache-2.0
/* What the parameters, with their rules, make of the matrices of a model. Any thread. */
#pragma once

#include "daemon/pipeline/params/params.h"

/* rule_scheme() - what @rule makes of a matrix. */
struct scheme rule_scheme(const struct rule *rule, const struct params *params);

/*
 * rules_check() - does each rule fit a model of @config: its layers and experts exist, something is
 * left for it by the rules before it, its groups divide the matrices, and something is quantized?
 * Return: 0, -EINVAL with the field "rules", or -ENOMEM.
 */
int rules_check(const struct params *params, const struct model_config *config,
                struct failure *failure);

/*
 * rules_schemes() - the schemes of the matrices of a model of @config, which the caller frees; NULL
 * when all are as the parameters say.
 * Return: 0, -EINVAL with the field "rules" (too many), or -ENOMEM.
 */
int rules_schemes(const struct params *params, const struct model_config *config,
                  struct schemes **ret_schemes, struct failure *failure);

/*
 * rules_check_formats() - params_check() of the parameters as a whole and of each rule, whose
 * number the failure has. @config NULL: the model is not known yet. Return: 0 or -EINVAL.
 */
int rules_check_formats(const struct params *params, const struct model_config *config,
                        struct failure *failure);
