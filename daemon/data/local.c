// SPDX-License-Identifier: Apache-2.0
/*
 * The path comes from a client: the kernel resolves it and keeps it beneath the root, symbolic
 * links included. Failures do not say where the roots are.
 */
#include "daemon/data/local.h"

#include "base/file.h"
#include "daemon/data/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

bool local_path_valid(const char *path) {
    if (path[0] == '\0' || path[0] == '/' || strlen(path) >= PATH_MAX)
        return false;
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, "/");

        if (n == 2 && at[0] == '.' && at[1] == '.')
            return false;
        at += n;
        if (!*at)
            return true;
    }
}

/* Return: a descriptor or a negative errno. */
static int open_beneath(const char *root, const char *path) {
    cleanup(closep) int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root_fd < 0)
        return -errno;
    return file_open_beneath(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, true);
}

static bool means_absent(int r) {
    return r == -ENOENT || r == -ENOTDIR || r == -EXDEV || r == -ELOOP || r == -ENAMETOOLONG;
}

static int open_local(char *const *roots, int n_roots, const char *path, int *ret_fd,
                      struct failure *failure) {
    for (int i = 0; i < n_roots; i++) {
        cleanup(closep) int fd = open_beneath(roots[i], path);
        struct stat st = {};

        if (means_absent(fd))
            continue;
        if (fd < 0 && fd != -ENXIO) /* ENXIO: a socket */
            return failure_errno(failure, fd, "cannot open", path);
        if (fd >= 0 && fstat(fd, &st))
            return failure_errno(failure, -errno, "cannot examine", path);
        if (fd < 0 || !S_ISREG(st.st_mode))
            return failure_set(failure, -EBADMSG, "dataset_invalid", "name a text file",
                               "cannot read '%s': not a regular file", path);
        *ret_fd = steal_fd(&fd);
        return 0;
    }
    return failure_set(failure, -ENOENT, "dataset_not_found",
                       n_roots
                           ? "put the file under a data root, whole: a path cannot leave its root"
                           : "start quantd with --data-root DIR",
                       "no data root has '%s'", path);
}

int local_load(char *const *roots, int n_roots, const char *path, struct documents *documents,
               struct failure *failure) {
    cleanup(closep) int fd = -1;
    char *text;
    size_t size;
    int r;

    if (!local_path_valid(path))
        return failure_set(failure, -ENOENT, "dataset_not_found",
                           "a path after 'file:' is relative to a data root, without '..'",
                           "no data root has '%s'", path);
    r = open_local(roots, n_roots, path, &fd, failure);
    if (!r)
        r = text_read(fd, path, &text, &size, failure);
    if (r)
        return r;
    documents->text = (struct strbuf){.data = text, .length = size, .capacity = size + 1};
    return 0;
}
