// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/schemes.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/pipeline/params/k_types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q8_0_COLUMNS 32 /* of a block of ggml's type */

struct scheme rule_scheme(const struct rule *rule, const struct params *params) {
    const struct quantization_config q = params_quantization(params);
    struct scheme scheme = {q.wbits, q.groupsize, q.sym, q.desc_act, params->method, q.sub_bits};

    if (!rule)
        return scheme;
    if (params->gguf_type && rule->wbits) { /* 8 bits, which are Q8_0, or none */
        scheme.groupsize = Q8_0_COLUMNS;
        scheme.sym = true;
        scheme.sub_bits = 0;
    }
    scheme.wbits = rule->wbits ? rule->wbits : scheme.wbits;
    scheme.groupsize = rule->groupsize ? rule->groupsize : scheme.groupsize;
    scheme.sym = rule->sym >= 0 ? rule->sym : scheme.sym;
    scheme.method = rule->method ? rule->method : scheme.method;
    scheme.desc_act = params_reorders(params, scheme.groupsize);
    return scheme;
}

/* The same for a matrix of @columns in-features. */
static struct scheme scheme_for(const struct rule *rule, const struct params *params, int columns) {
    struct scheme scheme = rule_scheme(rule, params);
    const struct k_type_grid *narrow;

    if (!scheme.sub_bits || columns % GRID_SUPER == 0)
        return scheme;
    narrow = &params->gguf_type->narrow;
    scheme.wbits = narrow->wbits;
    scheme.groupsize = narrow->groupsize;
    scheme.sym = narrow->sym;
    scheme.sub_bits = narrow->sub_bits;
    return scheme;
}

struct choosing {
    const struct params *params;
    const struct model_config *config;
    struct failure *failure;
    bool *used; /* [n]: the rule holds for a matrix */
    bool quantizes;
};

static int choose(void *ctx, const struct arch_tensor *t, int layer, int expert,
                  struct scheme *scheme) {
    const struct choosing *choosing = ctx;
    const struct rules *rules = &choosing->params->rules;
    int i = rules_find(rules, t, layer, expert);

    *scheme = scheme_for(i >= 0 ? &rules->list[i] : NULL, choosing->params,
                         arch_dim(choosing->config, t->columns));
    return 0;
}

int rules_schemes(const struct params *params, const struct model_config *config,
                  struct schemes **ret_schemes, struct failure *failure) {
    const struct scheme base = rule_scheme(NULL, params);
    struct choosing choosing = {.params = params, .config = config};
    int r;

    *ret_schemes = NULL;
    if (params->rules.n == 0 && !params->gguf_type)
        return 0;
    r = schemes_make(config, &base, choose, &choosing, ret_schemes);
    if (r == -E2BIG)
        return failure_field(failure, "rules", "use fewer different settings",
                             "the rules ask for more than %d ways to quantize a matrix",
                             SCHEMES_MAX);
    return r ? failure_oom(failure) : 0;
}

/* ---- checks against a model ---- */

static int check_numbers(const struct ranges *ranges, int n, int rule, const char *what,
                         struct failure *failure) {
    char hint[64];

    for (int i = 0; i < ranges->n; i++) {
        if (ranges->list[i].last < n)
            continue;
        snprintf(hint, sizeof(hint), "the model has the %s 0 to %d", what, n - 1);
        return failure_field(failure, "rules", hint, "rule %d: there is no %.*s %d", rule + 1,
                             (int)strlen(what) - 1, what, ranges->list[i].last);
    }
    return 0;
}

/* One matrix: which rule holds for it, and do its groups divide it? */
static int check_matrix(void *ctx, const struct arch_tensor *t, int layer, int expert) {
    struct choosing *choosing = ctx;
    const struct params *params = choosing->params;
    int i, columns = arch_dim(choosing->config, t->columns);
    char name[MATRIX_NAME_SIZE];
    struct scheme scheme;

    if (t->role != ROLE_MATRIX)
        return 0;
    i = rules_find(&params->rules, t, layer, expert);
    scheme = scheme_for(i < 0 ? NULL : &params->rules.list[i], params, columns);
    if (i >= 0)
        choosing->used[i] = true;
    choosing->quantizes |= scheme.wbits != SCHEME_PLAIN;
    if (scheme.wbits == SCHEME_PLAIN || scheme.groupsize <= 0 || columns % scheme.groupsize == 0)
        return 0;
    arch_name(t->name, layer, expert, name);
    if (i < 0)
        return failure_field(choosing->failure, "groupsize",
                             "take a divisor, -1 for one grid per row, or a rule for it",
                             "%d does not divide the %d in-features of %s", scheme.groupsize,
                             columns, name);
    return failure_field(choosing->failure, "rules",
                         "give the rule a groupsize that divides it, or -1 for one grid per row",
                         "rule %d: %d does not divide the %d in-features of %s", i + 1,
                         scheme.groupsize, columns, name);
}

int rules_check(const struct params *params, const struct model_config *config,
                struct failure *failure) {
    cleanup(freep) bool *used = calloc(params->rules.n + 1, sizeof(*used));
    struct choosing choosing = {params, config, failure, used, false};
    int r = used ? 0 : failure_oom(failure);

    for (int i = 0; i < params->rules.n && !r; i++) {
        const struct rule *rule = &params->rules.list[i];

        r = check_numbers(&rule->layers, config->num_hidden_layers, i, "layers", failure);
        if (!r)
            r = check_numbers(&rule->experts, config->num_experts, i, "experts", failure);
    }
    if (!r)
        r = arch_walk(config, check_matrix, &choosing);
    for (int i = 0; i < params->rules.n && !r; i++) {
        if (!used[i])
            r = failure_field(failure, "rules",
                              "remove it, or put it before the rules that hide it",
                              "rule %d: every matrix that it fits has an earlier rule, or it fits "
                              "none",
                              i + 1);
    }
    if (!r && !choosing.quantizes)
        r = failure_field(failure, "rules", "set wbits to 16 to measure the model as it is",
                          "the rules leave every matrix as it is");
    return r;
}

int rules_check_formats(const struct params *params, const struct model_config *config,
                        struct failure *failure) {
    struct quantization_config q = params_quantization(params);
    unsigned int left = (1u << N_GROUPS) - 1; /* groups that rules before leave matrices of */
    int r = 0;

    if (params->gguf_type)
        config = NULL; /* narrow matrices are not of that type: rules_schemes() says which */
    for (int i = 0; i < params->rules.n && !r; i++) {
        const struct rule *rule = &params->rules.list[i];
        const struct scheme scheme = rule_scheme(rule, params);
        struct quantization_config one = quantization_as(&q, &scheme);
        struct failure why = {};

        one.groups = rule_groups(rule, false) & left;
        left &= ~rule_groups(rule, true);
        r = one.present ? params_check(params, &one, config, &why) : 0;
        if (r)
            r = failure_field(failure, "rules", why.hint, "rule %d: %s", i + 1, why.detail);
    }
    q.groups = left;
    return r ? r : params_check(params, &q, config, failure);
}
