// SPDX-License-Identifier: Apache-2.0
/*
 * tokenizer.json as Hugging Face tokenizers writes it. Every field that changes ids is either
 * honoured or refused; truncation, padding and the decoder do not change them here.
 */
#include "daemon/model/tokenizer/file.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "daemon/model/tokenizer/nfc.h"
#include "daemon/model/tokenizer/reader.h"
#include "daemon/model/tokenizer/stages.h"

#include <stdlib.h>
#include <string.h>

#define ID_MAX ((1 << 24) - 1) /* OLMoE ends at 50279 */
#define ADDED_SIZE_MAX 256     /* bytes of an added token; bounds the matching */

static int claim_id(struct reader *reader, const char *token, const json_t *value,
                    int32_t *ret_id) {
    json_int_t id = json_integer_value(value);

    if (!json_is_integer(value) || id < 0 || id > ID_MAX)
        return broken(reader, "the id of token '%.64s' is not an integer from 0 to %d", token,
                      ID_MAX);
    if (reader->used[id / 8] >> id % 8 & 1)
        return broken(reader, "token '%.64s' has id %d, which another token has too", token,
                      (int)id);
    reader->used[id / 8] |= (uint8_t)(1 << id % 8);
    *ret_id = (int32_t)id;
    return 0;
}

static void reach_id(struct reader *reader, int32_t id) {
    reader->tokenizer->n_ids = MAX(reader->tokenizer->n_ids, id + 1);
}

/* The id of a token of the vocabulary, whose ids were checked; -1 when it has none. */
static int32_t vocab_id(const struct reader *reader, const char *token) {
    const json_t *id = json_object_get(reader->vocab, token);

    return id ? (int32_t)json_integer_value(id) : -1;
}

/* The fields of the model beside vocabulary and merges. */
static int check_model(struct reader *reader, const json_t *model) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *type = json_object_get(model, "type"), *dropout;
    bool ignored = false;
    int r;

    if (!json_is_object(model))
        return broken(reader, "it has no object 'model'");
    if (type && !str_equal(json_string_value(type), "BPE"))
        return unsupported(reader, "its model is '%.64s', not BPE", type_of(model));
    dropout = json_object_get(model, "dropout");
    if (is_set(dropout) && !json_is_number(dropout))
        return broken(reader, "'dropout' is not a number");
    if (json_number_value(dropout) != 0)
        return unsupported(reader, "its model drops merges at random ('dropout')");
    /* Every byte has a token of its own, so nothing is left for byte_fallback and unk_token. */
    r = get_bool(reader, model, "byte_fallback", false, &ignored);
    if (!r)
        r = get_bool(reader, model, "ignore_merges", false, &reader->ignore_merges);
    if (r)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(affixes); i++) {
        const json_t *affix = json_object_get(model, affixes[i]);

        if (is_set(affix) && json_string_length(affix) != 0)
            return unsupported(reader, "its model sets '%s'", affixes[i]);
    }
    return 0;
}

/* GPT-2's letter for a byte: itself where that is printable Latin-1, else the next from U+0100. */
static void byte_letters(char letters[256][3]) {
    unsigned int next = 0x100;

    for (unsigned int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        unsigned int c = printable ? b : next++;

        if (c < 0x80) {
            letters[b][0] = (char)c;
            letters[b][1] = '\0';
        } else {
            letters[b][0] = (char)(0xc0 | c >> 6);
            letters[b][1] = (char)(0x80 | (c & 0x3f));
            letters[b][2] = '\0';
        }
    }
}

/* Can byte @b be part of UTF-8? The vocabulary of OLMoE has no token for those that cannot. */
static bool in_utf8(int b) {
    return b < 0xc0 || (b > 0xc1 && b < 0xf5);
}

/* A token of the vocabulary as the bytes that its letters stand for; 0: it has other letters. */
static size_t token_bytes(const int16_t byte_of[512], const char *token, char *bytes) {
    size_t n = 0;

    for (const unsigned char *at = (const unsigned char *)token; *at; at++) {
        unsigned int c = *at;

        if (c >= 0xc2 && c <= 0xc7)
            c = (c & 0x1f) << 6 | (*++at & 0x3f);
        if (c >= 512 || byte_of[c] < 0)
            return 0;
        bytes[n++] = (char)byte_of[c];
    }
    return n;
}

/* With ignore_merges: the words that are tokens as they are. */
static int read_whole_words(struct reader *reader, char letters[256][3]) {
    struct whole_words *words = &reader->tokenizer->whole;
    int16_t byte_of[512];
    const char *token;
    json_t *value;
    int r = whole_words_init(words, json_object_size(reader->vocab));

    memset(byte_of, 0xff, sizeof(byte_of)); /* -1 each */
    for (int b = 0; b < 256; b++) {
        const unsigned char *letter = (const unsigned char *)letters[b];

        byte_of[letter[1] ? (letter[0] & 0x1f) << 6 | (letter[1] & 0x3f) : letter[0]] = (int16_t)b;
    }
    json_object_foreach((json_t *)reader->vocab, token, value) {
        cleanup(freep) char *bytes = r ? NULL : malloc(strlen(token) + 1);
        size_t n = bytes ? token_bytes(byte_of, token, bytes) : 0;
        int32_t id = (int32_t)json_integer_value(value);

        if (!bytes || r)
            return failure_oom(reader->failure);
        r = n ? whole_words_put(words, bytes, n, id) : 0;
        if (n)
            reach_id(reader, id);
    }
    return r ? failure_oom(reader->failure) : 0;
}

static int read_vocab(struct reader *reader, const json_t *model) {
    char letters[256][3];
    const char *token;
    json_t *value;
    int32_t id;
    int r;

    reader->vocab = json_object_get(model, "vocab");
    if (!json_is_object(reader->vocab))
        return broken(reader, "its model has no object 'vocab'");
    /* jansson's iterator does not change what it walks over, but does not say so in its type. */
    json_object_foreach((json_t *)reader->vocab, token, value) {
        r = claim_id(reader, token, value, &id);
        if (r)
            return r;
    }
    byte_letters(letters);
    for (int b = 0; b < 256; b++) {
        id = vocab_id(reader, letters[b]);
        reader->tokenizer->byte_ids[b] = id;
        if (id < 0 && !in_utf8(b))
            continue;
        if (id < 0)
            return broken(reader, "its vocabulary lacks '%s', the token of byte 0x%02x", letters[b],
                          (unsigned int)b);
        if (in_utf8(b))
            reach_id(reader, id);
    }
    return reader->ignore_merges ? read_whole_words(reader, letters) : 0;
}

/* The two parts of a merge, "a b" or ["a", "b"]: @joined is "a\0b", and @right the b in it. */
static int split_merge(struct reader *reader, const json_t *merge, size_t rank,
                       struct strbuf *joined, const char **ret_right) {
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    const char *left = json_string_value(json_array_get(merge, 0));
    const char *right = json_string_value(json_array_get(merge, 1));
    size_t left_size;

    if (space && !strchr(space + 1, ' ')) {
        left = text;
        left_size = (size_t)(space - text);
        right = space + 1;
    } else if (json_array_size(merge) == 2 && left && right) {
        left_size = strlen(left);
    } else {
        return broken(reader, "merge %zu is not a pair of tokens", rank);
    }
    joined->length = 0;
    strbuf_append(joined, left, left_size);
    strbuf_append(joined, "", 1);
    strbuf_puts(joined, right);
    if (joined->failed)
        return failure_oom(reader->failure);
    *ret_right = joined->data + left_size + 1;
    return 0;
}

static int read_merge(struct reader *reader, const json_t *value, size_t rank,
                      struct strbuf *joined) {
    const char *right = NULL;
    int32_t left_id, right_id, id;
    size_t left_size;
    int r;

    r = split_merge(reader, value, rank, joined, &right);
    if (r)
        return r;
    left_id = vocab_id(reader, joined->data);
    right_id = vocab_id(reader, right);
    if (left_id < 0 || right_id < 0)
        return broken(reader, "merge %zu names token '%.64s', which is not in its vocabulary", rank,
                      left_id < 0 ? joined->data : right);
    left_size = (size_t)(right - 1 - joined->data);
    memmove(joined->data + left_size, right, joined->length - left_size); /* with the NUL */
    id = vocab_id(reader, joined->data);
    if (id < 0)
        return broken(reader, "merge %zu makes token '%.64s', which is not in its vocabulary", rank,
                      joined->data);
    reach_id(reader, id);
    merge_table_put(&reader->tokenizer->merges, &(struct merge){
                                                    .left = (uint32_t)left_id,
                                                    .right = (uint32_t)right_id,
                                                    .rank = (uint32_t)rank,
                                                    .id = (uint32_t)id,
                                                });
    return 0;
}

static int read_merges(struct reader *reader, const json_t *model) {
    const json_t *merges = json_object_get(model, "merges"), *merge;
    cleanup(strbuf_done) struct strbuf joined = {0};
    size_t rank;
    int r;

    if (!json_is_array(merges))
        return broken(reader, "its model has no list 'merges'");
    r = merge_table_init(&reader->tokenizer->merges, json_array_size(merges));
    if (r == -ENOMEM)
        return failure_oom(reader->failure);
    if (r)
        return failure_errno(reader->failure, r, "cannot get random bytes for", reader->path);
    json_array_foreach(merges, rank, merge) {
        /* The first line of a merges.txt, which old files carry over. */
        if (rank == 0 && json_is_string(merge) &&
            str_has_prefix(json_string_value(merge), "#version"))
            continue;
        r = read_merge(reader, merge, rank, &joined);
        if (r)
            return r;
    }
    return 0;
}

/* An added token that the vocabulary has too must have the same id there. */
static int added_id(struct reader *reader, const char *content, const json_t *value,
                    int32_t *ret_id) {
    int32_t id = vocab_id(reader, content);

    if (id < 0)
        return claim_id(reader, content, value, ret_id);
    if (!json_is_integer(value) || json_integer_value(value) != id)
        return broken(reader, "added token '%.64s' has another id than in its vocabulary", content);
    *ret_id = id;
    return 0;
}

static int append_added(struct reader *reader, const char *content, size_t size, int32_t id,
                        bool normalized) {
    struct tokenizer *tokenizer = reader->tokenizer;
    cleanup(freep) char *normal = NULL;
    int r = 0;

    if (normalized && tokenizer->nfc)
        r = nfc_normalize(content, size, &normal, &size);
    if (r)
        return failure_oom(reader->failure);
    if (added_set_append(normalized ? &tokenizer->added_normalized : &tokenizer->added_raw,
                         normal ? normal : content, size, id))
        return failure_oom(reader->failure);
    reach_id(reader, id);
    return 0;
}

static int read_added_token(struct reader *reader, const json_t *token, size_t i) {
    static const char *const strips[] = {"single_word", "lstrip", "rstrip"};
    const json_t *content = json_object_get(token, "content");
    const char *text = json_string_value(content);
    size_t size = json_string_length(content);
    bool special = false, normalized = false;
    int32_t id;
    int r;

    if (!text || size == 0 || size > ADDED_SIZE_MAX)
        return broken(reader, "the content of added token %zu is not a string of 1 to %d bytes", i,
                      ADDED_SIZE_MAX);
    for (size_t s = 0; s < ARRAY_SIZE(strips); s++)
        if (is_set(json_object_get(token, strips[s])))
            return unsupported(reader, "its added token '%.64s' sets '%s'", text, strips[s]);
    r = get_bool(reader, token, "special", false, &special);
    if (r)
        return r;
    r = get_bool(reader, token, "normalized", !special, &normalized);
    if (r)
        return r;
    r = added_id(reader, text, json_object_get(token, "id"), &id);
    if (r)
        return r;
    return append_added(reader, text, size, id, normalized);
}

static int read_added(struct reader *reader, const json_t *root) {
    const json_t *list = json_object_get(root, "added_tokens"), *token;
    struct added_set *sets[] = {&reader->tokenizer->added_raw,
                                &reader->tokenizer->added_normalized};
    size_t i;
    int r;

    if (is_set(list) && !json_is_array(list))
        return broken(reader, "'added_tokens' is not a list");
    json_array_foreach(list, i, token) {
        r = read_added_token(reader, token, i);
        if (r)
            return r;
    }
    for (i = 0; i < ARRAY_SIZE(sets); i++) {
        const struct added_token *twice = added_set_finish(sets[i]);

        if (twice)
            return broken(reader, "it has added token '%.*s' twice", (int)MIN(twice->size, 64u),
                          twice->content);
    }
    return 0;
}

int tokenizer_read(struct tokenizer *tokenizer, const json_t *object, const char *path,
                   struct failure *failure) {
    static int (*const model_steps[])(struct reader * reader,
                                      const json_t *model) = {check_model, read_vocab, read_merges};
    cleanup(freep) uint8_t *used = calloc(ID_MAX / 8 + 1, 1);
    struct reader reader = {.tokenizer = tokenizer, .path = path, .used = used, .failure = failure};
    int r;

    if (!used)
        return failure_oom(failure);
    if (!json_is_object(object))
        return broken(&reader, "it is not a JSON object");
    r = stages_read(&reader, object);
    if (r)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(model_steps); i++) {
        r = model_steps[i](&reader, json_object_get(object, "model"));
        if (r)
            return r;
    }
    return read_added(&reader, object);
}
