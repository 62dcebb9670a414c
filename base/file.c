// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OPEN_TRIES 16

int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size) {
    return file_read_in(NULL, path, max, ret_data, ret_size);
}

int file_read_in(const char *root, const char *path, size_t max, char **ret_data,
                 size_t *ret_size) {
    cleanup(closep) int fd = file_open_in(root, path, O_RDONLY | O_NONBLOCK);
    cleanup(freep) char *data = NULL;
    size_t size = 0;
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if ((size_t)st.st_size > max)
        return -EFBIG;
    data = malloc((size_t)st.st_size + 1);
    if (!data)
        return -ENOMEM;
    while (size < (size_t)st.st_size) {
        ssize_t n = read(fd, data + size, (size_t)st.st_size - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += n;
    }
    data[size] = '\0';
    *ret_size = size;
    *ret_data = steal_ptr(data);
    return 0;
}

int file_write_all(int fd, const void *data, size_t size) {
    const char *at = data;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        size -= n;
    }
    return 0;
}

int file_sync_parent(const char *path) {
    cleanup(freep) char *parent = strdup(path);
    cleanup(closep) int fd = -1;
    char *slash;

    if (!parent)
        return -ENOMEM;
    slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        return -errno;
    return 0;
}

int file_put(const char *path, const void *data, size_t size) {
    cleanup(freep) char *temporary = str_format("%s.tmp", path);
    cleanup(closep) int fd = -1;
    int r;

    if (!temporary)
        return -ENOMEM;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    r = file_write_all(fd, data, size);
    if (!r && (fsync(fd) || rename(temporary, path)))
        r = -errno;
    if (r)
        unlink(temporary);
    return r;
}

int file_replace(const char *path, const void *data, size_t size) {
    int r = file_put(path, data, size);

    return r ? r : file_sync_parent(path);
}

/* Is a part of @path ".."? */
static bool climbs(const char *path) {
    while (*path) {
        size_t n = strcspn(path, "/");

        if (n == 2 && path[0] == '.' && path[1] == '.')
            return true;
        path += n + (path[n] == '/');
    }
    return false;
}

/* What /proc calls the open file @fd. Return: bytes of @path, or -errno. */
static ssize_t path_of(int fd, char path[PATH_MAX]) {
    char link[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    return n;
}

/* Is @inner what @path is called below @outer? Without @links it must be the very name. */
static int check_beneath(const char *outer, size_t n, const char *inner, const char *path,
                         bool links) {
    while (n && outer[n - 1] == '/')
        n--;
    if (strncmp(inner, outer, n) || (inner[n] && inner[n] != '/'))
        return -EXDEV;
    return links || (inner[n] && str_equal(inner + n + 1, path)) ? 0 : -ELOOP;
}

/*
 * The same without openat2(), which old kernels lack and which systemd's RestrictSUIDSGID hides:
 * the file is looked up without being opened, and is let through when it turns out to lie inside.
 */
static int open_and_compare(int dir_fd, const char *path, int flags, bool links) {
    char outer[PATH_MAX], inner[PATH_MAX], link[32];
    cleanup(closep) int found = -1;
    struct stat st;
    ssize_t n;
    int r;

    if (path[0] == '/' || climbs(path))
        return -EXDEV;
    found =
        openat(dir_fd, path, O_PATH | O_CLOEXEC | (flags & O_DIRECTORY) | (links ? 0 : O_NOFOLLOW));
    if (found < 0 || fstat(found, &st))
        return -errno;
    n = path_of(dir_fd, outer);
    if (n < 0)
        return (int)n;
    r = (int)path_of(found, inner);
    if (r >= 0)
        r = S_ISLNK(st.st_mode) ? -ELOOP : check_beneath(outer, (size_t)n, inner, path, links);
    if (r)
        return r;
    if (flags & O_PATH)
        return steal_fd(&found);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", found);
    r = open(link, flags | O_CLOEXEC);
    return r < 0 ? -errno : r;
}

int file_open_beneath(int dir_fd, const char *path, int flags, bool links) {
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | (links ? RESOLVE_NO_MAGICLINKS : RESOLVE_NO_SYMLINKS),
    };

    /* EAGAIN: a rename elsewhere raced with "..", the kernel asks to try again. */
    for (int i = 0; i < OPEN_TRIES; i++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return errno == ENOSYS ? open_and_compare(dir_fd, path, flags, links) : -errno;
}

int file_open_in(const char *root, const char *path, int flags) {
    size_t n = root ? strlen(root) : 0;
    cleanup(closep) int fd = -1;

    if (!root) {
        int plain = open(path, flags | O_CLOEXEC);

        return plain < 0 ? -errno : plain;
    }
    while (n && root[n - 1] == '/')
        n--;
    if (strncmp(path, root, n) || (path[n] && path[n] != '/'))
        return -EXDEV;
    fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    path += n;
    while (*path == '/')
        path++;
    return file_open_beneath(fd, *path ? path : ".", flags, true);
}

int dir_make(const char *path) {
    return dir_make_mode(path, 0750);
}

int dir_make_mode(const char *path, mode_t mode) {
    cleanup(freep) char *copy = strdup(path);

    if (!copy)
        return -ENOMEM;
    for (char *at = copy + (copy[0] == '/');; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;

        *at = '\0';
        if (copy[0] && mkdir(copy, mode) && errno != EEXIST)
            return -errno;
        *at = end;
        if (!end)
            return 0;
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) && errno != ENOENT ? -errno : 0;
}

int dir_remove(const char *path) {
    int r = nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);

    if (r == -1)
        return errno == ENOENT ? 0 : -errno;
    return r;
}
