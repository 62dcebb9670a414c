// SPDX-License-Identifier: Apache-2.0
/*
 * Files of a model that are links: they are read inside the root alone, also while another thread
 * exchanges them.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/model/arch/json_python.h"
#include "daemon/model/fingerprint/identity.h"
#include "daemon/model/safetensors/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECONDS 2 /* at most; the swaps that are waited for take less */
#define SWAPS 2000
#define INSIDE "{\"from\": \"inside\"}"
#define OUTSIDE "{\"from\": \"outside\"}"
#define NAME "generation_config.json"

/* TOP/root/model/NAME is a link, to TOP/root/blob or to TOP/secret. */
struct world {
    char top[64], root[80], model[96], path[128];
    atomic_bool stop;
    atomic_int n_swaps;
};

static void put(const char *top, const char *name, const char *text) {
    cleanup(freep) char *path = str_format("%s/%s", top, name);

    assert_int_equal(file_replace(path, text, strlen(text)), 0);
}

/* The link leads to @target from now on, at no moment is there none. */
static void point(const struct world *w, const char *target) {
    cleanup(freep) char *next = str_format("%s.next", w->path);

    unlink(next);
    if (symlink(target, next) || rename(next, w->path))
        abort();
}

static int setup(void **state) {
    struct world *w = calloc(1, sizeof(*w));

    strcpy(w->top, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(w->top));
    snprintf(w->root, sizeof(w->root), "%s/root", w->top);
    snprintf(w->model, sizeof(w->model), "%s/model", w->root);
    snprintf(w->path, sizeof(w->path), "%s/" NAME, w->model);
    assert_int_equal(dir_make(w->model), 0);
    put(w->top, "secret", OUTSIDE);
    put(w->root, "blob", INSIDE);
    put(w->top, "root-more", OUTSIDE);
    point(w, "../blob");
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;

    assert_int_equal(dir_remove(w->top), 0);
    free(w);
    return 0;
}

static const struct companion *companion(void) {
    for (int i = 0; i < n_companions; i++) {
        if (str_equal(companions[i].name, NAME))
            return &companions[i];
    }
    abort();
}

/* What each way to read the file gives; @r_outside: 0, or what all return. */
static void expect(const struct world *w, const char *root, int r_outside) {
    cleanup(mapping_freep) struct mapping *mapping = NULL;
    cleanup(json_decrefp) json_t *object = NULL;
    cleanup(freep) char *data = NULL;
    struct failure f = {};
    size_t size = 0;

    assert_int_equal(companion_read(companion(), root, w->model, &data, &size, &f), r_outside);
    assert_int_equal(mapping_open(root, w->path, SIZE_MAX, &mapping, &f), r_outside);
    assert_int_equal(json_parse_python(root, w->path, 100, "model_invalid", &object, &f),
                     r_outside);
    if (!r_outside)
        return;
    assert_string_equal(f.code, "model_invalid");
    assert_non_null(strstr(f.detail, NAME));
    assert_non_null(strstr(f.detail, "leads out"));
    assert_non_null(f.hint[0] ? f.hint : NULL);
}

static void test_where_links_lead(void **state) {
    struct world *w = *state;
    struct identity identity;
    int fd;

    expect(w, w->root, 0);
    expect(w, w->model, -EBADMSG); /* the model's own folder as its root */
    expect(w, NULL, 0);
    assert_int_equal(identity_of_path(w->model, w->path, &identity), -EXDEV);
    assert_int_equal(identity_of_path(w->root, w->path, &identity), 0);
    assert_int_equal(identity.size, strlen(INSIDE));
    point(w, "../../secret");
    expect(w, w->root, -EBADMSG);
    point(w, "/etc/passwd");
    expect(w, w->root, -EBADMSG);
    point(w, "/proc/self/environ");
    expect(w, w->root, -EBADMSG);
    point(w, NAME); /* to itself */
    expect(w, w->root, -EBADMSG);
    /* A path beside the root whose name begins alike; the root itself, also with a slash. */
    assert_int_equal(file_open_in(w->root, "/etc/passwd", O_RDONLY), -EXDEV);
    snprintf(w->path, sizeof(w->path), "%s-more", w->root);
    assert_int_equal(file_open_in(w->root, w->path, O_RDONLY), -EXDEV);
    snprintf(w->path, sizeof(w->path), "%s/", w->root);
    assert_true((fd = file_open_in(w->path, w->root, O_PATH)) >= 0);
    close(fd);
}

/* A file that is watched and becomes a link to outside has changed. */
static void test_watched(void **state) {
    struct world *w = *state;
    struct watch watch = {.root = w->root};
    struct failure f = {};

    assert_int_equal(watch_add(&watch, w->path, NULL), 0);
    assert_int_equal(watch_check(&watch, &f), 0);
    point(w, "../../secret");
    assert_int_equal(watch_check(&watch, &f), -ESTALE);
    point(w, "../blob");
    assert_int_equal(watch_check(&watch, &f), 0);
    watch_done(&watch);
}

static void *swap(void *ctx) {
    struct world *w = ctx;

    while (!atomic_load(&w->stop)) {
        point(w, "../../secret");
        point(w, "../blob");
        atomic_fetch_add(&w->n_swaps, 1);
    }
    return NULL;
}

static void check_inside(const void *data, size_t size) {
    assert_int_equal(size, strlen(INSIDE));
    assert_memory_equal(data, INSIDE, size);
}

static void test_exchanged(void **state) {
    double end = clock_monotonic() + SECONDS;
    struct world *w = *state;
    int n_read = 0, n_refused = 0;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, swap, w), 0);
    while (clock_monotonic() < end && (atomic_load(&w->n_swaps) < SWAPS || !n_read || !n_refused)) {
        cleanup(mapping_freep) struct mapping *mapping = NULL;
        cleanup(freep) char *data = NULL;
        struct failure f = {};
        size_t size = 0;
        int r = companion_read(companion(), w->root, w->model, &data, &size, &f);

        assert_true(r == 0 || r == -EBADMSG);
        if (!r)
            check_inside(data, size);
        n_read += !r;
        n_refused += r != 0;
        r = mapping_open(w->root, w->path, SIZE_MAX, &mapping, &f);
        assert_true(r == 0 || r == -EBADMSG);
        if (!r)
            check_inside(mapping->data, mapping->size);
    }
    atomic_store(&w->stop, true);
    pthread_join(thread, NULL);
    assert_true(n_read > 0 && n_refused > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_where_links_lead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exchanged, setup, teardown),
    };

    return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}
