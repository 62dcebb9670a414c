// SPDX-License-Identifier: Apache-2.0
/* A mirror, two data roots, and places outside of them; what a corpus is expected to be. */
#pragma once

#include "daemon/data/corpus.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char base[32];
    char *mirror_dirs[2], *roots[2];
    struct source_mirror mirror;
    struct corpora corpora;
    struct failure failure;
};

static inline char *place(const struct world *world, const char *name) {
    char *path = str_format("%s/%s", world->base, name), *parent = strdup(path);

    *strrchr(parent, '/') = '\0';
    assert_int_equal(dir_make(parent), 0);
    free(parent);
    return path;
}

static inline void put(const struct world *world, const char *name, const void *data, size_t size) {
    cleanup(freep) char *path = place(world, name);

    assert_int_equal(file_replace(path, data, size), 0);
}

static inline int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));

    strcpy(world->base, "/tmp/quantd-corpus-XXXXXX");
    assert_non_null(mkdtemp(world->base));
    world->mirror_dirs[0] = place(world, "empty/");
    world->mirror_dirs[1] = place(world, "mirror/");
    world->roots[0] = place(world, "root0/");
    world->roots[1] = place(world, "root1/");
    source_mirror_init(&world->mirror, world->mirror_dirs, 2);
    world->corpora = (struct corpora){&world->mirror.source, world->roots, 2};
    *state = world;
    return 0;
}

static inline int teardown(void **state) {
    struct world *world = *state;

    dir_remove(world->base);
    for (int i = 0; i < 2; i++) {
        free(world->mirror_dirs[i]);
        free(world->roots[i]);
    }
    free(world);
    return 0;
}

static inline void expect_text(struct world *world, const char *name, enum corpus_use use,
                               const char *text) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    int r = corpus_load(&world->corpora, name, use, &corpus, &world->failure);

    if (r)
        print_error("%s: %s\n", name, world->failure.detail);
    assert_int_equal(r, 0);
    assert_int_equal(corpus->size, strlen(text));
    assert_string_equal(corpus->text, text);
}

static inline void expect_failure(struct world *world, const char *name, enum corpus_use use, int r,
                                  const char *code, const char *words) {
    struct corpus *corpus = NULL;

    world->failure = (struct failure){};
    assert_int_equal(corpus_load(&world->corpora, name, use, &corpus, &world->failure), r);
    assert_null(corpus);
    assert_string_equal(world->failure.code, code);
    if (!strstr(world->failure.detail, words))
        fail_msg("'%s' does not say '%s'", world->failure.detail, words);
}

#define with_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
