// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/rule.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/arch/architectures.h"
#include "daemon/pipeline/methods/method.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const rule_modules[RULE_MODULES_MAX] = {"self_attn", "q_proj",  "k_proj",
                                                    "v_proj",    "o_proj",  "experts",
                                                    "gate_proj", "up_proj", "down_proj"};

/* ---- memory ---- */

static void rule_done(struct rule *rule) {
    free(rule->layers.list);
    free(rule->experts.list);
}

void rules_done(struct rules *rules) {
    for (int i = 0; i < rules->n; i++)
        rule_done(&rules->list[i]);
    free(rules->list);
    *rules = (struct rules){};
}

/* ---- which matrices ---- */

static bool contains(const struct ranges *ranges, int number) {
    bool found = ranges->n == 0;

    for (int i = 0; i < ranges->n; i++)
        found |= number >= ranges->list[i].first && number <= ranges->list[i].last;
    return found;
}

/* Is @module a part of the dotted name of @tensor? */
static bool has_module(const struct arch_tensor *tensor, const char *module) {
    size_t n = strlen(module);

    for (const char *at = strstr(tensor->name, module); at; at = strstr(at + 1, module)) {
        if ((at == tensor->name || at[-1] == '.') && (at[n] == '.' || at[n] == '\0'))
            return true;
    }
    return false;
}

static bool is_named(const struct rule *rule, const struct arch_tensor *tensor) {
    bool named = rule->modules == 0;

    for (int i = 0; i < RULE_MODULES_MAX && !named; i++)
        named = (rule->modules >> i & 1) && has_module(tensor, rule_modules[i]);
    return named;
}

static bool fits(const struct rule *rule, const struct arch_tensor *tensor, int layer, int expert) {
    return is_named(rule, tensor) && contains(&rule->layers, layer) &&
           (rule->experts.n == 0 || (expert >= 0 && contains(&rule->experts, expert)));
}

int rules_find(const struct rules *rules, const struct arch_tensor *tensor, int layer, int expert) {
    for (int i = 0; i < rules->n; i++) {
        if (fits(&rules->list[i], tensor, layer, expert))
            return i;
    }
    return -1;
}

unsigned int rule_groups(const struct rule *rule, bool whole) {
    unsigned int some = 0, rest = 0;

    for (int a = 0; a < n_architectures; a++) {
        for (size_t i = 0; i < architectures[a]->n_tensors; i++) {
            const struct arch_tensor *tensor = &architectures[a]->tensors[i];
            bool selected =
                is_named(rule, tensor) && (rule->experts.n == 0 || arch_per_expert(tensor));

            if (tensor->role == ROLE_MATRIX)
                *(selected ? &some : &rest) |= 1u << tensor->group;
        }
    }
    if (!whole)
        return some;
    return rule->layers.n || rule->experts.n ? 0 : some & ~rest;
}

/* ---- as JSON ---- */

static json_t *ranges_to_json(const struct ranges *ranges) {
    cleanup(strbuf_done) struct strbuf text = {};

    for (int i = 0; i < ranges->n; i++) {
        const struct range *range = &ranges->list[i];

        strbuf_printf(&text, "%s%d", i ? "," : "", range->first);
        if (range->last > range->first)
            strbuf_printf(&text, "-%d", range->last);
    }
    return text.failed ? NULL : json_string(text.data);
}

static json_t *modules_to_json(unsigned int set) {
    json_t *list = json_array();

    for (int i = 0; i < RULE_MODULES_MAX; i++) {
        if (set >> i & 1)
            json_array_append_new(list, json_string(rule_modules[i]));
    }
    return list;
}

static json_t *rule_to_json(const struct rule *rule) {
    cleanup(json_decrefp) json_t *object = json_object();

    if ((rule->modules && json_object_set_new(object, "modules", modules_to_json(rule->modules))) ||
        (rule->layers.n && json_object_set_new(object, "layers", ranges_to_json(&rule->layers))) ||
        (rule->experts.n &&
         json_object_set_new(object, "experts", ranges_to_json(&rule->experts))) ||
        (rule->wbits && json_object_set_new(object, "wbits", json_integer(rule->wbits))) ||
        (rule->groupsize &&
         json_object_set_new(object, "groupsize", json_integer(rule->groupsize))) ||
        (rule->sym >= 0 && json_object_set_new(object, "sym", json_boolean(rule->sym))) ||
        (rule->method && json_object_set_new(object, "method", json_string(rule->method->name))))
        return NULL;
    return steal_ptr(object);
}

json_t *rules_to_json(const struct rules *rules) {
    cleanup(json_decrefp) json_t *list = json_array();

    for (int i = 0; i < rules->n; i++) {
        if (json_array_append_new(list, rule_to_json(&rules->list[i])))
            return NULL;
    }
    return steal_ptr(list);
}
