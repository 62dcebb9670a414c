// SPDX-License-Identifier: Apache-2.0
/*
 * A library to preload: fsync() and fdatasync() below a folder called "work" hang as long as the
 * file that QUANTD_HANG names is there, as a thread does in a driver that does not come back. One
 * that hangs leaves "hung" in that file.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hang(int fd) {
    const char *file = getenv("QUANTD_HANG");
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = '\0';
    if (!file || !strstr(path, "/work/"))
        return;
    for (int r = open(file, O_WRONLY); r >= 0; r = open(file, O_WRONLY)) {
        if (write(r, "hung", 4) < 0)
            abort();
        close(r);
        usleep(10000);
    }
}

static int call(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

    hang(fd);
    return next(fd);
}

int fsync(int fd) {
    return call("fsync", fd);
}

int fdatasync(int fd) {
    return call("fdatasync", fd);
}
