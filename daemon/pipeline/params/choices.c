// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/choices.h"

#include "daemon/pipeline/engines/engine.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/params/k_types.h"
#include "daemon/pipeline/params/params.h"
#include "daemon/pipeline/params/presets.h"

static const char *method_name(size_t i) {
    return i < n_methods ? methods[i]->name : NULL;
}

static const char *method_title(size_t i) {
    return methods[i]->title;
}

static void set_method(struct params *params, size_t i) {
    params->method = methods[i];
}

static const char *get_method(const struct params *params) {
    return params->method->name;
}

const struct param_choice method_choice = {method_name, method_title, set_method, get_method};

static const char *grid_name(size_t i) {
    static const char *const names[] = {
        [GRID_MINMAX] = "minmax", [GRID_MSE] = "mse", [GRID_HESSIAN] = "hessian"};

    return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *grid_title(size_t i) {
    static const char *const titles[] = {
        [GRID_MINMAX] = "from the least to the largest weight",
        [GRID_MSE] = "the range with the least error",
        [GRID_HESSIAN] = "the range with the least error of the outputs",
    };

    return titles[i];
}

static void set_grid(struct params *params, size_t i) {
    params->grid = i;
}

static const char *get_grid(const struct params *params) {
    return grid_name(params->grid);
}

const struct param_choice grid_choice = {grid_name, grid_title, set_grid, get_grid};

static const char *format_name(size_t i) {
    return i < (size_t)n_formats ? formats[i]->name : NULL;
}

static const char *format_title(size_t i) {
    return formats[i]->title;
}

static void set_format(struct params *params, size_t i) {
    params->format = formats[i];
}

static const char *get_format(const struct params *params) {
    return params->format->name;
}

const struct param_choice format_choice = {format_name, format_title, set_format, get_format};

static const char *embedding_name(size_t i) {
    static const char *const names[] = {
        [GGUF_EMBEDDING_BF16] = "bf16", [GGUF_EMBEDDING_Q8_0] = "q8_0"};

    return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *embedding_title(size_t i) {
    static const char *const titles[] = {
        [GGUF_EMBEDDING_BF16] = "16 bits, as they are",
        [GGUF_EMBEDDING_Q8_0] = "8.5 bits, rounded to nearest",
    };

    return titles[i];
}

static void set_embedding(struct params *params, size_t i) {
    params->gguf_embedding = i;
}

static const char *get_embedding(const struct params *params) {
    return embedding_name(params->gguf_embedding);
}

const struct param_choice embedding_choice = {embedding_name, embedding_title, set_embedding,
                                              get_embedding};

static const char *k_type_name(size_t i) {
    return i < n_k_types ? k_types[i].name : NULL;
}

static const char *k_type_title(size_t i) {
    return k_types[i].title;
}

static void set_k_type(struct params *params, size_t i) {
    params->gguf_type = &k_types[i];
}

static const char *get_k_type(const struct params *params) {
    return params->gguf_type ? params->gguf_type->name : NULL;
}

const struct param_choice k_type_choice = {k_type_name, k_type_title, set_k_type, get_k_type};

static const char *engine_name(size_t i) {
    return i < n_engines ? engines[i]->name : NULL;
}

static const char *engine_title(size_t i) {
    return engines[i]->title;
}

static void set_engine(struct params *params, size_t i) {
    params->engine = engines[i];
}

static const char *get_engine(const struct params *params) {
    return params->engine ? params->engine->name : NULL;
}

const struct param_choice engine_choice = {engine_name, engine_title, set_engine, get_engine};

static const char *preset_name(size_t i) {
    return i < n_presets ? presets[i].name : NULL;
}

static const char *preset_title(size_t i) {
    return presets[i].title;
}

static void set_preset(struct params *params, size_t i) {
    params->preset = &presets[i];
}

static const char *get_preset(const struct params *params) {
    return params->preset ? params->preset->name : NULL;
}

const struct param_choice preset_choice = {preset_name, preset_title, set_preset, get_preset};

static const char *unit_name(size_t i) {
    static const char *const names[] = {
        [TARGET_MODULE] = "module", [TARGET_KIND] = "kind", [TARGET_EXPERT] = "expert"};

    return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *unit_title(size_t i) {
    static const char *const titles[] = {
        [TARGET_MODULE] = "what loaders hold in one module is alike",
        [TARGET_KIND] = "each kind of matrix of a layer by itself",
        [TARGET_EXPERT] = "each expert by itself, too",
    };

    return titles[i];
}

static void set_unit(struct params *params, size_t i) {
    params->target_unit = i;
}

static const char *get_unit(const struct params *params) {
    return unit_name(params->target_unit);
}

const struct param_choice unit_choice = {unit_name, unit_title, set_unit, get_unit};
