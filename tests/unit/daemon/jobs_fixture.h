// SPDX-License-Identifier: Apache-2.0
/* A queue on a real store, with one model, without a device. Included once by a test. */
#pragma once

#include "daemon/queue/jobs.h"

#include "daemon_fixture.h"

#include <errno.h>
#include <sys/stat.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

struct queue {
    struct fixture *f;
    char root[96];
    char *roots[1];
    const char *boot; /* of the machine; NULL: not known */
    struct models models;
    struct jobs jobs;
};

static const struct caller user = {.owner = "user", .role = ROLE_SUBMIT};

static const char request_text[] =
    "{\"model\": \"m\", \"dataset\": \"wikitext2\", \"wbits\": 4, \"priority\": 3, \"name\": "
    "\"n\", \"labels\": {\"team\": \"a\"}}";

static inline void disconnect_queue(struct queue *q) {
    events_free(q->jobs.events);
    job_cache_free(q->jobs.cache);
}

static inline void connect_queue(struct queue *q) {
    q->jobs = (struct jobs){.store = q->f->store,
                            .events = events_new(q->f->store),
                            .cache = job_cache_new(q->f->store),
                            .models = &q->models,
                            .jobs_dir = q->f->jobs_dir};
    q->jobs.quota.priority_limit = 100;
    if (q->boot)
        snprintf(q->jobs.boot, sizeof(q->jobs.boot), "%s", q->boot);
}

static inline int setup(void **state) {
    struct queue *q = calloc(1, sizeof(*q));
    cleanup(freep) char *config = NULL;

    fixture_setup((void **)&q->f);
    snprintf(q->root, sizeof(q->root), "%s/models/m", q->f->dir);
    assert_int_equal(dir_make(q->root), 0);
    config = str_format("%s/config.json", q->root);
    assert_int_equal(file_replace(config, "{}", 2), 0);
    snprintf(q->root, sizeof(q->root), "%s/models", q->f->dir);
    q->roots[0] = q->root;
    models_set_roots(&q->models, q->roots, 1);
    connect_queue(q);
    *state = q;
    return 0;
}

static inline int teardown(void **state) {
    struct queue *q = *state;

    disconnect_queue(q);
    fixture_teardown((void **)&q->f);
    free(q);
    return 0;
}

static inline void connect_queue_again(struct queue *q) {
    disconnect_queue(q);
    connect_queue(q);
}

/* As after kill -9: nothing was asked to end. */
static inline void restart(struct queue *q) {
    struct failure failure;

    disconnect_queue(q);
    store_close(q->f->store);
    fixture_open(q->f);
    connect_queue(q);
    if (jobs_recover(&q->jobs, &failure))
        fail_msg("%s", failure.detail);
}

static inline int submit_text(struct queue *q, const char *text, const char *key, json_t **ret_job,
                              bool *ret_created, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = json_loads(text, JSON_DECODE_ANY, NULL);

    return jobs_submit(&q->jobs, &user, key, request, ret_job, ret_created, failure);
}

static inline int64_t submit(struct queue *q, const char *key) {
    cleanup(json_decrefp) json_t *job = NULL;
    struct failure failure;
    bool created;

    if (submit_text(q, request_text, key, &job, &created, &failure))
        fail_msg("%s", failure.detail);
    return json_integer_value(json_object_get(job, "id"));
}

static inline json_t *object(struct queue *q, int64_t id) {
    struct failure failure;
    uint64_t version;
    json_t *job = NULL;

    assert_int_equal(jobs_object(&q->jobs, &caller_daemon, id, 0, &job, &version, &failure), 0);
    return job;
}

static inline void expect_status(struct queue *q, int64_t id, const char *status, int attempt) {
    cleanup(json_decrefp) json_t *job = object(q, id);

    assert_string_equal(json_string_value(json_object_get(job, "status")), status);
    assert_int_equal(json_integer_value(json_object_get(job, "attempt")), attempt);
}

static inline void expect_last_event(struct queue *q, int64_t id, const char *type) {
    cleanup(json_decrefp) json_t *events = NULL;
    size_t n;

    begin(q->f);
    assert_int_equal(end(q->f, store_list_events(q->f->store, id, NULL, 0, 1000, &events)), 0);
    n = json_array_size(events);
    assert_true(n > 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, n - 1), "type")),
                        type);
}

static inline int64_t claim_next(struct queue *q) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    struct failure failure;
    int r = jobs_claim(&q->jobs, "cpu", &row, &failure);

    assert_true(!r || r == -ENOENT);
    return row ? row->id : 0;
}

static inline json_t *make_result(double value) {
    return json_pack("{s{s{sfss}} ss si s[{ss si ss}]}", "perplexity", "ptb", "value", value,
                     "sha256", "w", "model_fingerprint", "m", "seqlen", 512, "artifacts", "name",
                     "config.json", "bytes", 2, "sha256", "x");
}
