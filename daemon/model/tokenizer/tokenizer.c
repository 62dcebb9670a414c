// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/tokenizer.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/tokenizer/file.h"
#include "daemon/model/tokenizer/nfc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)64 << 20)
#define TEXT_MAX ((size_t)1 << 30) /* bytes */

/* What one call holds. */
struct encoder {
    const struct tokenizer *tokenizer;
    struct bpe bpe;
    struct split_match match;
    struct id_list ids;
};

static void encoder_done(struct encoder *encoder) {
    bpe_done(&encoder->bpe);
    split_match_done(&encoder->match);
    free(encoder->ids.ids);
}

static int encoder_init(struct encoder *encoder, const struct tokenizer *tokenizer, size_t size) {
    encoder->tokenizer = tokenizer;
    encoder->bpe.merges = &tokenizer->merges;
    encoder->bpe.whole = &tokenizer->whole;
    encoder->bpe.byte_ids = tokenizer->byte_ids;
    return split_match_init(&encoder->match, size);
}

int tokenizer_from_json(const json_t *object, const char *path, struct tokenizer **ret_tokenizer,
                        struct failure *failure) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    int r;

    tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return failure_oom(failure);
    r = tokenizer_read(tokenizer, object, path, failure);
    if (r)
        return r;
    *ret_tokenizer = steal_ptr(tokenizer);
    return 0;
}

int tokenizer_open(const char *root, const char *path, struct tokenizer **ret_tokenizer,
                   struct failure *failure) {
    cleanup(json_decrefp) json_t *object = NULL;
    int r = json_parse_file_in(root, path, FILE_MAX, "tokenizer_invalid", &object, failure);

    return r ? r : tokenizer_from_json(object, path, ret_tokenizer, failure);
}

int tokenizer_check(const char *root, const char *path, struct failure *failure) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;

    return tokenizer_open(root, path, &tokenizer, failure);
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    added_set_done(&tokenizer->added_raw);
    added_set_done(&tokenizer->added_normalized);
    merge_table_done(&tokenizer->merges);
    whole_words_done(&tokenizer->whole);
    for (int i = 0; i < tokenizer->n_splits; i++)
        split_free(tokenizer->splits[i]);
    free(tokenizer);
}

int tokenizer_n_ids(const struct tokenizer *tokenizer) {
    return tokenizer->n_ids;
}

static int encode_word(struct encoder *encoder, const char *word, size_t size,
                       struct failure *failure) {
    if (size > TOKENIZER_WORD_MAX)
        return failure_set(failure, -EFBIG, "text_invalid",
                           "break the text into lines or words, or check that it is text",
                           "cannot tokenize a text with a word of %zu bytes: at most %u", size,
                           TOKENIZER_WORD_MAX);
    return bpe_encode_word(&encoder->bpe, word, size, &encoder->ids) ? failure_oom(failure) : 0;
}

/* A stretch without added tokens, or a part of one, normalized, as it goes to pattern @level. */
static int encode_words(struct encoder *encoder, int level, const char *text, size_t size,
                        struct failure *failure) {
    if (level == encoder->tokenizer->n_splits)
        return encode_word(encoder, text, size, failure);
    for (size_t i = 0, end; i < size; i = end) {
        int r = split_next(encoder->tokenizer->splits[level], &encoder->match, text, size, i, &end,
                           failure);

        if (!r)
            r = encode_words(encoder, level + 1, text + i, end - i, failure);
        if (r)
            return r;
    }
    return 0;
}

static int encode_stretch(struct encoder *encoder, const char *text, size_t size,
                          struct failure *failure) {
    cleanup(strbuf_done) struct strbuf prefixed = {0};

    if (size == 0)
        return 0;
    if (!encoder->tokenizer->prefix_space || text[0] == ' ')
        return encode_words(encoder, 0, text, size, failure);
    strbuf_append(&prefixed, " ", 1);
    strbuf_append(&prefixed, text, size);
    if (prefixed.failed)
        return failure_oom(failure);
    return encode_words(encoder, 0, prefixed.data, prefixed.length, failure);
}

/* Splits the added tokens of @set out of @text and hands what lies between to @encode. */
static int encode_split(struct encoder *encoder, const struct added_set *set, const char *text,
                        size_t size, struct failure *failure,
                        int (*encode)(struct encoder *encoder, const char *text, size_t size,
                                      struct failure *failure)) {
    struct added_match match;
    size_t done = 0;
    int r;

    while (added_set_find(set, text, size, done, &match)) {
        r = encode(encoder, text + done, match.start - done, failure);
        if (r)
            return r;
        if (id_list_append(&encoder->ids, &match.id, 1))
            return failure_oom(failure);
        done = match.end;
    }
    return encode(encoder, text + done, size - done, failure);
}

/* A stretch of the raw text: normalize it, then look for the other added tokens. */
static int encode_raw(struct encoder *encoder, const char *text, size_t size,
                      struct failure *failure) {
    cleanup(freep) char *normalized = NULL;

    if (size && encoder->tokenizer->nfc) {
        int r = nfc_normalize(text, size, &normalized, &size);

        if (r == -ENOMEM)
            return failure_oom(failure);
        if (r)
            return failure_set(failure, r, "text_invalid", NULL, "cannot normalize the text");
    }
    return encode_split(encoder, &encoder->tokenizer->added_normalized,
                        normalized ? normalized : text, size, failure, encode_stretch);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t size,
                     int32_t **ret_ids, size_t *ret_n_ids, struct failure *failure) {
    cleanup(encoder_done) struct encoder encoder = {0};
    size_t valid;
    int r;

    if (size > TEXT_MAX)
        return failure_set(failure, -EFBIG, "text_invalid", "split the text into several files",
                           "cannot tokenize a text of %zu bytes: at most %zu", size, TEXT_MAX);
    valid = str_utf8_length(text, size);
    if (valid < size)
        return failure_set(failure, -EBADMSG, "text_invalid", "convert the text to UTF-8",
                           "cannot tokenize a text that is not UTF-8: byte 0x%02x at offset %zu",
                           (unsigned char)text[valid], valid);
    if (encoder_init(&encoder, tokenizer, size) || id_list_append(&encoder.ids, NULL, 0))
        return failure_oom(failure);
    r = encode_split(&encoder, &tokenizer->added_raw, text, size, failure, encode_raw);
    if (r)
        return r;
    *ret_n_ids = encoder.ids.n;
    *ret_ids = steal_ptr(encoder.ids.ids);
    return 0;
}
