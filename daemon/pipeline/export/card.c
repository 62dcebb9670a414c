// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/card.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/params/param.h"

#include <string.h>

/* Letters of a hub's "org/name", which needs no escapes anywhere. */
#define HUB_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./"

/* Bytes of "org/name" in "org/name[@revision]"; 0: @model is none of a hub. */
static size_t hub_name_size(const char *model) {
    size_t size = strcspn(model, "@");
    const char *slash = memchr(model, '/', size);

    if (!slash || slash == model || slash + 1 == model + size || strspn(model, HUB_LETTERS) < size)
        return 0;
    return memchr(slash + 1, '/', size - (slash + 1 - model)) ? 0 : size;
}

/* @text in a cell of a table, where it ends neither the cell nor the line and marks nothing up. */
static void put_cell(struct strbuf *card, const char *text) {
    for (; *text; text++) {
        if (strchr("|\\`*_[]<>~#", *text))
            strbuf_puts(card, "\\");
        strbuf_append(card, (unsigned char)*text < ' ' ? " " : text, 1);
    }
}

static void put_license(struct strbuf *card, const struct license *license) {
    if (license->id[0])
        strbuf_printf(card, "license: %s\n", license->id);
    if (license->name[0])
        strbuf_printf(card, "license_name: %s\n", license->name);
    if (license->link[0])
        strbuf_printf(card, "license_link: %s\n", license->link);
}

/* What hubs read. */
static void put_head(struct strbuf *card, const char *model, const struct params *params,
                     const struct license *license) {
    size_t size = hub_name_size(model);
    bool one_file = params->format->container != NULL;

    strbuf_puts(card, "---\n");
    if (size)
        strbuf_printf(card, "base_model: %.*s\nbase_model_relation: quantized\n", (int)size, model);
    put_license(card, license);
    if (!one_file)
        strbuf_puts(card, "library_name: transformers\n");
    strbuf_printf(card, "pipeline_tag: text-generation\ntags:\n- quantd\n- olmoe\n- %s\n- %d-bit\n",
                  params->format->name, params->wbits);
    strbuf_puts(card, "---\n\n");
}

static void put_intro(struct strbuf *card, const json_t *quantd, const char *model,
                      const struct params *params) {
    const char *version = json_string_value(json_object_get(quantd, "quantd"));
    size_t size = hub_name_size(model);

    strbuf_puts(card, "# ");
    put_cell(card, model);
    strbuf_printf(card, ", %d bits\n\n", params->wbits);
    if (size)
        strbuf_printf(card, "[%.*s](https://huggingface.co/%.*s)", (int)size, model, (int)size,
                      model);
    else
        put_cell(card, model);
    strbuf_printf(card,
                  " in the format %s (%s), by quantd %s.\nEmbedding, head, norms and routers are "
                  "those of the original. The licence is that of the original.\n\n",
                  params->format->name, params->format->title, version ? version : "");
}

/* A parameter as a person writes it; NULL when it says nothing. The caller owns it. */
static char *value_text(const json_t *value) {
    if (!value || json_is_null(value) || json_is_false(value) || json_is_array(value))
        return NULL;
    if (json_is_string(value))
        return strdup(json_string_value(value));
    return json_is_true(value) ? strdup("yes")
                               : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
}

static void put_parameters(struct strbuf *card, const json_t *params) {
    const struct param *param;

    strbuf_puts(card, "| parameter | value |\n|---|---|\n");
    for (size_t i = 0; (param = param_at(i)); i++) {
        cleanup(freep) char *text = value_text(json_object_get(params, param->name));

        if (!text || !strcmp(param->name, "model"))
            continue;
        strbuf_printf(card, "| `%s` | ", param->name);
        put_cell(card, text);
        strbuf_puts(card, " |\n");
    }
    strbuf_puts(card, "\n");
}

static void put_figures(struct strbuf *card, const json_t *quantd) {
    const json_t *perplexity = json_object_get(quantd, "perplexity");
    const char *set;
    json_t *figure;

    if (!json_object_size(perplexity))
        return;
    strbuf_puts(card, "| text | perplexity | standard error | tokens |\n|---|---:|---:|---:|\n");
    json_object_foreach((json_t *)perplexity, set, figure) {
        strbuf_puts(card, "| ");
        put_cell(card, set);
        strbuf_printf(card, " | %.4f | %.4f | %" JSON_INTEGER_FORMAT " |\n",
                      json_number_value(json_object_get(figure, "value")),
                      json_number_value(json_object_get(figure, "stderr")),
                      json_integer_value(json_object_get(figure, "tokens")));
    }
    strbuf_puts(card,
                "\nMeasured on whole windows, every prediction counted; `quantd.json` has all "
                "parameters,\nhashes of the texts and the error of every matrix.\n\n");
}

/* Only what reads this very checkpoint. */
static void put_usage(struct strbuf *card, const struct params *params,
                      const struct quantization_config *q, const struct model_config *config) {
    strbuf_puts(card, "## Use\n");
    if (params->format->usage)
        strbuf_printf(card, "\n%s", params->format->usage);
    for (size_t i = 0; i < n_engines; i++) {
        struct failure unread = {};

        if (!engine_check(engines[i], params->format, q, config, &unread))
            strbuf_printf(card, "\n%s", engines[i]->usage);
    }
}

int card_new(const json_t *quantd, const struct params *params, const struct quantization_config *q,
             const struct model_config *config, const struct license *license, char **ret_text,
             struct failure *failure) {
    const char *model =
        json_string_value(json_object_get(json_object_get(quantd, "params"), "model"));
    struct strbuf card = {};

    if (!model)
        model = params->model;
    put_head(&card, model, params, license);
    put_intro(&card, quantd, model, params);
    put_parameters(&card, json_object_get(quantd, "params"));
    put_figures(&card, quantd);
    put_usage(&card, params, q, config);
    *ret_text = strbuf_steal(&card);
    return *ret_text ? 0 : failure_oom(failure);
}
