// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/request.h"

#include "base/json.h"
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/params/k_types.h"
#include "daemon/pipeline/params/param.h"
#include "daemon/pipeline/params/presets.h"
#include "daemon/pipeline/params/schemes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Unknown fields, and those that a job of @kind does not take. */
static int check_names(enum job_kind kind, const json_t *object, struct failure *failure) {
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value) {
        const struct param *param = param_find(name);

        if (!param)
            return failure_field(failure, name, "GET /openapi.json lists the fields",
                                 "unknown field");
        if (!(param->kinds >> kind & 1))
            return failure_field(failure, name, "leave it out, or ask for kind quantize",
                                 "an %s job does not take it", job_kind_name(kind));
    }
    return 0;
}

/* The value of @name in @object; NULL when it is missing or null. */
static const json_t *value_of(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

/*
 * An older spelling of a choice: read into it, unless the choice is there, which must say the same.
 */
static int read_alias(const struct param *alias, const json_t *object, struct params *params,
                      struct failure *failure) {
    const json_t *value = value_of(object, alias->name), *chosen = value_of(object, alias->of);
    const struct param *param = param_find(alias->of);
    cleanup(json_decrefp) json_t *means = NULL;

    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return failure_field(failure, alias->name, NULL, "must be true or false");
    if (chosen && str_equal(json_string_value(chosen), alias->means) != json_is_true(value))
        return failure_field(failure, alias->name, "leave it out", "contradicts %s '%s'", alias->of,
                             json_string_value(chosen));
    if (chosen || !json_is_true(value))
        return 0;
    means = json_string(alias->means);
    return means ? param_read(param, means, params, failure) : failure_oom(failure);
}

/* Every field, or that of its preset, or its default; then aliases, which stand for a choice that
 * is not there. */
static int read_fields(const json_t *object, struct params *params, struct failure *failure) {
    cleanup(json_decrefp) json_t *preset =
        preset_params(json_string_value(json_object_get(object, "preset")));
    const struct param *param;
    int r = preset ? 0 : failure_oom(failure);

    for (size_t i = 0; (param = param_at(i)) && !r; i++) {
        const json_t *value = value_of(object, param->name);
        cleanup(json_decrefp) json_t *missing = NULL;

        if (!value)
            value = json_object_get(preset, param->name);
        if (!value && param->default_value) {
            value = missing = json_loads(param->default_value, JSON_DECODE_ANY, NULL);
            if (!value)
                return failure_oom(failure);
        }
        if (value && !json_is_null(value) && param->type != PARAM_ALIAS)
            r = param_read(param, value, params, failure);
    }
    for (size_t i = 0; (param = param_at(i)) && !r; i++) {
        if (param->type == PARAM_ALIAS)
            r = read_alias(param, object, params, failure);
    }
    return r;
}

/* @name is @value, by gguf_type; asked for otherwise it is refused. */
static int imply(const json_t *object, const char *name, const json_t *value, struct params *params,
                 struct failure *failure) {
    const json_t *given = value_of(object, name);
    cleanup(freep) char *text = json_dumps(value, JSON_ENCODE_ANY);

    if (!text)
        return failure_oom(failure);
    if (given && !json_equal(given, value))
        return failure_field(failure, name, "leave it out, or leave gguf_type out",
                             "is %s with gguf_type %s", text, params->gguf_type->name);
    return param_read(param_find(name), value, params, failure);
}

static int check_rules_of_type(const struct params *params, struct failure *failure) {
    for (int i = 0; i < params->rules.n; i++) {
        const struct rule *rule = &params->rules.list[i];

        if (rule->groupsize || rule->sym >= 0 ||
            (rule->wbits && rule->wbits != 8 && rule->wbits != SCHEME_PLAIN))
            return failure_field(
                failure, "rules", "with gguf_type a rule sets wbits=8, wbits=16 or method",
                "rule %d: sets what gguf_type %s does", i + 1, params->gguf_type->name);
    }
    return 0;
}

/* What the type of the GGUF's matrices says of their grids; the format may be one that holds the
 * same weights. */
static int resolve_gguf_type(const json_t *object, struct params *params, struct failure *failure) {
    const struct k_type *type = params->gguf_type;
    bool weighted = params->method && params->method->needs_hessians;
    cleanup(json_decrefp) json_t *implied = NULL;
    const char *name;
    json_t *value;
    int r;

    if (!type)
        return 0;
    if (params->target_bits > 0 || params->plan_only)
        return failure_field(failure, "gguf_type", "leave it or target_bits out",
                             "sets the bits of all matrices, which target_bits is to find");
    if (weighted && json_is_true(value_of(object, "mse")))
        return failure_field(failure, "mse", "leave it out, or leave gguf_type out",
                             "the grid is hessian with gguf_type %s", type->name);
    implied = json_pack("{s:i s:i s:b s:b s:s}", "wbits", type->grid.wbits, "groupsize",
                        type->grid.groupsize, "sym", type->grid.sym, "static_groups", true, "grid",
                        weighted ? "hessian" : "mse");
    if (!implied)
        return failure_oom(failure);
    json_object_foreach(implied, name, value) {
        r = imply(object, name, value, params, failure);
        if (r)
            return r;
    }
    if (!value_of(object, "format"))
        params->format = &format_gguf;
    return check_rules_of_type(params, failure);
}

/* What needs calibration, of a job that has none. */
static int check_nearest(const struct params *params, struct failure *failure) {
    const char *name = params->method->name;

    if (params->act_order || params->true_sequential)
        return failure_field(failure, "method", "leave act_order and true_sequential out",
                             "%s has no calibration to order or repeat", name);
    if (params->grid == GRID_HESSIAN)
        return failure_field(failure, "grid", "choose mse, which needs no calibration",
                             "hessian weighs errors by the calibration, which %s does without",
                             name);
    if (params->refine > 0)
        return failure_field(failure, "refine", "leave it out, or choose method gptq",
                             "%s has no calibration to refine by", name);
    if (params->drift > 0)
        return failure_field(failure, "drift", "leave drift out, or choose method gptq",
                             "%s has no calibration to see a drift in", name);
    return 0;
}

static int check_combination(const struct params *params, struct failure *failure) {
    const struct method_ops *method = params->method;
    int r;

    if (!params->model)
        return failure_field(failure, "model", "name a folder under a model root, or job:ID",
                             "is required");
    r = params->dataset ? corpus_check_name(params->dataset, CORPUS_CALIBRATION, "dataset", failure)
                        : 0;
    if (r)
        return r;
    if (params_calibrates(params) && !params->dataset)
        return failure_field(failure, "dataset",
                             "name wikitext2, ptb, c4 or file:PATH, or choose method rtn",
                             "method %s needs a calibration set", method->name);
    r = method->needs_hessians || params_calibrates(params) ? 0 : check_nearest(params, failure);
    if (r && params->preset)
        return failure_field(failure, "preset", "leave preset out, or choose method gptq",
                             "%s sets what %s has no calibration for", params->preset->name,
                             method->name);
    if (r)
        return r;
    if (params->wbits == 16 && params->n_eval == 0)
        return failure_field(failure, "eval",
                             "name a data set, or ask for kind quantize with wbits 2, 3, 4 or 8",
                             "a job with wbits 16 only evaluates, and nothing is to be measured");
    if (params->wbits == 16 && params->rules.n > 0)
        return failure_field(failure, "rules",
                             "set wbits to 2, 3, 4 or 8; a rule with wbits=16 leaves matrices out",
                             "rules need the wbits of what no rule fits");
    return params->wbits == 16 ? 0 : rules_check_formats(params, NULL, failure);
}

/* What speaks of a plan wants one. */
static int check_no_target(const struct params *params, struct failure *failure) {
    if (params->plan_bits.n > 0)
        return failure_field(failure, "plan_bits", "set plan_only or target_bits",
                             "names choices of a plan, and no plan is asked for");
    if (params->target_unit != TARGET_MODULE)
        return failure_field(failure, "target_unit", "set target_bits or plan_only",
                             "says how bits are chosen, and no choice is asked for");
    return 0;
}

/* The least bits of a plan stand for what no rule names; a plan alone measures nothing. */
static int resolve_target(struct params *params, struct failure *failure) {
    static const int bits[] = {8, 4, 3, 2};
    size_t i = 0;

    if (params->plan_only && params->target_bits == 0 && params->plan_bits.n > 0)
        params->target_bits = params->plan_bits.list[0];
    if (params->plan_only && params->target_bits == 0)
        params->target_bits = params->wbits == 16 ? 3 : params->wbits;
    if (params->target_bits == 0)
        return check_no_target(params, failure);
    if (params->target_bits < 2)
        return failure_field(failure, "target_bits", "3 is a good start",
                             "must be 0 or a number from 2 to 8");
    if (params->rules.n > 0)
        return failure_field(failure, "target_bits", "leave it or rules out",
                             "finds the rules, and rules are given");
    if (!params->method->needs_hessians)
        return failure_field(failure, "target_bits", "choose the method gptq",
                             "is found on calibration windows, and the method has none");
    while (bits[i] > params->target_bits)
        i++;
    if (params->wbits == 16)
        params->wbits = bits[i];
    for (int j = 0; j < params->n_eval && params->plan_only; j++)
        free(params->eval[j]);
    params->n_eval = params->plan_only ? 0 : params->n_eval;
    return 0;
}

static int check_export(struct params *params, struct failure *failure) {
    for (int i = 0; i < params->n_eval; i++) /* nothing is measured again */
        free(params->eval[i]);
    params->n_eval = 0;
    if (!params->model || !str_has_prefix(params->model, "job:"))
        return failure_field(failure, "model", "list the jobs to see their ids",
                             "must be job:ID, a quantize job that succeeded");
    return 0;
}

static int check_embedding(const struct params *params, struct failure *failure) {
    if (params->gguf_embedding == GGUF_EMBEDDING_BF16 || params->format == &format_gguf)
        return 0;
    return failure_field(failure, "gguf_embedding", "add format gguf, or leave it out",
                         "the format %s has no such embedding", params->format->name);
}

int params_parse(enum job_kind kind, const json_t *object, struct params **ret_params,
                 struct failure *failure) {
    cleanup(params_freep) struct params *params = calloc(1, sizeof(*params));
    int r;

    if (!params)
        return failure_oom(failure);
    if (!json_is_object(object))
        return failure_set(failure, -EINVAL, "invalid_parameter", NULL,
                           "the request is not a JSON object");
    r = check_names(kind, object, failure);
    if (!r)
        r = read_fields(object, params, failure);
    if (!r)
        r = resolve_gguf_type(object, params, failure);
    if (!r)
        r = resolve_target(params, failure);
    if (!r)
        r = check_embedding(params, failure);
    if (!r)
        r = kind == JOB_EXPORT ? check_export(params, failure) : check_combination(params, failure);
    if (r)
        return r;
    *ret_params = steal_ptr(params);
    return 0;
}

/* Puts the choice that @alias stands for into @params, unless it is there, in its place. */
static int renew_alias(const struct param *alias, json_t *params) {
    const struct param *choice = param_find(alias->of);
    json_t *value;

    if (!json_object_get(params, choice->name)) {
        value = json_is_true(json_object_get(params, alias->name))
                    ? json_string(alias->means)
                    : json_loads(choice->default_value, JSON_DECODE_ANY, NULL);
        if (json_object_set_new(params, choice->name, value))
            return -ENOMEM;
    }
    return json_object_del(params, alias->name);
}

json_t *params_renewed(json_t *params) {
    cleanup(json_decrefp) json_t *copy = NULL;
    const struct param *param;

    for (size_t i = 0; (param = param_at(i)); i++) {
        if (param->type != PARAM_ALIAS || !json_object_get(params, param->name))
            continue;
        if (!copy)
            copy = json_clone(params);
        if (!copy || renew_alias(param, copy))
            return NULL;
    }
    return copy ? steal_ptr(copy) : json_incref(params);
}

json_t *params_to_json(const struct params *params) {
    cleanup(json_decrefp) json_t *object = json_object();
    const struct param *param;

    for (size_t i = 0; (param = param_at(i)); i++) {
        if (param->type != PARAM_ALIAS &&
            json_object_set_new(object, param->name, param_to_json(param, params)))
            return NULL;
    }
    return steal_ptr(object);
}
