// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/walk.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void walk_done(struct walk *walk) {
    for (int i = 0; i < walk->n; i++)
        free(walk->found[i].path);
    free(walk->found);
}

/* Takes over @path. */
static int keep(struct walk *walk, char *path, int root, int64_t bytes) {
    if (walk->n == walk->capacity) {
        int capacity = walk->capacity ? 2 * walk->capacity : 64;
        struct found *grown = reallocarray(walk->found, (size_t)capacity, sizeof(*grown));

        if (!grown) {
            free(path);
            return -ENOMEM;
        }
        walk->found = grown;
        walk->capacity = capacity;
    }
    walk->found[walk->n++] = (struct found){path, root, bytes};
    return 0;
}

static int walk_folder(struct walk *walk, int fd, const char *path, int root, int depth);

static int enter(struct walk *walk, int dir_fd, const char *name, const char *path, int root,
                 int depth) {
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        walk->n_unreadable++;
        return 0;
    }
    return walk_folder(walk, fd, path, root, depth + 1);
}

static int look(struct walk *walk, int dir_fd, const char *name, const char *folder, int root,
                int depth) {
    cleanup(freep) char *path = folder[0] ? str_format("%s/%s", folder, name) : strdup(name);
    enum walk_answer answer;
    struct stat st;
    int64_t bytes = 0;

    if (!path)
        return -ENOMEM;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
        walk->n_unreadable++;
        return 0;
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return 0;
    answer = walk->visit(walk->ctx, dir_fd, name, path, &st, &bytes);
    walk->n_unreadable += answer == WALK_FAULT;
    if (answer == WALK_KEEP)
        return keep(walk, steal_ptr(path), root, bytes);
    if (!S_ISDIR(st.st_mode) || answer == WALK_FAULT)
        return 0;
    if (depth < WALK_DEPTH_MAX)
        return enter(walk, dir_fd, name, path, root, depth);
    walk->truncated = 1;
    return 0;
}

/* Takes over @fd. */
static int walk_folder(struct walk *walk, int fd, const char *path, int root, int depth) {
    cleanup(closedirp) DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int r = 0;

    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    while (!r && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        if (walk->n_entries == WALK_ENTRIES_MAX || walk->n == WALK_FOUND_MAX) {
            walk->truncated = 1;
            break;
        }
        walk->n_entries++;
        r = look(walk, dirfd(dir), entry->d_name, path, root, depth);
    }
    return r;
}

int walk_root(struct walk *walk, const char *path, int root) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        walk->n_unreadable++;
        return 0;
    }
    return walk_folder(walk, fd, "", root, 0);
}

static int compare(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    int order = strcmp(x->path, y->path);

    return order ? order : (x->root > y->root) - (x->root < y->root);
}

void walk_sort(struct walk *walk) {
    int n = 0;

    if (walk->n == 0)
        return;
    qsort(walk->found, (size_t)walk->n, sizeof(*walk->found), compare);
    for (int i = 0; i < walk->n; i++) {
        if (n > 0 && str_equal(walk->found[n - 1].path, walk->found[i].path))
            free(walk->found[i].path);
        else
            walk->found[n++] = walk->found[i];
    }
    walk->n = n;
}
