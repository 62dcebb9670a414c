// SPDX-License-Identifier: Apache-2.0
/* Parameters as a request says them, in JSON. Any thread. */
#pragma once

#include "daemon/pipeline/params/params.h"

#include <jansson.h>

/*
 * params_parse() - read the parameters of a job of @kind from the JSON object @object (borrowed):
 * unknown fields, wrong types, values out of range, combinations that make no sense are refused
 * with the field named (failure code invalid_parameter). Fields of the queue (kind, priority,
 * name, labels) are not known here. The caller owns *ret_params.
 * Return: 0, -EINVAL or -ENOMEM.
 */
int params_parse(enum job_kind kind, const json_t *object, struct params **ret_params,
                 struct failure *failure);

/* params_to_json() - all fields, resolved, in the request's form; NULL when out of memory. */
json_t *params_to_json(const struct params *params);

/*
 * params_renewed() - @params of a job that an earlier quantd stored, in the terms of this one: a
 * new reference to it, or to a changed copy; NULL when out of memory.
 */
json_t *params_renewed(json_t *params);
