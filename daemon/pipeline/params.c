// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params.h"

#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/model/readers/gptq.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define NSAMPLES_MAX 65536
#define SEQLEN_MAX 131072
#define GROUPSIZE_MAX 65536
#define NAME_MAX_BYTES 1024

static const char *const kind_names[] = {[JOB_QUANTIZE] = "quantize", [JOB_EVAL] = "eval"};

const char *job_kind_name(enum job_kind kind) {
    return kind_names[kind];
}

int job_kind_from_name(const char *name, enum job_kind *ret_kind) {
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
        if (str_equal(name, kind_names[i])) {
            *ret_kind = i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Reads one field: @value is not NULL, the result goes to @at inside struct params. */
typedef int field_reader(const char *name, const json_t *value, void *at, struct failure *failure);

static int read_bool(const char *name, const json_t *value, void *at, struct failure *failure) {
    if (!json_is_boolean(value))
        return failure_field(failure, name, NULL, "must be true or false");
    *(bool *)at = json_is_true(value);
    return 0;
}

static int read_string(const char *name, const json_t *value, void *at, struct failure *failure) {
    char **text = at;

    if (!json_is_string(value) || json_string_length(value) == 0 ||
        json_string_length(value) > NAME_MAX_BYTES)
        return failure_field(failure, name, NULL, "must be a string of 1 to %d bytes",
                             NAME_MAX_BYTES);
    *text = strdup(json_string_value(value));
    return *text ? 0 : failure_oom(failure);
}

static int read_integer(const char *name, const json_t *value, json_int_t least, json_int_t most,
                        json_int_t *ret_value, struct failure *failure) {
    if (!json_is_integer(value) || json_integer_value(value) < least ||
        json_integer_value(value) > most)
        return failure_field(failure, name, NULL,
                             "must be a whole number from %" JSON_INTEGER_FORMAT
                             " to %" JSON_INTEGER_FORMAT,
                             least, most);
    *ret_value = json_integer_value(value);
    return 0;
}

static int read_wbits(const char *name, const json_t *value, void *at, struct failure *failure) {
    json_int_t bits = json_integer_value(value);

    if (!json_is_integer(value) || (bits != 2 && bits != 3 && bits != 4 && bits != 8 && bits != 16))
        return failure_field(failure, name, "16 evaluates the model as it is",
                             "must be 2, 3, 4, 8 or 16");
    *(int *)at = (int)bits;
    return 0;
}

static int read_groupsize(const char *name, const json_t *value, void *at,
                          struct failure *failure) {
    json_int_t size = json_integer_value(value);

    if (!json_is_integer(value) || (size != -1 && (size < 8 || size % 8 || size > GROUPSIZE_MAX)))
        return failure_field(failure, name, "128 is the usual choice, -1 is one grid per row",
                             "must be -1 or a positive multiple of 8");
    *(int *)at = (int)size;
    return 0;
}

static int read_nsamples(const char *name, const json_t *value, void *at, struct failure *failure) {
    json_int_t n = 0;
    int r = read_integer(name, value, 1, NSAMPLES_MAX, &n, failure);

    if (!r)
        *(int *)at = (int)n;
    return r;
}

static int read_seqlen(const char *name, const json_t *value, void *at, struct failure *failure) {
    json_int_t n = 0;
    int r = read_integer(name, value, 2, SEQLEN_MAX, &n, failure);

    if (!r)
        *(int *)at = (int)n;
    return r;
}

static int read_batch(const char *name, const json_t *value, void *at, struct failure *failure) {
    json_int_t n = 0;
    int r = read_integer(name, value, 1, PARAMS_BATCH_MAX, &n, failure);

    if (!r)
        *(int *)at = (int)n;
    return r;
}

static int read_seed(const char *name, const json_t *value, void *at, struct failure *failure) {
    json_int_t n = 0;
    int r = read_integer(name, value, 0, INT64_MAX, &n, failure);

    if (!r)
        *(uint64_t *)at = (uint64_t)n;
    return r;
}

static int read_percdamp(const char *name, const json_t *value, void *at, struct failure *failure) {
    double fraction = json_number_value(value);

    if (!json_is_number(value) || !(fraction > 0 && fraction <= 1))
        return failure_field(failure, name, "0.01 is the usual choice",
                             "must be a number above 0 and at most 1");
    *(double *)at = fraction;
    return 0;
}

static int read_format(const char *name, const json_t *value, void *at, struct failure *failure) {
    const struct format_ops *format = format_find(json_string_value(value));
    cleanup(strbuf_done) struct strbuf names = {};

    if (format) {
        *(const struct format_ops **)at = format;
        return 0;
    }
    for (int i = 0; i < n_formats; i++)
        strbuf_printf(&names, "%s\"%s\"", i ? " or " : "", formats[i]->name);
    return names.failed ? failure_oom(failure)
                        : failure_field(failure, name, NULL, "must be %s", names.data);
}

static const struct {
    const char *name;
    field_reader *read;
    size_t offset;
    bool quantize_only;
} fields[] = {
    {"model", read_string, offsetof(struct params, model), false},
    {"dataset", read_string, offsetof(struct params, dataset), true},
    {"wbits", read_wbits, offsetof(struct params, wbits), true},
    {"groupsize", read_groupsize, offsetof(struct params, groupsize), true},
    {"nsamples", read_nsamples, offsetof(struct params, nsamples), true},
    {"seqlen", read_seqlen, offsetof(struct params, seqlen), false},
    {"batch", read_batch, offsetof(struct params, batch), false},
    {"seed", read_seed, offsetof(struct params, seed), true},
    {"act_order", read_bool, offsetof(struct params, act_order), true},
    {"sym", read_bool, offsetof(struct params, sym), true},
    {"true_sequential", read_bool, offsetof(struct params, true_sequential), true},
    {"static_groups", read_bool, offsetof(struct params, static_groups), true},
    {"mse", read_bool, offsetof(struct params, mse), true},
    {"nearest", read_bool, offsetof(struct params, nearest), true},
    {"percdamp", read_percdamp, offsetof(struct params, percdamp), true},
    {"format", read_format, offsetof(struct params, format), true},
};

static int add_eval(struct params *params, const char *name, struct failure *failure) {
    int r = corpus_check_name(name, CORPUS_EVALUATION, "eval", failure);

    if (r)
        return r;
    for (int i = 0; i < params->n_eval; i++) {
        if (str_equal(params->eval[i], name))
            return failure_field(failure, "eval", NULL, "'%s' is named twice", name);
    }
    if (params->n_eval == PARAMS_EVALS_MAX)
        return failure_field(failure, "eval", NULL, "more than %d data sets", PARAMS_EVALS_MAX);
    params->eval[params->n_eval] = strdup(name);
    if (!params->eval[params->n_eval])
        return failure_oom(failure);
    params->n_eval++;
    return 0;
}

/* "a,b" or ["a", "b"]; NULL is the default; an empty one measures nothing. */
static int read_eval(struct params *params, const json_t *value, struct failure *failure) {
    cleanup(freep) char *list = NULL;
    char *rest = NULL;
    json_t *element;
    size_t i;
    int r;

    if (json_is_null(value))
        value = NULL;
    if (value && json_is_array(value)) {
        json_array_foreach(value, i, element) {
            if (!json_is_string(element))
                return failure_field(failure, "eval", NULL, "must hold strings");
            r = add_eval(params, json_string_value(element), failure);
            if (r)
                return r;
        }
        return 0;
    }
    if (value && !json_is_string(value))
        return failure_field(failure, "eval", NULL, "must be an array or a list with commas");
    list = strdup(value ? json_string_value(value) : "wikitext2,ptb,c4");
    if (!list)
        return failure_oom(failure);
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        r = add_eval(params, name, failure);
        if (r)
            return r;
    }
    return 0;
}

static int read_fields(enum job_kind kind, const json_t *object, struct params *params,
                       struct failure *failure) {
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value) {
        size_t i;
        int r;

        if (str_equal(name, "eval"))
            continue;
        for (i = 0; i < ARRAY_SIZE(fields) && !str_equal(fields[i].name, name); i++)
            ;
        if (i == ARRAY_SIZE(fields))
            return failure_field(failure, name, "GET /openapi.json lists the fields",
                                 "unknown field");
        if (kind == JOB_EVAL && fields[i].quantize_only)
            return failure_field(failure, name, "leave it out, or ask for kind quantize",
                                 "an eval job does not take it");
        if (json_is_null(value))
            continue;
        r = fields[i].read(name, value, (char *)params + fields[i].offset, failure);
        if (r)
            return r;
    }
    return read_eval(params, json_object_get(object, "eval"), failure);
}

static int check_combination(const struct params *params, struct failure *failure) {
    bool gptq = params->wbits != 16 && !params->nearest;
    int r;

    if (!params->model)
        return failure_field(failure, "model", "name a folder under a model root, or job:ID",
                             "is required");
    r = params->dataset ? corpus_check_name(params->dataset, CORPUS_CALIBRATION, "dataset", failure)
                        : 0;
    if (r)
        return r;
    if (gptq && !params->dataset)
        return failure_field(failure, "dataset",
                             "name wikitext2, ptb, c4 or file:PATH, or set nearest",
                             "GPTQ needs a calibration set");
    if (params->nearest && (params->act_order || params->true_sequential))
        return failure_field(failure, "nearest", "leave act_order and true_sequential out",
                             "rounding to nearest has no calibration to order or repeat");
    if (params->wbits == 16 && params->n_eval == 0)
        return failure_field(failure, "eval", "name a data set, or set wbits to 2, 3, 4 or 8",
                             "a job with wbits 16 only evaluates, and nothing is to be measured");
    if (params->wbits != 16) {
        struct quantization_config q = params_quantization(params);

        return format_check(params->format, &q, NULL, failure);
    }
    return 0;
}

int params_parse(enum job_kind kind, const json_t *object, struct params **ret_params,
                 struct failure *failure) {
    cleanup(params_freep) struct params *params = calloc(1, sizeof(*params));
    int r;

    if (!params)
        return failure_oom(failure);
    params->wbits = 16;
    params->groupsize = -1;
    params->nsamples = 128;
    params->percdamp = 0.01;
    params->format = formats[0];
    if (!json_is_object(object))
        return failure_set(failure, -EINVAL, "invalid_parameter", NULL,
                           "the request is not a JSON object");
    r = read_fields(kind, object, params, failure);
    if (r)
        return r;
    r = check_combination(params, failure);
    if (r)
        return r;
    *ret_params = steal_ptr(params);
    return 0;
}

void params_free(struct params *params) {
    if (!params)
        return;
    for (int i = 0; i < params->n_eval; i++)
        free(params->eval[i]);
    free(params->dataset);
    free(params->model);
    free(params);
}

struct quantization_config params_quantization(const struct params *params) {
    return (struct quantization_config){
        .present = true,
        .reader = &reader_gptq, /* of what lies in work/ */
        .wbits = params->wbits,
        .groupsize = params->groupsize,
        .sym = params->sym,
        .desc_act = params->act_order && !params->static_groups && params->groupsize > 0,
        .v2 = !params->sym, /* an asymmetric zero may be 0, which "minus one" cannot hold */
    };
}

json_t *params_to_json(const struct params *p) {
    cleanup(json_decrefp) json_t *eval = json_array();
    json_t *dataset = p->dataset ? json_string(p->dataset) : json_null();
    json_t *seqlen = p->seqlen ? json_integer(p->seqlen) : json_null();
    json_t *batch = p->batch ? json_integer(p->batch) : json_null();

    for (int i = 0; i < p->n_eval; i++)
        json_array_append_new(eval, json_string(p->eval[i]));
    return json_pack("{s:s s:o s:i s:i s:i s:o s:o s:I s:b s:b s:b s:b s:b s:b s:f s:O s:s}",
                     "model", p->model, "dataset", dataset, "wbits", p->wbits, "groupsize",
                     p->groupsize, "nsamples", p->nsamples, "seqlen", seqlen, "batch", batch,
                     "seed", (json_int_t)p->seed, "act_order", p->act_order, "sym", p->sym,
                     "true_sequential", p->true_sequential, "static_groups", p->static_groups,
                     "mse", p->mse, "nearest", p->nearest, "percdamp", p->percdamp, "eval", eval,
                     "format", p->format->name);
}
