// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/tokenizer/split.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* \s is spelled out as Unicode's White_Space, since PCRE2 adds U+180E to it. */
#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"        \
    "\\x{205f}\\x{3000}"
#define OTHER "[^\\p{L}\\p{N}" SPACE "]++"
#define CONTRACTION "'(?i:[stmd]|re|ve|ll)"

/* Of four kinds, which together are all characters, those at which a word can begin. */
enum { LETTERS = 1, NUMBERS = 2, SPACES = 4, OTHERS = 8, ALL = 15 };

/*
 * What is known: @pattern matches what @regex does. A run is possessive where no shorter one would
 * let the rest match, so that nothing is tried twice; only \s*[\r\n] goes back, once over a run of
 * white space that is a word then.
 */
static const struct alternative {
    const char *regex, *pattern;
    int begins;
} alternatives[] = {
    {"'s", "'s", 0},
    {"'t", "'t", 0},
    {"'re", "'re", 0},
    {"'ve", "'ve", 0},
    {"'m", "'m", 0},
    {"'ll", "'ll", 0},
    {"'d", "'d", 0},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)", CONTRACTION, 0},
    {"(?i:'s|'t|'re|'ve|'m|'d|'ll)", CONTRACTION, 0},
    {"'(?i:[sdmt]|ll|ve|re)", CONTRACTION, 0},
    {" ?\\p{L}+", " ?+\\p{L}++", LETTERS},
    {"\\p{L}+", "\\p{L}++", LETTERS},
    {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++", LETTERS},
    {"[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+", "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++", LETTERS},
    {" ?\\p{N}+", " ?+\\p{N}++", NUMBERS},
    {"\\p{N}+", "\\p{N}++", NUMBERS},
    {"\\p{N}{1,3}", "\\p{N}{1,3}+", NUMBERS},
    {"\\p{N}{1,3}+", "\\p{N}{1,3}+", NUMBERS},
    {"\\p{N}", "\\p{N}", NUMBERS},
    {" ?[^\\s\\p{L}\\p{N}]+", " ?+" OTHER, OTHERS},
    {" ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*", " ?+" OTHER "[\\r\\n]*+", OTHERS},
    {" ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*", " ?+" OTHER "[\\r\\n]*+", OTHERS},
    {" ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+", " ?+" OTHER "[\\r\\n]*+", OTHERS},
    {"\\s*[\\r\\n]+", "[" SPACE "]*[\\r\\n]++", 0},
    {"\\s*[\\r\\n]", "[" SPACE "]*[\\r\\n]", 0},
    {"\\s+(?!\\S)", "[" SPACE "]+(?![^" SPACE "])", 0},
    {"\\s+", "[" SPACE "]++", SPACES},
};

/* Above what the patterns take: guards, not knobs. */
#define MATCH_LIMIT 1000 /* and as many as the text has bytes: see \s*[\r\n] */
#define HEAP_LIMIT 64    /* KiB */

struct split {
    pcre2_code *code;
};

/* Bytes of the alternative that @regex begins with. */
static size_t alternative_size(const char *regex) {
    size_t i = 0;
    int depth = 0;
    bool class = false;

    for (; regex[i] && (regex[i] != '|' || depth > 0 || class); i++) {
        if (regex[i] == '\\' && regex[i + 1])
            i++;
        else if (regex[i] == '[' || regex[i] == ']')
            class = regex[i] == '[';
        else if (!class && (regex[i] == '(' || regex[i] == ')'))
            depth += regex[i] == '(' ? 1 : -1;
    }
    return i;
}

static const struct alternative *find_alternative(const char *regex, size_t size) {
    for (size_t i = 0; i < ARRAY_SIZE(alternatives); i++) {
        if (strlen(alternatives[i].regex) == size &&
            memcmp(alternatives[i].regex, regex, size) == 0)
            return &alternatives[i];
    }
    return NULL;
}

int split_translate(const char *regex, struct strbuf *pattern, char *ret_unknown, size_t size) {
    int begins = 0;

    for (const char *at = regex;; at++) {
        size_t n = alternative_size(at);
        const struct alternative *known = find_alternative(at, n);

        if (!known) {
            snprintf(ret_unknown, size, "%.*s", (int)MIN(n, size), at);
            return -EOPNOTSUPP;
        }
        strbuf_printf(pattern, "%s%s", at == regex ? "" : "|", known->pattern);
        begins |= known->begins;
        at += n;
        if (!*at)
            break;
    }
    ret_unknown[0] = '\0';
    if (begins != ALL)
        return -EOPNOTSUPP;
    return pattern->failed ? -ENOMEM : 0;
}

const char *split_digits(bool individual) {
    return individual ? "\\p{N}|[^\\p{N}]++" : "\\p{N}++|[^\\p{N}]++";
}

int split_new(const char *pattern, struct split **ret_split, struct failure *failure) {
    struct split *split = calloc(1, sizeof(*split));
    size_t at;
    int code;

    if (!split)
        return failure_oom(failure);
    split->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE,
                                &code, &at, NULL);
    if (!split->code) {
        free(split);
        if (code == PCRE2_ERROR_HEAP_FAILED)
            return failure_oom(failure);
        return failure_set(failure, -ENOTSUP, "tokenizer_invalid",
                           "use a PCRE2 library built with Unicode support",
                           "cannot compile the word pattern: PCRE2 error %d at %zu", code, at);
    }
    /* Without it, where memory may not become code, the interpreter matches: same words, later. */
    pcre2_jit_compile(split->code, PCRE2_JIT_COMPLETE);
    *ret_split = split;
    return 0;
}

void split_free(struct split *split) {
    if (!split)
        return;
    pcre2_code_free(split->code);
    free(split);
}

int split_match_init(struct split_match *match, size_t size) {
    match->data = pcre2_match_data_create(1, NULL);
    match->context = pcre2_match_context_create(NULL);
    if (!match->data || !match->context)
        return -ENOMEM;
    pcre2_set_match_limit(match->context, (uint32_t)MIN(MATCH_LIMIT + size, (size_t)UINT32_MAX));
    pcre2_set_heap_limit(match->context, HEAP_LIMIT);
    return 0;
}

void split_match_done(struct split_match *match) {
    pcre2_match_data_free(match->data);
    pcre2_match_context_free(match->context);
}

int split_next(const struct split *split, const struct split_match *match, const char *text,
               size_t size, size_t at, size_t *ret_end, struct failure *failure) {
    int n = pcre2_match(split->code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, match->data,
                        match->context);
    size_t end;

    if (n == PCRE2_ERROR_NOMEMORY)
        return failure_oom(failure);
    end = n < 0 ? 0 : pcre2_get_ovector_pointer(match->data)[1];
    if (end <= at)
        return failure_set(failure, -EIO, "text_invalid", NULL,
                           "cannot split the text into words at byte %zu: PCRE2 error %d", at, n);
    *ret_end = end;
    return 0;
}
