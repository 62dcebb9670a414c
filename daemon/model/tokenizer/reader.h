// SPDX-License-Identifier: Apache-2.0
/* What reads a tokenizer.json: file.c the vocabulary, stages.c what a text goes through before. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "daemon/model/tokenizer/fields.h"

#include <errno.h>

#define TOKENIZER_CODE "tokenizer_invalid"

#define HINT_KIND "use a model with a byte-level BPE tokenizer, as GPT-NeoX, OLMoE and OLMo 2 have"
#define HINT_BROKEN "download the model again, or repair its tokenizer.json"

struct reader {
    struct tokenizer *tokenizer;
    const char *path;
    const json_t *vocab;
    bool ignore_merges;
    bool byte_level; /* the pre_tokenizer has come to its end */
    uint8_t *used;   /* bit map over ids: those of the vocabulary and of added tokens; owned */
    struct failure *failure;
};

#define broken(reader, format, ...)                                                                \
    failure_set((reader)->failure, -EBADMSG, TOKENIZER_CODE, HINT_BROKEN,                          \
                "cannot read tokenizer '%s': " format, (reader)->path, ##__VA_ARGS__)
#define unsupported(reader, format, ...)                                                           \
    failure_set((reader)->failure, -EOPNOTSUPP, TOKENIZER_CODE, HINT_KIND,                         \
                "cannot use tokenizer '%s': " format, (reader)->path, ##__VA_ARGS__)

/* @object[@key] as a boolean; absent or null is @fallback. */
static inline int get_bool(const struct reader *reader, const json_t *object, const char *key,
                           bool fallback, bool *ret_value) {
    const json_t *value = json_object_get(object, key);

    if (value && !json_is_boolean(value) && !json_is_null(value))
        return broken(reader, "'%s' is neither true nor false", key);
    *ret_value = json_is_boolean(value) ? json_is_true(value) : fallback;
    return 0;
}

/* The type of a normalizer and the like; "" when it has none. */
static inline const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));

    return type ? type : "";
}

static inline bool is_set(const json_t *value) {
    return value && !json_is_null(value) && !json_is_false(value);
}
