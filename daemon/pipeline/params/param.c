// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/param.h"

#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/pipeline/params/choices.h"
#include "daemon/pipeline/params/params.h"

#include <errno.h>
#include <string.h>

#define NAME_BYTES_MAX 1024

#define QUANTIZE (1u << JOB_QUANTIZE)
#define EVAL (1u << JOB_EVAL)
#define EXPORT (1u << JOB_EXPORT)
#define EVERY (QUANTIZE | EVAL | EXPORT)

/* ---- the table ---- */

static const json_int_t wbits[] = {2, 3, 4, 8, 16, 0};

#define AT(member) .offset = offsetof(struct params, member)

/* In the order in which they are refused and written. */
static const struct param table[] = {
    {"model", PARAM_STRING, EVERY, NULL,
     "a folder below a model root, or a file NAME.gguf there, which is only evaluated; "
     "org/name[@revision] of the hub; or job:ID, the checkpoint of that job",
     "name a folder under a model root, or job:ID", AT(model), .least = 1, .most = NAME_BYTES_MAX},
    {"dataset", PARAM_STRING, QUANTIZE, NULL,
     "calibration text: wikitext2, ptb, c4 or file:PATH below a data root", NULL, AT(dataset),
     .least = 1, .most = NAME_BYTES_MAX},
    {"preset", PARAM_CHOICE, QUANTIZE, "null",
     "parameters by name: reference, fast, best, vllm or llama.cpp; what is given beside it wins",
     NULL, .choice = &preset_choice},
    {"wbits", PARAM_INTEGER, QUANTIZE, "16",
     "bits per weight; 16 (the default) measures the model as it is",
     "16 evaluates the model as it is", AT(wbits), .values = wbits},
    {"groupsize", PARAM_INTEGER, QUANTIZE, "-1",
     "input features that share a scale and a zero; -1 (the default): a whole row",
     "128 is the usual choice, -1 is one grid per row", AT(groupsize), .least = -1, .most = 65536,
     .step = 8},
    {"nsamples", PARAM_INTEGER, QUANTIZE, "128", "calibration windows; 128 by default", NULL,
     AT(nsamples), .least = 1, .most = 65536},
    {"seqlen", PARAM_INTEGER, QUANTIZE | EVAL, "null",
     "tokens of a window; by default 2048, or as many as the model takes", NULL, AT(seqlen),
     .least = 2, .most = 131072},
    {"batch", PARAM_INTEGER, QUANTIZE | EVAL, "null",
     "windows at a time; by default as many as the device's memory allows", NULL, AT(batch),
     .least = 1, .most = PARAMS_BATCH_MAX},
    {"seed", PARAM_SEED, QUANTIZE, "0", "chooses the calibration windows; 0 by default", NULL,
     AT(seed), .least = 0, .most = INT64_MAX},
    {"act_order", PARAM_BOOLEAN, QUANTIZE, "false", "quantize the features that matter most first",
     NULL, AT(act_order)},
    {"sym", PARAM_BOOLEAN, QUANTIZE, "false", "grids symmetric around zero", NULL, AT(sym)},
    {"true_sequential", PARAM_BOOLEAN, QUANTIZE, "false",
     "within a layer, calibrate each matrix after those before it are quantized", NULL,
     AT(true_sequential)},
    {"static_groups", PARAM_BOOLEAN, QUANTIZE, "false",
     "fix the grids of all groups before the first column", NULL, AT(static_groups)},
    {"grid", PARAM_CHOICE, QUANTIZE, "\"minmax\"",
     "how a grid is fitted: minmax (the default) spans the weights, mse seeks the least error of "
     "the weights, hessian that of the outputs",
     NULL, .choice = &grid_choice},
    {"mse", PARAM_ALIAS, QUANTIZE, NULL, "the same as --grid mse", NULL, .of = "grid",
     .means = "mse"},
    {"method", PARAM_CHOICE, QUANTIZE, "\"gptq\"",
     "gptq (the default), or rtn: round to nearest, without calibration; needs no DATASET", NULL,
     .choice = &method_choice},
    {"nearest", PARAM_ALIAS, QUANTIZE, NULL, "the same as --method rtn", NULL, .of = "method",
     .means = "rtn"},
    {"refine", PARAM_INTEGER, QUANTIZE, "0",
     "sweeps that refine each matrix after gptq: two rounds of so many, each with a fit of the "
     "scales; 0 (the default): none",
     "3 gains most of what there is", AT(refine), .least = 0, .most = 16},
    {"percdamp", PARAM_NUMBER, QUANTIZE, "0.01",
     "damping, as a fraction of the mean diagonal; 0.01 by default", "0.01 is the usual choice",
     AT(percdamp), .least = 0, .most = 1, .least_excluded = true},
    {"drift", PARAM_NUMBER, QUANTIZE, "0",
     "correct this share of how inputs drift from the original model's; 0 (the default): off",
     "0.5 is the usual choice, with true_sequential", AT(drift), .least = 0, .most = 1},
    {"eval", PARAM_SETS, QUANTIZE | EVAL, "[\"wikitext2\", \"ptb\", \"c4\"]",
     "sets to measure, with commas; by default wikitext2,ptb,c4; also ptb-new, c4-new, "
     "file:PATH, none",
     NULL},
    {"difference", PARAM_BOOLEAN, QUANTIZE | EVAL, "true",
     "compare a quantized model with its original on these sets, token by token (the default); "
     "takes one more pass over their windows",
     NULL, AT(difference)},
    {"format", PARAM_CHOICE, QUANTIZE | EXPORT, "\"gptq\"",
     "gptq: packed weights (the default); compressed-tensors: the same in its layout; "
     "dense: 16-bit weights; gguf: packed, one file for llama.cpp; pt: 16-bit weights in one "
     "file for torch",
     NULL, .choice = &format_choice},
    {"gguf_embedding", PARAM_CHOICE, QUANTIZE | EXPORT, "\"bf16\"",
     "embedding and head of a GGUF file: bf16 (the default), or q8_0, which rounds them to 8.5 "
     "bits and is measured so",
     NULL, .choice = &embedding_choice},
    {"gguf_type", PARAM_CHOICE, QUANTIZE, "null",
     "the grids of a K type of llama.cpp, q2_k, q3_k or q4_k, which imply wbits, groupsize, sym, "
     "grid, static_groups and the format gguf",
     NULL, .choice = &k_type_choice},
    {"for", PARAM_CHOICE, QUANTIZE | EXPORT, "null",
     "refuse what this program would not read, or read wrongly", NULL, .choice = &engine_choice},
    {"rules", PARAM_RULES, QUANTIZE, "[]",
     "some matrices otherwise, for example self_attn:wbits=8, or "
     "layers=0-3,15/down_proj:wbits=4,groupsize=64; may be repeated, the first that fits holds",
     NULL, AT(rules), .most = RULES_MAX},
    {"target_bits", PARAM_NUMBER, QUANTIZE, "0.0",
     "find the rules with the least divergence for a mean of F bits, from 2 to 8; 0.0 (the "
     "default): none",
     "3 is a good start", AT(target_bits), .least = 0, .most = 8},
    {"target_unit", PARAM_CHOICE, QUANTIZE, "\"module\"",
     "what --target-bits treats alike: module (the default), what loaders hold in one; kind, each "
     "kind of matrix of a layer; expert, each expert, too; vLLM loads only the first",
     NULL, .choice = &unit_choice},
    {"plan_only", PARAM_BOOLEAN, QUANTIZE, "false",
     "end after the plan of --target-bits: what each size costs", NULL, AT(plan_only)},
    {"plan_bits", PARAM_NUMBERS, QUANTIZE, "[]",
     "more mean bits whose choices the plan shows, with commas; one measurement serves all",
     "for example 2.2,2.5,3,3.5,4", AT(plan_bits), .least = 2, .most = 8},
};

const struct param *param_at(size_t i) {
    return i < ARRAY_SIZE(table) ? &table[i] : NULL;
}

const struct param *param_find(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (str_equal(table[i].name, name))
            return &table[i];
    }
    return NULL;
}

/* ---- reading ---- */

static int read_string(const struct param *p, const json_t *value, char **at,
                       struct failure *failure) {
    size_t size = json_string_length(value);

    if (!json_is_string(value) || size < (size_t)p->least || size > (size_t)p->most)
        return failure_field(failure, p->name, NULL,
                             "must be a string of %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT
                             " bytes",
                             p->least, p->most);
    *at = strdup(json_string_value(value));
    return *at ? 0 : failure_oom(failure);
}

/* "2, 3, 4, 8 or 16", for the refusal. */
static int refuse_value(const struct param *p, struct failure *failure) {
    cleanup(strbuf_done) struct strbuf list = {};

    for (size_t i = 0; p->values[i]; i++)
        strbuf_printf(&list, "%s%" JSON_INTEGER_FORMAT,
                      !i                 ? ""
                      : p->values[i + 1] ? ", "
                                         : " or ",
                      p->values[i]);
    return list.failed ? failure_oom(failure)
                       : failure_field(failure, p->name, p->hint, "must be %s", list.data);
}

static int read_integer(const struct param *p, const json_t *value, json_int_t *ret_value,
                        struct failure *failure) {
    json_int_t n = json_integer_value(value);
    bool is_integer = json_is_integer(value);

    if (p->values) {
        size_t i = 0;

        while (p->values[i] && p->values[i] != n)
            i++;
        if (!is_integer || !p->values[i])
            return refuse_value(p, failure);
    } else if (p->step) {
        if (!is_integer || n < p->least || n == 0 || (n > 0 && n % p->step) || n > p->most)
            return failure_field(failure, p->name, p->hint,
                                 "must be %" JSON_INTEGER_FORMAT
                                 " or a positive multiple of %" JSON_INTEGER_FORMAT,
                                 p->least, p->step);
    } else if (!is_integer || n < p->least || n > p->most) {
        return failure_field(failure, p->name, p->hint,
                             "must be a whole number from %" JSON_INTEGER_FORMAT
                             " to %" JSON_INTEGER_FORMAT,
                             p->least, p->most);
    }
    *ret_value = n;
    return 0;
}

static int read_number(const struct param *p, const json_t *value, double *at,
                       struct failure *failure) {
    double number = json_number_value(value);
    double least = (double)p->least, most = (double)p->most;

    if (!json_is_number(value) ||
        !((p->least_excluded ? number > least : number >= least) && number <= most))
        return failure_field(failure, p->name, p->hint, "must be a number %s %g and at most %g",
                             p->least_excluded ? "above" : "of at least", least, most);
    *at = number;
    return 0;
}

static int read_numbers(const struct param *p, const json_t *value, struct numbers *numbers,
                        struct failure *failure) {
    json_t *element;
    size_t i;
    int r;

    if (!json_is_array(value) || json_array_size(value) > PARAMS_PLAN_BITS_MAX)
        return failure_field(failure, p->name, p->hint, "must be an array of at most %d numbers",
                             PARAMS_PLAN_BITS_MAX);
    json_array_foreach(value, i, element) {
        r = read_number(p, element, &numbers->list[i], failure);
        if (r)
            return r;
    }
    numbers->n = (int)json_array_size(value);
    return 0;
}

static int read_choice(const struct param *p, const json_t *value, struct params *params,
                       struct failure *failure) {
    cleanup(strbuf_done) struct strbuf names = {}, titles = {};
    const char *name;

    for (size_t i = 0; (name = p->choice->name(i)); i++) {
        if (str_equal(json_string_value(value), name)) {
            p->choice->set(params, i);
            return 0;
        }
        strbuf_printf(&names, "%s\"%s\"", i ? " or " : "", name);
        strbuf_printf(&titles, "%s%s: %s", i ? "; " : "", name, p->choice->title(i));
    }
    if (names.failed || titles.failed)
        return failure_oom(failure);
    return failure_field(failure, p->name, titles.data, "must be %s", names.data);
}

static int add_set(struct params *params, const char *name, struct failure *failure) {
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

/* "a,b" or ["a", "b"]; an empty one measures nothing. */
static int read_sets(const json_t *value, struct params *params, struct failure *failure) {
    cleanup(freep) char *list = NULL;
    char *rest = NULL;
    json_t *element;
    size_t i;
    int r;

    json_array_foreach(value, i, element) {
        if (!json_is_string(element))
            return failure_field(failure, "eval", NULL, "must hold strings");
        r = add_set(params, json_string_value(element), failure);
        if (r)
            return r;
    }
    if (json_is_array(value))
        return 0;
    if (!json_is_string(value))
        return failure_field(failure, "eval", NULL, "must be an array or a list with commas");
    list = strdup(json_string_value(value));
    if (!list)
        return failure_oom(failure);
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        r = add_set(params, name, failure);
        if (r)
            return r;
    }
    return 0;
}

int param_read(const struct param *p, const json_t *value, struct params *params,
               struct failure *failure) {
    void *at = (char *)params + p->offset;
    json_int_t n = 0;
    int r;

    switch (p->type) {
    case PARAM_STRING:
        return read_string(p, value, at, failure);
    case PARAM_INTEGER:
        r = read_integer(p, value, &n, failure);
        if (!r)
            *(int *)at = (int)n;
        return r;
    case PARAM_SEED:
        r = read_integer(p, value, &n, failure);
        if (!r)
            *(uint64_t *)at = (uint64_t)n;
        return r;
    case PARAM_NUMBER:
        return read_number(p, value, at, failure);
    case PARAM_BOOLEAN:
        if (!json_is_boolean(value))
            return failure_field(failure, p->name, NULL, "must be true or false");
        *(bool *)at = json_is_true(value);
        return 0;
    case PARAM_CHOICE:
        return read_choice(p, value, params, failure);
    case PARAM_SETS:
        return read_sets(value, params, failure);
    case PARAM_RULES:
        return rules_read(value, at, failure);
    case PARAM_NUMBERS:
        return read_numbers(p, value, at, failure);
    case PARAM_ALIAS:
        break;
    }
    return -EINVAL;
}

/* ---- writing ---- */

static json_t *sets_to_json(const struct params *params) {
    cleanup(json_decrefp) json_t *sets = json_array();

    for (int i = 0; i < params->n_eval; i++) {
        if (json_array_append_new(sets, json_string(params->eval[i])))
            return NULL;
    }
    return steal_ptr(sets);
}

static json_t *numbers_to_json(const struct numbers *numbers) {
    cleanup(json_decrefp) json_t *array = json_array();

    for (int i = 0; i < numbers->n; i++) {
        if (json_array_append_new(array, json_real(numbers->list[i])))
            return NULL;
    }
    return steal_ptr(array);
}

json_t *param_to_json(const struct param *p, const struct params *params) {
    const void *at = (const char *)params + p->offset;
    const char *text;

    switch (p->type) {
    case PARAM_STRING:
        text = *(char *const *)at;
        return text ? json_string(text) : json_null();
    case PARAM_INTEGER:
        return *(const int *)at || !str_equal(p->default_value, "null")
                   ? json_integer(*(const int *)at)
                   : json_null();
    case PARAM_SEED:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case PARAM_NUMBER:
        return json_real(*(const double *)at);
    case PARAM_BOOLEAN:
        return json_boolean(*(const bool *)at);
    case PARAM_CHOICE:
        text = p->choice->get(params);
        return text ? json_string(text) : json_null();
    case PARAM_SETS:
        return sets_to_json(params);
    case PARAM_RULES:
        return rules_to_json(at);
    case PARAM_NUMBERS:
        return numbers_to_json(at);
    case PARAM_ALIAS:
        break;
    }
    return NULL;
}
