// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/units.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/params/schemes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int candidates[] = {2, 3, 4, 8};

/* ---- kinds ---- */

static void add_kind(struct units *units, const struct model_config *config,
                     const struct unit_kind *kind) {
    struct unit_kind *added = &units->kinds[units->n_kinds++];

    *added = *kind;
    added->items = 1;
    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        for (int p = 0; p < shape.n_parts; p++) {
            if (kind->parts[i] >> p & 1)
                added->weights += (double)shape.G * shape.parts[p].rows * shape.n;
        }
    }
}

static unsigned int all_parts(const struct model_config *config, enum group group) {
    struct group_shape shape;

    group_shape(config, group, &shape);
    return (1u << shape.n_parts) - 1;
}

/* What loaders hold in one module is one unit; each group besides is one, too. */
static void make_merged(struct units *units, const struct model_config *config) {
    unsigned int covered = 0;

    for (size_t i = 0; i < config->arch->n_merged; i++) {
        struct unit_kind kind = {};

        covered |= config->arch->merged[i].groups;
        for (int g = 0; g < N_GROUPS; g++) {
            if (config->arch->merged[i].groups >> g & 1)
                kind.parts[g] = all_parts(config, g);
        }
        add_kind(units, config, &kind);
    }
    for (int g = 0; g < N_GROUPS; g++) {
        struct unit_kind kind = {};

        kind.parts[g] = all_parts(config, g);
        if (!(covered >> g & 1))
            add_kind(units, config, &kind);
    }
}

static void make_apart(struct units *units, const struct model_config *config) {
    for (int g = 0; g < N_GROUPS; g++) {
        for (int p = 0; all_parts(config, g) >> p & 1; p++) {
            struct unit_kind kind = {};

            kind.parts[g] = 1u << p;
            add_kind(units, config, &kind);
        }
    }
}

/* ---- candidates ---- */

/* Does the format hold @bits, and in less than it takes for more bits? */
static bool is_candidate(const struct params *params, const struct model_config *config, int bits,
                         double *least) {
    struct quantization_config q = params_quantization(params);
    struct failure ignored = {};
    double size;

    q.wbits = bits;
    if (params_check(params, &q, config, &ignored))
        return false;
    size = params->format->bits_per_weight(config, &q);
    if (size > 0 && size >= *least)
        return false;
    *least = size > 0 ? size : *least;
    return true;
}

/* ---- rules ---- */

json_t *unit_modules(const struct model_config *config, const struct unit_kind *kind) {
    cleanup(json_decrefp) json_t *modules = json_array();

    for (int g = 0; g < N_GROUPS; g++) {
        struct group_shape shape;

        group_shape(config, g, &shape);
        for (int p = 0; p < shape.n_parts; p++) {
            if ((kind->parts[g] >> p & 1) &&
                json_array_append_new(modules,
                                      json_string(strrchr(shape.parts[p].tensor->name, '.') + 1)))
                return NULL;
        }
    }
    return steal_ptr(modules);
}

/*
 * "0,2-5": which of @n neighbours, @step apart in @choice, have @candidate; "" when none has; NULL
 * when out of memory.
 */
static char *ranges_of(const uint8_t *choice, int n, int step, int candidate) {
    struct strbuf text = {};

    strbuf_puts(&text, "");
    for (int first = 0, last; first < n; first = last + 1) {
        last = first;
        if (choice[first * step] != candidate)
            continue;
        while (last + 1 < n && choice[(last + 1) * step] == candidate)
            last++;
        strbuf_printf(&text, "%s%d", text.length ? "," : "", first);
        if (last > first)
            strbuf_printf(&text, "-%d", last);
    }
    return strbuf_steal(&text);
}

struct rule_maker {
    const struct units *units;
    const struct model_config *config;
    const uint8_t *choice;
    int wbits;     /* of what no rule names */
    json_t *rules; /* borrowed */
};

/* For the layers @layers, a text, and, unless NULL, the experts @experts: candidate @c. */
static int add_rule(const struct rule_maker *maker, const struct unit_kind *kind,
                    const char *layers, const char *experts, int c) {
    if (maker->units->bits[c] == maker->wbits || !layers[0] || (experts && !experts[0]))
        return 0;
    return json_array_append_new(maker->rules,
                                 json_pack("{s:o s:s s:s* s:i}", "modules",
                                           unit_modules(maker->config, kind), "layers", layers,
                                           "experts", experts, "wbits", maker->units->bits[c]));
}

/* All layers in one rule. */
static int add_layers(const struct rule_maker *maker, const struct unit_kind *kind, int c) {
    const struct units *units = maker->units;
    cleanup(freep) char *layers =
        ranges_of(maker->choice + kind->first, maker->config->num_hidden_layers, units->layer, c);

    return layers ? add_rule(maker, kind, layers, NULL, c) : -ENOMEM;
}

/* A rule a layer. */
static int add_experts(const struct rule_maker *maker, const struct unit_kind *kind, int c) {
    const struct units *units = maker->units;
    int r = 0;

    for (int i = 0; i < maker->config->num_hidden_layers && !r; i++) {
        cleanup(freep) char *experts =
            ranges_of(maker->choice + i * units->layer + kind->first, kind->items, 1, c);
        char layer[12];

        snprintf(layer, sizeof(layer), "%d", i);
        r = experts ? add_rule(maker, kind, layer, experts, c) : -ENOMEM;
    }
    return r;
}

json_t *units_rules(const struct units *units, const struct model_config *config,
                    const uint8_t *choice, int wbits) {
    cleanup(json_decrefp) json_t *rules = json_array();
    const struct rule_maker maker = {units, config, choice, wbits, rules};

    for (int i = 0; i < units->n_kinds * units->n_bits; i++) {
        const struct unit_kind *kind = &units->kinds[i / units->n_bits];
        int c = i % units->n_bits;

        if (!rules ||
            (kind->items > 1 ? add_experts(&maker, kind, c) : add_layers(&maker, kind, c)))
            return NULL;
    }
    return steal_ptr(rules);
}

/* ---- all ---- */

static int check_target(const struct units *units, double target, const char *field,
                        struct failure *failure) {
    int least = units->bits[0], most = units->bits[units->n_bits - 1];

    if (target >= least && target <= most)
        return 0;
    return failure_field(failure, field, "take another format, groupsize or sym",
                         "must be from %d to %d, which the format can hold", least, most);
}

/* Do the format and its program take a choice with an item that differs from its neighbour? */
static int check_unit(const struct params *params, const struct model_config *config,
                      const struct units *units, struct failure *failure) {
    cleanup(freep) uint8_t *choice = calloc(units->n_items, 1);
    cleanup(freep) struct schemes *schemes = NULL;
    cleanup(json_decrefp) json_t *list = NULL;
    struct params differ = *params;
    struct quantization_config q;
    struct failure why = {};
    int r = 0;

    if (params->target_unit == TARGET_MODULE)
        return 0;
    differ.rules = (struct rules){};
    differ.wbits = units->bits[0];
    if (choice)
        choice[params->target_unit == TARGET_EXPERT ? units->layer - 1 : 0] = 1;
    list = choice ? units_rules(units, config, choice, differ.wbits) : NULL;
    r = list ? rules_read(list, &differ.rules, &why) : failure_oom(&why);
    if (!r)
        r = rules_schemes(&differ, config, &schemes, &why);
    rules_done(&differ.rules);
    q = params_quantization(&differ);
    q.schemes = schemes;
    if (!r)
        r = params_check(params, &q, config, &why);
    if (r == -EINVAL)
        return failure_field(failure, "target_unit", "take a larger unit, or another format", "%s",
                             why.detail + (str_has_prefix(why.detail, "rules: ") ? 7 : 0));
    return r ? failure_oom(failure) : 0;
}

/* How the kinds fall into items. */
static int make_items(const struct params *params, const struct model_config *config,
                      struct units *units, struct failure *failure) {
    int rules = 0;

    for (int k = 0; k < units->n_kinds; k++) {
        struct unit_kind *kind = &units->kinds[k];
        bool experts = kind->parts[GROUP_GATE_UP] || kind->parts[GROUP_DOWN];

        kind->items = params->target_unit == TARGET_EXPERT && experts ? config->num_experts : 1;
        kind->first = units->layer;
        units->layer += kind->items;
        rules += (units->n_bits - 1) * (kind->items > 1 ? config->num_hidden_layers : 1);
    }
    units->n_items = units->layer * config->num_hidden_layers;
    if (rules > RULES_MAX)
        return failure_field(failure, "target_unit", "take kind",
                             "a choice for each expert may take %d rules, which are more than %d",
                             rules, RULES_MAX);
    return 0;
}

int units_make(const struct params *params, const struct model_config *config,
               struct units *ret_units, struct failure *failure) {
    struct units units = {};
    double least = 1e9;
    int r;

    if (params->format->reader && params->target_unit == TARGET_MODULE)
        make_merged(&units, config);
    else
        make_apart(&units, config);
    units.n = units.n_kinds * config->num_hidden_layers;
    for (int i = ARRAY_SIZE(candidates) - 1; i >= 0; i--) {
        if (!is_candidate(params, config, candidates[i], &least))
            continue;
        memmove(units.bits + 1, units.bits, units.n_bits * sizeof(int));
        units.bits[0] = candidates[i];
        units.n_bits++;
    }
    if (units.n_bits < 2)
        return failure_field(failure, "target_bits", "take another format, groupsize or sym",
                             "the format leaves no choice of bits");
    r = make_items(params, config, &units, failure);
    if (!r)
        r = check_target(&units, params->target_bits, "target_bits", failure);
    for (int i = 0; i < params->plan_bits.n && !r; i++)
        r = check_target(&units, params->plan_bits.list[i], "plan_bits", failure);
    if (!r)
        r = check_unit(params, config, &units, failure);
    if (!r)
        *ret_units = units;
    return r;
}

const char *units_warning(const struct params *params) {
    if (params->target_bits <= 0 || params->target_unit == TARGET_MODULE || !params->format->reader)
        return NULL;
    return params->target_unit == TARGET_EXPERT
               ? "target_unit expert lets experts of a layer differ, which vLLM holds in one "
                 "module: it cannot load the checkpoint"
               : "target_unit kind lets q, k and v of a layer differ, and the matrices of its "
                 "experts, which vLLM holds in one module each: it cannot load the checkpoint";
}
