// SPDX-License-Identifier: Apache-2.0
/*
 * Every allocation of what reads outside data fails in turn: the answer is -ENOMEM with a failure,
 * nothing is left behind (AddressSanitizer looks), and the next call works.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/data/corpus.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/tokenizer/tokenizer.h"
#include "daemon/queue/submission.h"
#include "daemon/store/store.h"
#include "tests/fault/allocations.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CALLS_MAX 200000

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

    r = tokenizer_open(NULL, path, &tokenizer, failure);
    return r ? r : tokenizer_encode(tokenizer, text, strlen(text), &ids, &n_ids, failure);
}

static int use_checkpoint(const char *path, struct failure *failure) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;

    return checkpoint_open(NULL, path, &checkpoint, failure);
}

static int use_corpus(const char *path, struct failure *failure) {
    char *roots[] = {(char *)path};
    struct source_mirror mirror;
    const struct corpora corpora = {&mirror.source, roots, 1};
    cleanup(corpus_freep) struct corpus *corpus = NULL;

    source_mirror_init(&mirror, NULL, 0);
    return corpus_load(&corpora, "file:demo-evaluation.txt", CORPUS_EVALUATION, &corpus, failure);
}

/* Opens the store in the folder @path, takes a job, reads it back. */
static int use_store(const char *path, struct failure *failure) {
    cleanup(json_decrefp) json_t *empty = json_object();
    const struct new_job job = {.kind = "quantize",
                                .owner = "user",
                                .name = "",
                                .model_dir = "/nowhere",
                                .labels = empty,
                                .request = empty,
                                .params = empty,
                                .created_at = 1};
    cleanup(job_row_freep) struct job_row *row = NULL;
    cleanup(store_closep) struct store *store = NULL;
    int64_t id = 0;
    int r;

    if (!empty)
        return failure_oom(failure);
    r = store_open(path, &store, failure);
    if (!r)
        r = store_begin(store, STORE_WRITE, failure);
    if (r)
        return r;
    r = store_insert_job(store, &job, &id);
    if (!r)
        r = store_get_job(store, id, &row);
    return store_end(store, r, failure);
}

/* What keeps a store small, and a copy of it. */
static int use_upkeep(const char *path, struct failure *failure) {
    cleanup(json_decrefp) json_t *empty = json_object();
    const struct new_job job = {.kind = "eval",
                                .owner = "user",
                                .name = "",
                                .model_dir = "/nowhere",
                                .labels = empty,
                                .request = empty,
                                .params = empty,
                                .created_at = 1};
    cleanup(freep) char *copy = str_format("%s/copy", path);
    cleanup(store_closep) struct store *store = NULL;
    struct store_ended ended = {};
    const atomic_bool stop = false;
    int64_t id = 0, n, after = 0;
    uint64_t size;
    int r;

    if (!empty || !copy)
        return failure_oom(failure);
    r = file_replace(copy, "", 0);
    if (r)
        return failure_errno(failure, r, "cannot write", copy);
    r = store_open(path, &store, failure);
    if (!r)
        r = store_begin(store, STORE_WRITE, failure);
    if (r)
        return r;
    if ((r = store_insert_job(store, &job, &id)) || (r = store_count_owner(store, "user", &n)) ||
        (r = store_pause_job(store, id, 2, empty)) || (r = store_unpause_jobs(store, 3, NULL)) ||
        (r = store_size(store, &size)) ||
        (r = store_append_event(store, id, "progress", 1, empty, NULL)) ||
        (r = store_expire_keys(store, 9)) < 0 ||
        ((r = store_expire_progress(store, 9, &after)) < 0 && r != -ENOENT))
        return store_end(store, r, failure);
    r = store_next_ended(store, 9, &ended);
    r = store_end(store, r == -ENOENT ? 0 : r, failure);
    return r ? r : store_backup(store, copy, &stop, failure);
}

/* ---- tests ---- */

/* @sparse: ever fewer of the later allocations. */
static void fail_everywhere(const char *name, const char *path,
                            int (*use)(const char *, struct failure *), bool sparse) {
    int n_failed = 0;
    struct failure failure = {};
    int n, r;

    if (use(path, &failure)) /* also what is made once in a process */
        fail_msg("%s: %s", name, failure.detail);
    for (n = 1; n < CALLS_MAX; n += sparse ? 1 + n / 16 : 1) {
        bool hit;

        failure = (struct failure){};
        allocations_fail(n);
        r = use(path, &failure);
        hit = allocations_stop();
        if (!hit)
            break;
        n_failed++;
        if (r != 0 && (r != -ENOMEM || !failure.code[0]))
            fail_msg("%s: allocation %d: %d %s '%s'", name, n, r, failure.code, failure.detail);
    }
    assert_int_equal(r, 0);
    printf("%s: %d of %d allocations failed in turn\n", name, n_failed, n - 1);
}

static void test_json(void **state) {
    cleanup(freep) char *path = source_file("tests/data/geometry/tied/config.json");

    (void)state;
    fail_everywhere("json", path, use_json, false);
}

static void test_submission(void **state) {
    (void)state;
    fail_everywhere("submission", "", use_submission, false);
}

static void test_tokenizer(void **state) {
    cleanup(freep) char *path = source_file("tests/fuzz/corpus/tokenizer/small");

    (void)state;
    fail_everywhere("tokenizer", path, use_tokenizer, false);
}

static void test_checkpoint(void **state) {
    cleanup(freep) char *path = source_file("tests/data/geometry/tied");

    (void)state;
    fail_everywhere("checkpoint", path, use_checkpoint, false);
}

static void test_corpus(void **state) {
    cleanup(freep) char *path = source_file("data/texts");

    (void)state;
    fail_everywhere("corpus", path, use_corpus, false);
}

static void test_store(void **state) {
    char path[] = "/tmp/quantd-test-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(path));
    fail_everywhere("store", path, use_store, true);
    assert_int_equal(dir_remove(path), 0);
}

static void test_upkeep(void **state) {
    char path[] = "/tmp/quantd-test-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(path));
    fail_everywhere("upkeep", path, use_upkeep, true);
    assert_int_equal(dir_remove(path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),      cmocka_unit_test(test_submission),
        cmocka_unit_test(test_tokenizer), cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_corpus),    cmocka_unit_test(test_store),
        cmocka_unit_test(test_upkeep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
