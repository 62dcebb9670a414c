// SPDX-License-Identifier: Apache-2.0
/*
 * The keys of a GGUF file: geometry, and the tokenizer, as llama.cpp reads them
 * (docs/gguf.md of ggml; conversion/olmo.py and gguf-py of llama.cpp).
 */
#pragma once

#include "base/failure.h"
#include "base/str.h"
#include "daemon/model/arch/config.h"
#include "daemon/model/gguf/spec.h"
#include "daemon/pipeline/formats/gguf/blocks.h"

struct gguf_keys {
    struct strbuf bytes; /* of all keys, one after the other; owned */
    uint64_t n;
};

void gguf_keys_done(struct gguf_keys *keys);

/* gguf_put() - append @value in @bytes bytes, the lowest first. */
void gguf_put(struct strbuf *to, uint64_t value, int bytes);

/* gguf_put_string() - append @size bytes, after their number. */
void gguf_put_string(struct strbuf *to, const char *text, size_t size);

/* gguf_put_key() and its like - append a key with a value of its type. */
void gguf_put_u32(struct gguf_keys *keys, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_keys *keys, const char *key, float value);
void gguf_put_bool(struct gguf_keys *keys, const char *key, bool value);
void gguf_put_text(struct gguf_keys *keys, const char *key, const char *text);

/* gguf_put_array() - the key of an array of @n elements, which the caller appends. */
void gguf_put_array(struct gguf_keys *keys, const char *key, enum gguf_value type, uint64_t n);

/* gguf_put_model() - what llama.cpp needs of @config; @type: what most matrices are in. */
void gguf_put_model(struct gguf_keys *keys, const struct model_config *config,
                    const struct ggml_type *type);

/*
 * gguf_put_tokenizer() - the tokenizer of the model folder @dir, opened as by file_open_in(), and
 * its ids in config.json.
 * @keys NULL: only look whether llama.cpp could do as it says.
 * Return: 0; -EINVAL or -EBADMSG (model_unsupported, model_invalid, tokenizer_invalid); or -errno.
 * Any thread.
 */
int gguf_put_tokenizer(struct gguf_keys *keys, const char *root, const char *dir,
                       const struct model_config *config, struct failure *failure);
