// SPDX-License-Identifier: Apache-2.0
/*
 * Locals that free themselves: cleanup(freep) char *s = NULL;
 * A function that hands one over ends with `*ret_x = steal_ptr(x);`.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(fn) __attribute__((cleanup(fn)))

#define steal_ptr(p)                                                                               \
    ({                                                                                             \
        __typeof__(p) _stolen = (p);                                                               \
        (p) = NULL;                                                                                \
        _stolen;                                                                                   \
    })

static inline int steal_fd(int *fd) {
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* Defines NAME(), the cleanup of a local of type TYPE that FREE_FN takes and NULL needs no care. */
#define DEFINE_CLEANUP(type, name, free_fn)                                                        \
    static inline void name(type *p) {                                                             \
        if (*p)                                                                                    \
            free_fn(*p);                                                                           \
    }

static inline void freep(void *p) {
    free(*(void **)p);
}

static inline void closep(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

DEFINE_CLEANUP(FILE *, fclosep, fclose)
DEFINE_CLEANUP(DIR *, closedirp, closedir)
