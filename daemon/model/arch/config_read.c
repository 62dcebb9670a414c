// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/config_read.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "daemon/model/arch/architectures.h"
#include "daemon/model/arch/json_python.h"
#include "daemon/model/arch/scheme.h"
#include "daemon/model/readers/readers.h"

#include <errno.h>

#define CONFIG_BYTES_MAX (1 << 20)
#define QUESTIONS_MAX 1000000 /* expressions times names */
#define ASKING_SECONDS 5.0    /* of this thread: expressions that take longer are refused */
#define HINT "quantd reads OLMoE models (model_type olmoe) in the layout of transformers"

struct config_source {
    const json_t *root; /* the object */
    const char *path;
    struct failure *failure;
};

static int invalid(const struct config_source *source, const char *key, const char *what) {
    return failure_set(source->failure, -EBADMSG, "model_invalid", HINT,
                       "cannot use '%s': '%s' must be %s", source->path, key, what);
}

static int unsupported(const struct config_source *source, const char *key, const char *what) {
    return failure_set(source->failure, -EBADMSG, "model_unsupported", HINT,
                       "cannot use '%s': '%s' must be %s", source->path, key, what);
}

static int read_int(const struct config_source *source, const struct arch_key *key,
                    int *ret_value) {
    const json_t *value = json_object_get(source->root, key->key);

    if (!value) {
        *ret_value = (int)key->fallback;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < key->min ||
        json_integer_value(value) > key->max) {
        char what[64];

        snprintf(what, sizeof(what), "an integer from %.0f to %.0f", key->min, key->max);
        return invalid(source, key->key, what);
    }
    *ret_value = (int)json_integer_value(value);
    return 0;
}

static int read_float(const struct config_source *source, const struct arch_key *key,
                      float *ret_value) {
    const json_t *value = json_object_get(source->root, key->key);
    double number = json_number_value(value);

    if (!value) {
        *ret_value = (float)key->fallback;
        return 0;
    }
    if (!json_is_number(value) || !(number >= key->min && number <= key->max)) {
        char what[64];

        snprintf(what, sizeof(what), "a number from %g to %g", key->min, key->max);
        return invalid(source, key->key, what);
    }
    *ret_value = (float)number;
    return 0;
}

static int read_bool(const struct config_source *source, const char *key, bool *ret_value) {
    const json_t *value = json_object_get(source->root, key);

    if (value && !json_is_null(value) && !json_is_boolean(value))
        return invalid(source, key, "true or false");
    *ret_value = json_is_true(value);
    return 0;
}

/* The row of the table, by model_type, or, in files without one, by the class of the model. */
static int find_architecture(const struct config_source *source, struct model_config *config) {
    const json_t *type = json_object_get(source->root, "model_type");
    const json_t *classes = json_object_get(source->root, "architectures");
    cleanup(strbuf_done) struct strbuf known = {};
    bool has_type = type && !json_is_null(type);

    if (!has_type || json_is_string(type))
        config->arch = architecture_find(json_string_value(type),
                                         json_string_value(json_array_get(classes, 0)));
    if (config->arch)
        return 0;
    for (int i = 0; i < n_architectures; i++)
        strbuf_printf(&known, "%s'%s'", i ? " or " : "", architectures[i]->model_type);
    return failure_set(source->failure, -EBADMSG, "model_unsupported", HINT,
                       "cannot use '%s': model_type is '%.64s', not %s", source->path,
                       json_is_string(type) ? json_string_value(type) : "",
                       known.failed ? "one that is known" : known.data);
}

/* null, or {"rope_type": "default"}, which older files call "type". */
static bool is_no_scaling(const json_t *scaling) {
    const json_t *type = json_object_get(scaling, "rope_type");

    if (!type)
        type = json_object_get(scaling, "type");
    return !scaling || json_is_null(scaling) || str_equal(json_string_value(type), "default");
}

/* The keys that must have the one value that every architecture here computes. */
static int check_architecture(const struct config_source *source) {
    const json_t *act = json_object_get(source->root, "hidden_act");
    const json_t *scaling = json_object_get(source->root, "rope_scaling");
    bool bias = false;
    int r;

    if (act && !str_equal(json_string_value(act), "silu"))
        return unsupported(source, "hidden_act", "'silu'");
    if (!is_no_scaling(scaling))
        return unsupported(source, "rope_scaling", "null, or of the type 'default'");
    r = read_bool(source, "attention_bias", &bias);
    if (r)
        return r;
    return bias ? unsupported(source, "attention_bias", "false") : 0;
}

/* Since version 5 transformers writes rope_theta within rope_parameters; @key is its row. */
static int read_rope_parameters(const struct config_source *source, const struct arch_key *key,
                                float *theta) {
    const json_t *rope = json_object_get(source->root, "rope_parameters");
    const struct config_source inner = {rope, source->path, source->failure};
    const json_t *type = json_object_get(rope, "rope_type");

    if (!rope || json_is_null(rope))
        return 0;
    if (!json_is_object(rope))
        return invalid(source, "rope_parameters", "an object");
    if (type && !str_equal(json_string_value(type), "default"))
        return unsupported(source, "rope_type", "'default'");
    return json_object_get(rope, key->key) ? read_float(&inner, key, theta) : 0;
}

/* @key is there and not null. */
static bool is_given(const struct config_source *source, const char *key) {
    const json_t *value = json_object_get(source->root, key);

    return value && !json_is_null(value);
}

/* The numbers of the architecture's table. */
static int read_table(const struct config_source *source, struct model_config *config) {
    const struct arch *arch = config->arch;
    int r = 0;

    for (size_t i = 0; i < arch->n_ints && !r; i++)
        r = read_int(source, &arch->ints[i], (int *)((char *)config + arch->ints[i].offset));
    for (size_t i = 0; i < arch->n_floats && !r; i++) {
        const struct arch_key *key = &arch->floats[i];
        float *value = (float *)((char *)config + key->offset);

        r = read_float(source, key, value);
        if (!r && value == &config->rope_theta)
            r = read_rope_parameters(source, key, value);
    }
    return r;
}

static int read_numbers(const struct config_source *source, struct model_config *config) {
    static const struct arch_key clip_key = {"clip_qkv", 0, 1e-6, 1e6, 0};
    int r = read_table(source, config);

    if (r)
        return r;
    config->num_key_value_heads = config->num_attention_heads;
    if (is_given(source, "num_key_value_heads")) {
        const struct arch_key kv_key = {"num_key_value_heads", 0, 1, config->num_attention_heads,
                                        0};

        r = read_int(source, &kv_key, &config->num_key_value_heads);
    }
    if (!r && is_given(source, clip_key.key))
        r = read_float(source, &clip_key, &config->clip_qkv);
    return r;
}

static int check_geometry(const struct config_source *source, struct model_config *config) {
    static const struct arch_key head_dim_key = {"head_dim", 0, 1, 1 << 16, 0};
    int given, r;

    if (config->hidden_size % config->num_attention_heads)
        return invalid(source, "num_attention_heads", "a divisor of hidden_size");
    if (config->num_attention_heads % config->num_key_value_heads)
        return invalid(source, "num_key_value_heads", "a divisor of num_attention_heads");
    if (config->num_experts_per_tok > config->num_experts)
        return invalid(source, "num_experts_per_tok", "at most num_experts");
    config->head_dim = config->hidden_size / config->num_attention_heads;
    if (config->head_dim % 2)
        return invalid(source, "hidden_size", "an even multiple of num_attention_heads");
    if (!is_given(source, "head_dim"))
        return 0;
    r = read_int(source, &head_dim_key, &given);
    if (r)
        return r;
    return given == config->head_dim
               ? 0
               : unsupported(source, "head_dim", "hidden_size / num_attention_heads");
}

/* ---- matrices that differ ---- */

struct naming {
    const struct model_config *config;
    const struct overrides *overrides;
    bool odd_group; /* a groupsize does not divide the in-features of its matrix */
    double until;   /* on the clock of this thread's processor time */
};

static int find_scheme(void *ctx, const struct arch_tensor *t, int layer, int expert,
                       struct scheme *scheme) {
    struct naming *naming = ctx;
    const struct scheme *found;
    char name[MATRIX_NAME_SIZE];
    int r;

    if (clock_thread() > naming->until)
        return -EINVAL;
    arch_name(t->name, layer, expert, name);
    r = overrides_find(naming->overrides, name, &found);
    if (r)
        return r;
    if (found)
        *scheme = *found;
    if (scheme->wbits == SCHEME_PLAIN || scheme->groupsize == -1 ||
        arch_dim(naming->config, t->columns) % scheme->groupsize == 0)
        return 0;
    naming->odd_group = true;
    return -EINVAL;
}

/* Asks @overrides for each matrix. */
static int read_schemes(const char *path, const struct overrides *overrides,
                        const struct config_source *source, struct model_config *config) {
    const struct quantization_config *q = &config->quantization;
    const struct scheme base = {q->wbits, q->groupsize, q->sym, q->desc_act, NULL, q->sub_bits};
    struct naming naming = {config, overrides, false, clock_thread() + ASKING_SECONDS};
    int r = overrides->n > QUESTIONS_MAX / schemes_count(config)
                ? -EINVAL
                : schemes_make(config, &base, find_scheme, &naming, &config->quantization.schemes);

    if (!r)
        return 0;
    if (r == -ENOMEM)
        return failure_oom(source->failure);
    return failure_set(
        source->failure, -EBADMSG, naming.odd_group ? "model_invalid" : "model_unsupported",
        "fetch the model again, or one with simpler rules", "cannot use '%s': %s", path,
        naming.odd_group ? "a group size of its quantization does not divide the in-features of "
                           "its matrix"
                         : "its quantization has too many rules or schemes, or expressions that "
                           "take too long");
}

static int parse_quantization(const json_t *value, const char *path, bool needs_method,
                              const struct config_source *source, struct model_config *config) {
    const int in_features[] = {config->hidden_size, config->intermediate_size};
    cleanup(overrides_done) struct overrides overrides = {};
    const struct quantization_source quantization = {
        value,      path,           needs_method, in_features, ARRAY_SIZE(in_features),
        &overrides, source->failure};
    int r = quantization_config_parse(&quantization, &config->quantization);

    return r || overrides.n == 0 ? r : read_schemes(path, &overrides, source, config);
}

static int read_quantization(const char *beneath, const char *dir,
                             const struct config_source *source, struct model_config *config) {
    const json_t *value = json_object_get(source->root, "quantization_config");
    cleanup(json_decrefp) json_t *own = NULL;
    cleanup(freep) char *path = NULL;
    int r;

    if (value && !json_is_null(value))
        return parse_quantization(value, source->path, true, source, config);

    path = str_format("%s/quantize_config.json", dir);
    if (!path)
        return failure_oom(source->failure);
    r = json_parse_python(beneath, path, CONFIG_BYTES_MAX, "model_invalid", &own, source->failure);
    if (r == -ENOENT) {
        if (source->failure)
            *source->failure = (struct failure){};
        return 0;
    }
    return r ? r : parse_quantization(own, path, false, source, config);
}

/* All but the quantization. */
static int read_plain(const struct config_source *source, struct model_config *config) {
    int r;

    if (!json_is_object(source->root))
        return invalid(source, "config.json", "an object");
    r = find_architecture(source, config);
    if (!r)
        r = check_architecture(source);
    if (!r)
        r = read_numbers(source, config);
    if (!r)
        r = read_bool(source, "norm_topk_prob", &config->norm_topk_prob);
    if (!r)
        r = read_bool(source, "tie_word_embeddings", &config->tie_word_embeddings);
    return r ? r : check_geometry(source, config);
}

int model_config_from_json(const json_t *object, const char *path, struct model_config *ret_config,
                           struct failure *failure) {
    struct model_config config = {};
    int r = read_plain(&(struct config_source){object, path, failure}, &config);

    if (!r)
        *ret_config = config;
    return r;
}

int model_config_read(const char *root, const char *dir, struct model_config *ret_config,
                      struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/config.json", dir);
    cleanup(json_decrefp) json_t *object = NULL;
    cleanup(model_config_done) struct model_config config = {};
    int r;

    if (!path)
        return failure_oom(failure);
    r = json_parse_python(root, path, CONFIG_BYTES_MAX, "model_invalid", &object, failure);
    if (r == -ENOENT)
        return failure_set(failure, r, "model_incomplete", HINT, "model '%s' has no config.json",
                           dir);
    if (r)
        return r;
    r = read_plain(&(struct config_source){object, path, failure}, &config);
    if (!r)
        r = read_quantization(root, dir, &(struct config_source){object, path, failure}, &config);
    if (r)
        return r;
    *ret_config = config;
    config.quantization.schemes = NULL;
    return 0;
}
