// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/tokenizer.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/tokenizer/file.h"
#include "daemon/model/tokenizer/nfc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * One word of GPT-2 at the start of the text:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * \s is spelled out as Unicode's White_Space, since PCRE2 adds U+180E to it. A class cannot take
 * what a longer run would have left to it, so every run but one is possessive and nothing is
 * tried twice; \s+(?!\S) gives one character back at most. Any character begins a word.
 */
#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"        \
    "\\x{205f}\\x{3000}"

static const char word_pattern[] = "'(?:[stmd]|re|ve|ll)"
                                   "| ?+\\p{L}++"
                                   "| ?+\\p{N}++"
                                   "| ?+[^\\p{L}\\p{N}" SPACE "]++"
                                   "|[" SPACE "]+(?![^" SPACE "])"
                                   "|[" SPACE "]++";

#define TEXT_MAX ((size_t)1 << 30) /* bytes */

/* Far above what the pattern takes: a guard, not a knob. */
#define MATCH_LIMIT 1000
#define HEAP_LIMIT 64 /* KiB */

/* What one call holds. */
struct encoder {
    const struct tokenizer *tokenizer;
    struct bpe bpe;
    pcre2_match_data *match_data;
    pcre2_match_context *match_context;
    struct id_list ids;
};

static void encoder_done(struct encoder *encoder) {
    bpe_done(&encoder->bpe);
    pcre2_match_data_free(encoder->match_data);
    pcre2_match_context_free(encoder->match_context);
    free(encoder->ids.ids);
}

static int encoder_init(struct encoder *encoder, const struct tokenizer *tokenizer) {
    encoder->tokenizer = tokenizer;
    encoder->bpe.merges = &tokenizer->merges;
    encoder->bpe.byte_ids = tokenizer->byte_ids;
    encoder->match_data = pcre2_match_data_create(1, NULL);
    encoder->match_context = pcre2_match_context_create(NULL);
    if (!encoder->match_data || !encoder->match_context)
        return -ENOMEM;
    pcre2_set_match_limit(encoder->match_context, MATCH_LIMIT);
    pcre2_set_heap_limit(encoder->match_context, HEAP_LIMIT);
    return 0;
}

static int compile_words(struct tokenizer *tokenizer, struct failure *failure) {
    size_t at;
    int code;

    tokenizer->words = pcre2_compile(
        (PCRE2_SPTR)word_pattern, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE, &code, &at, NULL);
    if (!tokenizer->words && code == PCRE2_ERROR_HEAP_FAILED)
        return failure_oom(failure);
    if (!tokenizer->words)
        return failure_set(failure, -ENOTSUP, TOKENIZER_CODE,
                           "use a PCRE2 library built with Unicode support",
                           "cannot compile the word pattern: PCRE2 error %d at %zu", code, at);
    /* Without it, where memory may not become code, the interpreter matches: same words, later. */
    pcre2_jit_compile(tokenizer->words, PCRE2_JIT_COMPLETE);
    return 0;
}

int tokenizer_open(const char *path, struct tokenizer **ret_tokenizer, struct failure *failure) {
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    int r;

    tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return failure_oom(failure);
    r = tokenizer_read(tokenizer, path, failure);
    if (r)
        return r;
    r = compile_words(tokenizer, failure);
    if (r)
        return r;
    *ret_tokenizer = steal_ptr(tokenizer);
    return 0;
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    added_set_done(&tokenizer->added_raw);
    added_set_done(&tokenizer->added_normalized);
    merge_table_done(&tokenizer->merges);
    pcre2_code_free(tokenizer->words);
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

/* A stretch without added tokens, normalized, as it goes to the pattern. */
static int encode_words(struct encoder *encoder, const char *text, size_t size,
                        struct failure *failure) {
    size_t i = 0;

    if (!encoder->tokenizer->split_words)
        return encode_word(encoder, text, size, failure);
    while (i < size) {
        int r, n = pcre2_match(encoder->tokenizer->words, (PCRE2_SPTR)text, size, i,
                               PCRE2_NO_UTF_CHECK, encoder->match_data, encoder->match_context);
        size_t end;

        if (n == PCRE2_ERROR_NOMEMORY)
            return failure_oom(failure);
        end = n < 0 ? 0 : pcre2_get_ovector_pointer(encoder->match_data)[1];
        if (end <= i)
            return failure_set(failure, -EIO, "text_invalid", NULL,
                               "cannot split the text into words at byte %zu: PCRE2 error %d", i,
                               n);
        r = encode_word(encoder, text + i, end - i, failure);
        if (r)
            return r;
        i = end;
    }
    return 0;
}

static int encode_stretch(struct encoder *encoder, const char *text, size_t size,
                          struct failure *failure) {
    cleanup(strbuf_done) struct strbuf prefixed = {0};

    if (size == 0)
        return 0;
    if (!encoder->tokenizer->prefix_space || text[0] == ' ')
        return encode_words(encoder, text, size, failure);
    strbuf_append(&prefixed, " ", 1);
    strbuf_append(&prefixed, text, size);
    if (prefixed.failed)
        return failure_oom(failure);
    return encode_words(encoder, prefixed.data, prefixed.length, failure);
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
    if (encoder_init(&encoder, tokenizer) || id_list_append(&encoder.ids, NULL, 0))
        return failure_oom(failure);
    r = encode_split(&encoder, &tokenizer->added_raw, text, size, failure, encode_raw);
    if (r)
        return r;
    *ret_n_ids = encoder.ids.n;
    *ret_ids = steal_ptr(encoder.ids.ids);
    return 0;
}
