// SPDX-License-Identifier: Apache-2.0
/*
 * A library to preload: fsync() and fdatasync() below a folder called "work" hang as long as the
 * file that QUANTD_HANG names is there, as a thread does in a driver that does not come back. One
 * that hangs leaves "hung" in that file. So does asking the cpu backend for its memory, with
 * QUANTD_HANG_INFO.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As long as the file that the variable @name names is there. */
static void hang_while(const char *name) {
    const char *file = getenv(name);

    if (!file)
        return;
    for (int r = open(file, O_WRONLY); r >= 0; r = open(file, O_WRONLY)) {
        if (write(r, "hung", 4) < 0)
            abort();
        close(r);
        usleep(10000);
    }
}

static void hang(int fd) {
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = '\0';
    if (strstr(path, "/work/"))
        hang_while("QUANTD_HANG");
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

/* With 64-bit offsets the symbol is fopen64. */
FILE *fopen(const char *path, const char *mode) {
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen64");

    if (strcmp(path, "/proc/meminfo") == 0)
        hang_while("QUANTD_HANG_INFO");
    return next(path, mode);
}
