// SPDX-License-Identifier: Apache-2.0
/* A store in a folder of its own, with jobs in it. Included once by a test of the daemon. */
#pragma once

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    char dir[64], jobs_dir[80];
    struct store *store;
    struct failure failure;
};

static void fixture_open(struct fixture *f) {
    if (store_open(f->dir, &f->store, &f->failure))
        fail_msg("%s", f->failure.detail);
}

static int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->jobs_dir, sizeof(f->jobs_dir), "%s/jobs", f->dir);
    assert_int_equal(dir_make(f->jobs_dir), 0);
    fixture_open(f);
    *state = f;
    return 0;
}

static int fixture_teardown(void **state) {
    struct fixture *f = *state;

    store_close(f->store);
    assert_int_equal(dir_remove(f->dir), 0);
    free(f);
    return 0;
}

static inline void begin(struct fixture *f) {
    assert_int_equal(store_begin(f->store, STORE_WRITE, &f->failure), 0);
}

static inline int end(struct fixture *f, int r) {
    return store_end(f->store, r, &f->failure);
}

static inline int64_t insert(struct fixture *f, const char *owner, int priority) {
    cleanup(json_decrefp) json_t *empty = json_object();
    struct new_job job = {.kind = "quantize",
                          .owner = owner,
                          .name = "",
                          .model_dir = "/nowhere",
                          .labels = empty,
                          .request = empty,
                          .params = empty,
                          .priority = priority,
                          .created_at = 1};
    int64_t id = 0;

    begin(f);
    assert_int_equal(end(f, store_insert_job(f->store, &job, &id)), 0);
    return id;
}

/* Claims; returns the id, 0 for an empty queue. */
static inline int64_t claim(struct fixture *f) {
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r;

    begin(f);
    r = store_claim_job(f->store, 2, &(struct store_claim){.writes = true, .executor = "local"},
                        &row);
    assert_int_equal(end(f, r == -ENOENT ? 0 : r), 0);
    return row ? row->id : 0;
}

static inline int change(struct fixture *f, int64_t id, enum job_status from, enum job_status to) {
    cleanup(json_decrefp) json_t *empty = json_object();
    struct job_change change = {.from = from,
                                .to = to,
                                .at = 3,
                                .result = to == JOB_SUCCEEDED ? empty : NULL,
                                .error = to == JOB_FAILED ? empty : NULL};

    begin(f);
    return end(f, store_change_job(f->store, id, &change));
}

static inline struct job_row *get(struct fixture *f, int64_t id) {
    struct job_row *row = NULL;

    begin(f);
    assert_int_equal(end(f, store_get_job(f->store, id, &row)), 0);
    return row;
}

/* Its place in the queue. */
static inline int64_t place(struct fixture *f, int64_t id) {
    struct job_summary summary = {};

    begin(f);
    assert_int_equal(end(f, store_get_summary(f->store, id, &summary)), 0);
    return summary.position;
}
