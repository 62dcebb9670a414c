// SPDX-License-Identifier: Apache-2.0
/*
 * What is below a root, for lists: bounded, without following links, whatever others put there.
 * Names that begin with a dot are passed by. Any thread.
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#define WALK_DEPTH_MAX 5       /* folders below the root that are entered */
#define WALK_ENTRIES_MAX 20000 /* names that are looked at, of all walks of one struct */
#define WALK_FOUND_MAX 1000    /* names that are kept */

/* What a visit answers. */
enum walk_answer { WALK_ON, WALK_KEEP, WALK_FAULT };

struct found {
    char *path;    /* below its root; owned */
    int root;      /* which one */
    int64_t bytes; /* as the visit said */
};

/* Zero-initialise, but for visit. */
struct walk {
    /*
     * Looks at @name, a folder or a regular file in the folder @dir_fd. WALK_KEEP: it is one of
     * those that are looked for, and not entered. WALK_FAULT: it cannot be read.
     */
    enum walk_answer (*visit)(void *ctx, int dir_fd, const char *name, const char *path,
                              const struct stat *st, int64_t *ret_bytes);
    void *ctx;
    struct found *found; /* owned; by path once walk_sort() was called */
    int n, capacity;
    int n_entries;
    int n_unreadable; /* folders and files that could not be read */
    int truncated;    /* a bound was met */
};

/* walk_root() - look below the folder @path, root number @root. Return: 0 or -ENOMEM. */
int walk_root(struct walk *walk, const char *path, int root);

/* walk_sort() - by path; of those that several roots have only the first root's stays. */
void walk_sort(struct walk *walk);
void walk_done(struct walk *walk);
