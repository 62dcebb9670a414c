// SPDX-License-Identifier: Apache-2.0
/*
 * The tokenizer of a GGUF file, from tokenizer.json. llama.cpp knows no patterns: it has a list of
 * tokenizers by name. `olmo` splits a text as ByteLevel does by itself; others are refused.
 */
#include "daemon/pipeline/formats/gguf/keys.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "daemon/model/arch/json_python.h"
#include "daemon/model/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX ((size_t)64 << 20)

struct token {
    const char *text; /* borrowed; NULL: none */
    size_t size;
    enum gguf_token type;
};

struct tokens {
    struct token *tokens; /* [n]; owned */
    int n;                /* of the embedding's rows */
    const char *path;
    struct failure *failure;
};

static int unsupported(const struct tokens *tokens, const char *what) {
    return failure_set(tokens->failure, -EINVAL, "model_unsupported", "take another format",
                       "gguf cannot hold the tokenizer '%s': %s", tokens->path, what);
}

static int broken(const struct tokens *tokens, const char *what) {
    return failure_set(tokens->failure, -EBADMSG, "tokenizer_invalid",
                       "fetch the model again, or repair its tokenizer.json",
                       "cannot use tokenizer '%s': %s", tokens->path, what);
}

/* ---- what llama.cpp can do ---- */

static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));

    return type ? type : "";
}

/* The only member of a Sequence, or the stage itself. */
static const json_t *only(const json_t *stage, const char *members) {
    const json_t *list = json_object_get(stage, members);

    return str_equal(type_of(stage), "Sequence") && json_array_size(list) == 1
               ? json_array_get(list, 0)
               : stage;
}

/* llama.cpp does not normalize: it reads text in form C, as most is, in the same way. */
static int check_stages(const struct tokens *tokens, const json_t *root) {
    const json_t *split = only(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    const json_t *normalizer = only(json_object_get(root, "normalizer"), "normalizers");
    const json_t *model = json_object_get(root, "model");

    if (!str_equal(type_of(split), "ByteLevel") ||
        json_is_false(json_object_get(split, "use_regex")) ||
        json_is_true(json_object_get(split, "add_prefix_space")))
        return unsupported(tokens, "llama.cpp would split its words in another way");
    if (json_is_object(normalizer) && !str_equal(type_of(normalizer), "NFC"))
        return unsupported(tokens, "llama.cpp does not normalize text");
    if (json_is_true(json_object_get(model, "ignore_merges")))
        return unsupported(tokens, "llama.cpp would apply the merges that it ignores");
    return 0;
}

/* ---- tokens ---- */

static int put_token(struct tokens *tokens, const json_t *id, const char *text, size_t size,
                     enum gguf_token type) {
    json_int_t number = json_integer_value(id);
    struct token *token;

    if (!json_is_integer(id) || number < 0 || number >= tokens->n)
        return broken(tokens, "a token has an id without a row in the embedding");
    token = &tokens->tokens[number];
    if (token->text && (type == GGUF_TOKEN_NORMAL || token->type != GGUF_TOKEN_NORMAL))
        return broken(tokens, "two tokens have the same id");
    *token = (struct token){text, size, type};
    return 0;
}

static int collect(struct tokens *tokens, const json_t *root) {
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab"), *value;
    const json_t *added = json_object_get(root, "added_tokens"), *token;
    const char *text;
    size_t i;
    int r = 0;

    json_object_foreach(vocab, text, value) {
        r = put_token(tokens, value, text, strlen(text), GGUF_TOKEN_NORMAL);
        if (r)
            return r;
    }
    json_array_foreach(added, i, token) {
        const json_t *content = json_object_get(token, "content");
        bool special = json_is_true(json_object_get(token, "special"));

        if (!json_is_string(content))
            return broken(tokens, "an added token has no text");
        r = put_token(tokens, json_object_get(token, "id"), json_string_value(content),
                      json_string_length(content), special ? GGUF_TOKEN_CONTROL : GGUF_TOKEN_USER);
        if (r)
            return r;
    }
    return 0;
}

static int put_tokens(struct gguf_keys *keys, const struct tokens *tokens) {
    struct strbuf *to = &keys->bytes;

    gguf_put_array(keys, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)tokens->n);
    for (int i = 0; i < tokens->n; i++) {
        const struct token *token = &tokens->tokens[i];
        char unused[32];

        snprintf(unused, sizeof(unused), "[PAD%d]", i);
        gguf_put_string(to, token->text ? token->text : unused,
                        token->text ? token->size : strlen(unused));
    }
    gguf_put_array(keys, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)tokens->n);
    for (int i = 0; i < tokens->n; i++)
        gguf_put(to, tokens->tokens[i].text ? tokens->tokens[i].type : GGUF_TOKEN_UNUSED, 4);
    return to->failed ? failure_oom(tokens->failure) : 0;
}

/* ---- merges: "a b" ---- */

/* The first line of a merges.txt, which old files carry over. */
static bool is_version(const json_t *merges, size_t i) {
    const char *text = json_string_value(json_array_get(merges, i));

    return i == 0 && text && str_has_prefix(text, "#version");
}

static int put_merge(struct gguf_keys *keys, const struct tokens *tokens, const json_t *merge) {
    const char *left = json_string_value(json_array_get(merge, 0));
    const char *right = json_string_value(json_array_get(merge, 1));
    const char *text = json_string_value(merge);
    struct strbuf *to = &keys->bytes;

    if (text) {
        gguf_put_string(to, text, strlen(text));
        return 0;
    }
    if (!left || !right)
        return broken(tokens, "a merge is not a pair of tokens");
    if (strchr(left, ' ') || strchr(right, ' '))
        return unsupported(tokens, "a merge has a token with a space");
    gguf_put(to, strlen(left) + 1 + strlen(right), 8);
    strbuf_puts(to, left);
    strbuf_puts(to, " ");
    strbuf_puts(to, right);
    return 0;
}

static int put_merges(struct gguf_keys *keys, const struct tokens *tokens, const json_t *root) {
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    size_t first = is_version(merges, 0), n = json_array_size(merges);
    int r = 0;

    gguf_put_array(keys, "tokenizer.ggml.merges", GGUF_STRING, n - first);
    for (size_t i = first; i < n && !r; i++)
        r = put_merge(keys, tokens, json_array_get(merges, i));
    return r ? r : keys->bytes.failed ? failure_oom(tokens->failure) : 0;
}

/* ---- what else belongs to a tokenizer ---- */

/* The id that config.json gives for @name, the first where it gives several. */
static void put_id(struct gguf_keys *keys, const struct tokens *tokens, const json_t *config,
                   const char *name, const char *key) {
    const json_t *id = json_object_get(config, name);

    if (json_is_array(id))
        id = json_array_get(id, 0);
    if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < tokens->n)
        gguf_put_u32(keys, key, (uint32_t)json_integer_value(id));
}

static int put_ids(struct gguf_keys *keys, const struct tokens *tokens, const char *root,
                   const char *dir) {
    cleanup(freep) char *path = str_format("%s/config.json", dir);
    cleanup(json_decrefp) json_t *config = NULL;
    int r = path
                ? json_parse_python(root, path, JSON_MAX, "model_invalid", &config, tokens->failure)
                : failure_oom(tokens->failure);

    if (r)
        return r;
    put_id(keys, tokens, config, "bos_token_id", "tokenizer.ggml.bos_token_id");
    put_id(keys, tokens, config, "eos_token_id", "tokenizer.ggml.eos_token_id");
    put_id(keys, tokens, config, "pad_token_id", "tokenizer.ggml.padding_token_id");
    gguf_put_bool(keys, "tokenizer.ggml.add_bos_token", false);
    gguf_put_bool(keys, "tokenizer.ggml.add_eos_token", false);
    return 0;
}

/* It is in a file of its own since transformers 4.50, in tokenizer_config.json before. */
static int put_chat_template(struct gguf_keys *keys, const struct tokens *tokens, const char *root,
                             const char *dir) {
    cleanup(freep) char *file = str_format("%s/chat_template.jinja", dir);
    cleanup(freep) char *path = str_format("%s/tokenizer_config.json", dir);
    cleanup(json_decrefp) json_t *config = NULL;
    cleanup(freep) char *text = NULL;
    struct failure why = {};
    const char *template;
    size_t size = 0;
    int r;

    if (!file || !path)
        return failure_oom(tokens->failure);
    r = file_read_in(root, file, JSON_MAX, &text, &size);
    if (r && r != -ENOENT)
        return failure_open(tokens->failure, r, "cannot read", file);
    if (r)
        r = json_parse_python(root, path, JSON_MAX, "model_invalid", &config, &why);
    if (r && r != -ENOENT) {
        *tokens->failure = why;
        return r;
    }
    template = text ? text : json_string_value(json_object_get(config, "chat_template"));
    if (template && str_utf8_length(template, strlen(template)) == strlen(template))
        gguf_put_text(keys, "tokenizer.chat_template", template);
    return 0;
}

/* ---- all of it ---- */

static int put_all(struct gguf_keys *keys, const struct tokens *tokens, const json_t *object,
                   const char *root, const char *dir) {
    int r;

    gguf_put_text(keys, "tokenizer.ggml.model", "gpt2");
    gguf_put_text(keys, "tokenizer.ggml.pre", "olmo");
    r = put_tokens(keys, tokens);
    if (!r)
        r = put_merges(keys, tokens, object);
    if (!r)
        r = put_ids(keys, tokens, root, dir);
    if (!r)
        r = put_chat_template(keys, tokens, root, dir);
    return r;
}

int gguf_put_tokenizer(struct gguf_keys *keys, const char *root, const char *dir,
                       const struct model_config *config, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/tokenizer.json", dir);
    cleanup(freep) struct token *list = calloc((size_t)config->vocab_size, sizeof(*list));
    struct tokens tokens = {list, config->vocab_size, path, failure};
    cleanup(json_decrefp) json_t *object = NULL;
    int r;

    if (!path || !list)
        return failure_oom(failure);
    r = tokenizer_check(root, path, failure);
    if (r == -ENOENT)
        return failure_set(failure, r, "model_incomplete",
                           "fetch the model again, or save it again with its fast tokenizer",
                           "there is no '%s'", path);
    if (!r)
        r = json_parse_file_in(root, path, JSON_MAX, "tokenizer_invalid", &object, failure);
    if (!r)
        r = check_stages(&tokens, object);
    if (!r)
        r = collect(&tokens, object);
    return r || !keys ? r : put_all(keys, &tokens, object, root, dir);
}
