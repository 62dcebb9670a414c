// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/tokenizer.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS "tokenizer.ggml.tokens"
#define KINDS "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"
#define JSON_MAX ((size_t)64 << 20)
#define HINT_BESIDE "put the tokenizer.json of the model into the folder of the file"

struct tokens {
    struct gguf_text *texts; /* [n]; owned */
    int32_t *kinds;          /* [n]; owned */
    size_t n;
    const char *path;
    struct failure *failure;
};

static void tokens_done(struct tokens *tokens) {
    free(tokens->texts);
    free(tokens->kinds);
}

static int damaged(const struct tokens *tokens, const char *what) {
    return failure_set(tokens->failure, -EBADMSG, "tokenizer_invalid",
                       "fetch the file again, or make it again",
                       "cannot use the tokenizer in '%s': %s", tokens->path, what);
}

static int blame(const struct tokens *tokens, int r, const char *key) {
    if (r == -ENOMEM)
        return failure_oom(tokens->failure);
    return failure_set(
        tokens->failure, -EBADMSG, "tokenizer_invalid", "fetch the file again, or make it again",
        "cannot use the tokenizer in '%s': its key '%s' is missing or damaged", tokens->path, key);
}

static int tokens_read(const struct gguf_file *file, struct tokens *tokens) {
    size_t n = 0;
    int r = gguf_get_texts(file, TOKENS, &tokens->texts, &tokens->n);

    if (r)
        return blame(tokens, r, TOKENS);
    r = gguf_get_numbers(file, KINDS, &tokens->kinds, &n);
    if (r)
        return blame(tokens, r, KINDS);
    return n == tokens->n ? 0 : damaged(tokens, "it has not one type for each token");
}

/* ---- as a tokenizer.json ---- */

static json_t *string_of(const struct gguf_text *text) {
    return memchr(text->text, 0, text->size) ? NULL : json_stringn(text->text, text->size);
}

/* A token that is there twice would have two ids. */
static int add_token(const struct tokens *tokens, size_t i, json_t *vocab, json_t *added) {
    const struct gguf_text *text = &tokens->texts[i];
    bool special = tokens->kinds[i] == GGUF_TOKEN_CONTROL;
    cleanup(json_decrefp) json_t *content = NULL;
    const char *key;

    if (tokens->kinds[i] == GGUF_TOKEN_UNUSED)
        return 0;
    if (tokens->kinds[i] != GGUF_TOKEN_NORMAL && tokens->kinds[i] != GGUF_TOKEN_USER && !special)
        return damaged(tokens, "a token is of a type that byte-level BPE has not");
    content = string_of(text);
    key = json_string_value(content);
    if (!key || json_object_get(vocab, key))
        return damaged(tokens, "a token is no text, or there twice");
    if (json_object_set_new(vocab, key, json_integer((json_int_t)i)))
        return failure_oom(tokens->failure);
    if (tokens->kinds[i] == GGUF_TOKEN_NORMAL)
        return 0;
    return json_array_append_new(added, json_pack("{sI sO sb}", "id", (json_int_t)i, "content",
                                                  content, "special", special))
               ? failure_oom(tokens->failure)
               : 0;
}

static int add_merges(const struct gguf_file *file, const struct tokens *tokens, json_t *merges) {
    cleanup(freep) struct gguf_text *texts = NULL;
    size_t n = 0;
    int r = gguf_get_texts(file, MERGES, &texts, &n);

    if (r)
        return blame(tokens, r, MERGES);
    for (size_t i = 0; i < n; i++) {
        json_t *merge = string_of(&texts[i]);

        if (!merge)
            return damaged(tokens, "a merge is no text");
        if (json_array_append_new(merges, merge))
            return failure_oom(tokens->failure);
    }
    return 0;
}

static bool text_is(const struct gguf_file *file, const char *key, const char *wanted) {
    struct gguf_text text;

    return gguf_get_text(file, key, &text) == 0 && text.size == strlen(wanted) &&
           !memcmp(text.text, wanted, text.size);
}

/* llama.cpp has a list of tokenizers by name; of `olmo` all is known that the file does not say. */
static int check_kind(const struct gguf_file *file, const char *path, struct failure *failure) {
    if (text_is(file, "tokenizer.ggml.model", "gpt2") &&
        text_is(file, "tokenizer.ggml.pre", "olmo"))
        return 0;
    return failure_set(failure, -EOPNOTSUPP, "tokenizer_invalid", HINT_BESIDE,
                       "cannot rebuild the tokenizer of '%s': its tokenizer.ggml.pre is not 'olmo'",
                       path);
}

static int rebuild(const struct gguf_file *file, const char *path, json_t **ret_tokenizer,
                   struct failure *failure) {
    cleanup(tokens_done) struct tokens tokens = {.path = path, .failure = failure};
    cleanup(json_decrefp) json_t *vocab = json_object();
    cleanup(json_decrefp) json_t *added = json_array();
    cleanup(json_decrefp) json_t *merges = json_array();
    int r = vocab && added && merges ? check_kind(file, path, failure) : failure_oom(failure);

    if (!r)
        r = tokens_read(file, &tokens);
    for (size_t i = 0; i < tokens.n && !r; i++)
        r = add_token(&tokens, i, vocab, added);
    if (!r)
        r = add_merges(file, &tokens, merges);
    if (r)
        return r;
    *ret_tokenizer =
        json_pack("{s{ss} s{ss sb sb} s{ss sO sO} sO}", "normalizer", "type", "NFC",
                  "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1,
                  "model", "type", "BPE", "vocab", vocab, "merges", merges, "added_tokens", added);
    return *ret_tokenizer ? 0 : failure_oom(failure);
}

/* ---- beside one ---- */

static bool has_token(const struct tokens *tokens, const json_t *id, const char *text,
                      size_t size) {
    json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;

    return text && i >= 0 && (uint64_t)i < tokens->n && tokens->texts[i].size == size &&
           !memcmp(tokens->texts[i].text, text, size);
}

static int compare(const struct gguf_file *file, const char *path, const json_t *object,
                   const char *beside, struct failure *failure) {
    cleanup(tokens_done) struct tokens tokens = {.path = path, .failure = failure};
    json_t *vocab = json_object_get(json_object_get(object, "model"), "vocab"), *id;
    const json_t *added = json_object_get(object, "added_tokens"), *token;
    int r = tokens_read(file, &tokens);
    bool same = true;
    const char *text;
    size_t i;

    if (r)
        return r;
    json_object_foreach(vocab, text, id) same = same && has_token(&tokens, id, text, strlen(text));
    json_array_foreach(added, i, token) {
        const json_t *content = json_object_get(token, "content");

        same = same && has_token(&tokens, json_object_get(token, "id"), json_string_value(content),
                                 json_string_length(content));
    }
    return same ? 0
                : failure_set(failure, -EBADMSG, "tokenizer_invalid",
                              "put the file into a folder of its own, or take the tokenizer.json "
                              "of its model",
                              "'%s' has other tokens than '%s' beside it", path, beside);
}

/* ---- both ---- */

int gguf_tokenizer(const struct gguf_file *file, const char *root, const char *path,
                   struct tokenizer **ret_tokenizer, struct failure *failure) {
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 1;
    cleanup(freep) char *beside = str_format("%.*s/tokenizer.json", n, slash ? path : ".");
    cleanup(json_decrefp) json_t *object = NULL;
    struct failure why = {};
    int r;

    if (!beside)
        return failure_oom(failure);
    r = json_parse_file_in(gguf_root(root, path), beside, JSON_MAX, "tokenizer_invalid", &object,
                           &why);
    if (r && r != -ENOENT) {
        *failure = why;
        return r;
    }
    if (object)
        r = compare(file, path, object, beside, failure);
    else
        r = rebuild(file, path, &object, failure);
    return r ? r : tokenizer_from_json(object, path, ret_tokenizer, failure);
}

int gguf_tokenizer_open(const char *root, const char *path, struct tokenizer **ret_tokenizer,
                        struct failure *failure) {
    cleanup(gguf_freep) struct gguf_file *file = NULL;
    int r = gguf_open(root, path, &file, failure);

    if (!r)
        r = gguf_tokenizer(file, root, path, ret_tokenizer, failure);
    if (!r && !gguf_intact(file))
        r = failure_set(failure, -EBADMSG, "model_invalid", "retry the job",
                        "'%s' was cut short while it was read", path);
    return r;
}
