// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/dynamic.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "daemon/model/readers/gptq_config.h"

#include <stdlib.h>
#include <string.h>

#define LAYER "{layer}"
#define EXPERT "{expert}"

/* What expressions are made for: the matrices of a scheme. */
struct patterns {
    const struct model_config *config;
    const struct quantization_config *q;
    const struct scheme *scheme;
};

/* Are matrices of both kept alike, whatever method made them? */
static bool alike(const struct scheme *a, const struct scheme *b) {
    struct scheme one = *a, other = *b;

    one.method = other.method = NULL;
    return scheme_equal(&one, &other);
}

static void escape(struct strbuf *text, const char *name, size_t size) {
    for (size_t i = 0; i < size; i++)
        strbuf_printf(text, name[i] == '.' ? "\\." : "%c", name[i]);
}

/* Are all matrices of @groups in @layer of the scheme? */
static bool has_all(const struct patterns *p, unsigned int groups, int layer) {
    bool all = true;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        if (!(groups >> i & 1))
            continue;
        group_shape(p->config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts && all; j++)
            all = alike(scheme_of_part(p->config, p->q, layer, &shape, j / shape.n_parts,
                                       j % shape.n_parts),
                        p->scheme);
    }
    return all;
}

/* "(1|5|9)", or any number, for the experts of @t in @layer; false: none is of the scheme. */
static bool put_experts(const struct patterns *p, const struct arch_tensor *t, int layer,
                        struct strbuf *text) {
    cleanup(strbuf_done) struct strbuf list = {};
    int n = 0;

    for (int i = 0; i < p->config->num_experts; i++) {
        if (alike(scheme_of(p->config, p->q, t, layer, i), p->scheme))
            strbuf_printf(&list, "%s%d", n++ ? "|" : "", i);
    }
    if (n == p->config->num_experts)
        strbuf_puts(text, "\\d+");
    else if (n > 0)
        strbuf_printf(text, n > 1 ? "(%s)" : "%s", list.data ? list.data : "");
    text->failed |= list.failed;
    return n > 0;
}

/* The name of @t behind its layer, for all its experts that are of the scheme; "": none is. */
static char *module_pattern(const struct patterns *p, const struct arch_tensor *t, int layer) {
    const char *name = strstr(t->name, LAYER) + strlen(LAYER) + 1;
    const char *expert = strstr(name, EXPERT);
    struct strbuf text = {};
    bool any = true;

    if (!expert) {
        any = alike(scheme_of(p->config, p->q, t, layer, -1), p->scheme);
        escape(&text, name, strlen(name));
    } else {
        escape(&text, name, (size_t)(expert - name));
        any = put_experts(p, t, layer, &text);
        escape(&text, expert + strlen(EXPERT), strlen(expert + strlen(EXPERT)));
    }
    if (!any && text.data)
        text.data[0] = '\0';
    return strbuf_steal(&text);
}

/*
 * Alternatives for the matrices of the scheme in @layer. Where a loader holds some of them in one
 * module, its name is there too, or, when it begins all of theirs, alone.
 */
static json_t *layer_patterns(const struct patterns *p, int layer) {
    const struct arch *arch = p->config->arch;
    cleanup(json_decrefp) json_t *list = json_array();
    unsigned int covered = 0;

    for (size_t i = 0; i < arch->n_merged; i++) {
        const struct arch_merged *merged = &arch->merged[i];
        cleanup(strbuf_done) struct strbuf text = {};

        if (!has_all(p, merged->groups, layer))
            continue;
        covered |= merged->is_prefix ? merged->groups : 0;
        escape(&text, merged->name, strlen(merged->name));
        if (text.failed || json_array_append_new(list, json_string(text.data)))
            return NULL;
    }
    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *t = &arch->tensors[i];
        cleanup(freep) char *module = NULL;

        if (t->role != ROLE_MATRIX || (covered >> t->group & 1))
            continue;
        module = module_pattern(p, t, layer);
        if (!module || (module[0] && json_array_append_new(list, json_string(module))))
            return NULL;
    }
    return steal_ptr(list);
}

/* Adds @layer to the layers of each of its alternatives in @modules: {alternative: [layer]}. */
static int note_layer(const struct patterns *p, int layer, json_t *modules) {
    cleanup(json_decrefp) json_t *list = layer_patterns(p, layer);
    json_t *module;
    size_t i;

    json_array_foreach(list, i, module) {
        json_t *layers = json_object_get(modules, json_string_value(module));

        if (!layers) {
            layers = json_array();
            if (json_object_set_new(modules, json_string_value(module), layers))
                return -1;
        }
        if (json_array_append_new(layers, json_integer(layer)))
            return -1;
    }
    return list ? 0 : -1;
}

/* "model\.layers\.(0|1|2)\." and @module, with all layers as any number. */
static json_t *whole_pattern(const struct patterns *p, const char *modules, const json_t *layers) {
    const struct arch_tensor *t = p->config->arch->tensors;
    cleanup(strbuf_done) struct strbuf text = {};
    const char *at;

    while (t->role != ROLE_MATRIX)
        t++;
    at = strstr(t->name, LAYER);
    escape(&text, t->name, (size_t)(at - t->name));
    if ((int)json_array_size(layers) == p->config->num_hidden_layers) {
        strbuf_puts(&text, "\\d+");
    } else {
        size_t n = json_array_size(layers);

        for (size_t i = 0; i < n; i++)
            strbuf_printf(&text, "%s%d",
                          i       ? "|"
                          : n > 1 ? "("
                                  : "",
                          (int)json_integer_value(json_array_get(layers, i)));
        strbuf_puts(&text, n > 1 ? ")" : "");
    }
    strbuf_printf(&text, "\\.%s", modules);
    return text.failed ? NULL : json_string(text.data);
}

/* Alternatives with the same layers become one expression. */
static int join_modules(const struct patterns *p, json_t *modules, json_t *patterns) {
    const char *module, *other;
    json_t *layers, *same;

    json_object_foreach(modules, module, layers) {
        cleanup(strbuf_done) struct strbuf text = {};
        json_t *pattern;
        int n = 0;

        if (json_array_size(layers) == 0)
            continue;
        json_object_foreach(modules, other, same) {
            if (json_equal(same, layers))
                strbuf_printf(&text, "%s%s", n++ ? "|" : "(", other);
        }
        strbuf_puts(&text, ")");
        if (text.failed)
            return -1;
        pattern = whole_pattern(p, n > 1 ? text.data : module, layers);
        if (json_array_append_new(patterns, pattern))
            return -1;
        json_object_foreach(modules, other, same) {
            if (same != layers && json_equal(same, layers))
                json_array_clear(same);
        }
        json_array_clear(layers);
    }
    return 0;
}

bool scheme_is_new(const struct quantization_config *q, int i) {
    for (int j = 0; j < i; j++) {
        if (alike(&q->schemes->list[j], &q->schemes->list[i]))
            return false;
    }
    return true;
}

json_t *scheme_patterns(const struct model_config *config, const struct quantization_config *q,
                        int i) {
    const struct patterns p = {config, q, &q->schemes->list[i]};
    cleanup(json_decrefp) json_t *modules = json_object(), *patterns = json_array();

    for (int layer = 0; layer < config->num_hidden_layers; layer++) {
        if (!modules || note_layer(&p, layer, modules))
            return NULL;
    }
    return patterns && !join_modules(&p, modules, patterns) ? steal_ptr(patterns) : NULL;
}

/* What a rule says beyond the rest of the configuration. */
static json_t *rule_of(const struct quantization_config *q, const struct scheme *scheme) {
    json_t *rule = json_pack("{s:i s:i s:b}", "bits", scheme->wbits, "group_size",
                             scheme->groupsize, "sym", scheme->sym);

    if (rule && scheme->desc_act != q->desc_act)
        json_object_set_new(rule, "desc_act", json_boolean(scheme->desc_act));
    if (rule && scheme->sub_bits)
        json_object_set_new(rule, NEUTRAL_SUB_BITS, json_integer(scheme->sub_bits));
    return rule;
}

json_t *dynamic_rules(const struct model_config *config, const struct quantization_config *q) {
    cleanup(json_decrefp) json_t *rules = json_object();

    for (int i = 1; i < q->schemes->n; i++) {
        const struct scheme *scheme = &q->schemes->list[i];
        cleanup(json_decrefp) json_t *patterns = scheme_patterns(config, q, i);
        bool plain = scheme->wbits == SCHEME_PLAIN;
        json_t *pattern;
        size_t j;

        if (!patterns)
            return NULL;
        if (!scheme_is_new(q, i))
            continue;
        json_array_foreach(patterns, j, pattern) {
            cleanup(freep) char *name =
                str_format("%s%s", plain ? "-:" : "", json_string_value(pattern));
            json_t *rule = plain ? json_object() : rule_of(q, scheme);

            if (!name || json_object_set_new(rules, name, rule))
                return NULL;
        }
    }
    return steal_ptr(rules);
}
