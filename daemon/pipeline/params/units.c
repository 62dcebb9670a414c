// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/units.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <string.h>

static const int candidates[] = {2, 3, 4, 8};

/* ---- kinds ---- */

static void add_kind(struct units *units, const struct model_config *config,
                     const struct unit_kind *kind) {
    struct unit_kind *added = &units->kinds[units->n_kinds++];

    *added = *kind;
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

int units_make(const struct params *params, const struct model_config *config,
               struct units *ret_units, struct failure *failure) {
    struct units units = {};
    double least = 1e9;

    if (params->format->reader)
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
    if (params->target_bits < units.bits[0] || params->target_bits > units.bits[units.n_bits - 1])
        return failure_field(failure, "target_bits", "take another format, groupsize or sym",
                             "must be from %d to %d, which the format can hold", units.bits[0],
                             units.bits[units.n_bits - 1]);
    *ret_units = units;
    return 0;
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

/* "0,2-5": the layers whose unit of kind @k has @candidate; "" when none has. */
static char *layers_of(const struct units *units, const uint8_t *choice, int k, int candidate) {
    struct strbuf text = {};
    int layers = units->n / units->n_kinds;

    strbuf_puts(&text, "");
    for (int first = 0, last; first < layers; first = last + 1) {
        last = first;
        if (choice[first * units->n_kinds + k] != candidate)
            continue;
        while (last + 1 < layers && choice[(last + 1) * units->n_kinds + k] == candidate)
            last++;
        strbuf_printf(&text, "%s%d", text.length ? "," : "", first);
        if (last > first)
            strbuf_printf(&text, "-%d", last);
    }
    return strbuf_steal(&text);
}

json_t *units_rules(const struct units *units, const struct model_config *config,
                    const uint8_t *choice, int wbits) {
    cleanup(json_decrefp) json_t *rules = json_array();

    for (int i = 0; i < units->n_kinds * units->n_bits; i++) {
        int k = i / units->n_bits, c = i % units->n_bits;
        cleanup(freep) char *layers = layers_of(units, choice, k, c);

        if (!layers)
            return NULL;
        if (units->bits[c] == wbits || !layers[0])
            continue;
        if (json_array_append_new(rules, json_pack("{s:o s:s s:i}", "modules",
                                                   unit_modules(config, &units->kinds[k]), "layers",
                                                   layers, "wbits", units->bits[c])))
            return NULL;
    }
    return steal_ptr(rules);
}
