// SPDX-License-Identifier: Apache-2.0
/*
 * Every allocation of what reads outside data fails in turn: the answer is -ENOMEM with a failure,
 * nothing is left behind (AddressSanitizer looks), and the next call works.
 */
#include "base/json.h"
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/tokenizer.h"
#include "daemon/submission.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CALLS_MAX 200000

/* ---- allocations that fail ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
/* AddressSanitizer's, when it is there. */
__attribute__((weak)) void *__interceptor_malloc(size_t size);
__attribute__((weak)) void *__interceptor_calloc(size_t n, size_t size);
__attribute__((weak)) void *__interceptor_realloc(void *old, size_t size);

static int allocations_left; /* the one that makes it 0 fails */

static bool fails(void) {
    return allocations_left > 0 && --allocations_left == 0;
}

void *malloc(size_t size) {
    if (fails())
        return NULL;
    return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    if (fails())
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(n, size) : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    if (fails())
        return NULL;
    return __interceptor_realloc ? __interceptor_realloc(old, size) : __libc_realloc(old, size);
}

/* ---- what allocates ---- */

static char *source_file(const char *name) {
    const char *source = getenv("QUANTD_SOURCE");

    return str_format("%s/%s", source ? source : ".", name);
}

static int parse(const char *text, json_t **ret_value, struct failure *failure) {
    return json_parse(text, strlen(text), "x", "malformed", ret_value, failure);
}

static int use_json(const char *path, struct failure *failure) {
    cleanup(json_decrefp) json_t *value = NULL;

    return json_parse_file(path, 1 << 20, "malformed", &value, failure);
}

static int use_submission(const char *path, struct failure *failure) {
    static const char text[] = "{\"kind\":\"quantize\",\"model\":\"m\",\"wbits\":4,"
                               "\"dataset\":\"wikitext2\",\"eval\":[\"ptb\",\"file:x\"],"
                               "\"name\":\"n\",\"labels\":{\"a\":\"b\"}}";
    cleanup(submission_freep) struct submission *submission = NULL;
    cleanup(json_decrefp) json_t *value = NULL;
    int r;

    (void)path;
    r = parse(text, &value, failure);
    return r ? r : submission_parse(value, &submission, failure);
}

static int use_tokenizer(const char *path, struct failure *failure) {
    static const char text[] = "some text, cafe\xcc\x81 <|endoftext|> abc";
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    cleanup(freep) int32_t *ids = NULL;
    size_t n_ids;
    int r;

    r = tokenizer_open(path, &tokenizer, failure);
    return r ? r : tokenizer_encode(tokenizer, text, strlen(text), &ids, &n_ids, failure);
}

static int use_checkpoint(const char *path, struct failure *failure) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;

    return checkpoint_open(path, &checkpoint, failure);
}

static int use_corpus(const char *path, struct failure *failure) {
    char *roots[] = {(char *)path};
    struct source_mirror mirror;
    const struct corpora corpora = {&mirror.source, roots, 1};
    cleanup(corpus_freep) struct corpus *corpus = NULL;

    source_mirror_init(&mirror, NULL, 0);
    return corpus_load(&corpora, "file:demo-evaluation.txt", CORPUS_EVALUATION, &corpus, failure);
}

/* ---- tests ---- */

static void fail_everywhere(const char *name, int (*use)(const char *, struct failure *)) {
    cleanup(freep) char *path = source_file(name);
    struct failure failure = {};
    int n, r;

    assert_non_null(path);
    if (use(path, &failure)) /* also what is made once in a process */
        fail_msg("%s: %s", name, failure.detail);
    for (n = 1; n < CALLS_MAX; n++) {
        bool hit;

        failure = (struct failure){};
        allocations_left = n;
        r = use(path, &failure);
        hit = allocations_left == 0;
        allocations_left = 0;
        if (!hit)
            break;
        if (r != 0 && (r != -ENOMEM || !failure.code[0]))
            fail_msg("%s: allocation %d: %d %s '%s'", name, n, r, failure.code, failure.detail);
    }
    assert_int_equal(r, 0);
    printf("%s: %d allocations failed in turn\n", name, n - 1);
}

static void test_json(void **state) {
    (void)state;
    fail_everywhere("tests/data/geometry/tied/config.json", use_json);
}

static void test_submission(void **state) {
    (void)state;
    fail_everywhere("", use_submission);
}

static void test_tokenizer(void **state) {
    (void)state;
    fail_everywhere("tests/fuzz/corpus/tokenizer/small", use_tokenizer);
}

static void test_checkpoint(void **state) {
    (void)state;
    fail_everywhere("tests/data/geometry/tied", use_checkpoint);
}

static void test_corpus(void **state) {
    (void)state;
    fail_everywhere("data/texts", use_corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),      cmocka_unit_test(test_submission),
        cmocka_unit_test(test_tokenizer), cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_corpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
