// SPDX-License-Identifier: Apache-2.0
/*
 * Schemes as loaders are told of them: regular expressions over the names of modules, none of which
 * fits what another does. Any thread.
 */
#pragma once

#include "daemon/model/arch/scheme.h"

#include <jansson.h>

/* scheme_is_new() - are matrices of scheme @i kept otherwise than those of every scheme before? */
bool scheme_is_new(const struct quantization_config *q, int i);

/*
 * scheme_patterns() - expressions that fit what is kept as scheme @i of @q, and no more; an array
 * of strings, owned by the caller; NULL when out of memory. They begin where a name does.
 */
json_t *scheme_patterns(const struct model_config *config, const struct quantization_config *q,
                        int i);

/*
 * dynamic_rules() - GPTQModel's `dynamic` for @q: {expression: {bits, group_size, sym}}, and
 * {"-:expression": {}} for matrices that are left as they are. Owned by the caller; NULL when out
 * of memory.
 */
json_t *dynamic_rules(const struct model_config *config, const struct quantization_config *q);
