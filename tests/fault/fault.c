// SPDX-License-Identifier: Apache-2.0
/* Both names of a call are defined here; the headers shall not make one of them. */
#undef _FILE_OFFSET_BITS

#include "tests/fault/fault.h"

#include "base/macros.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char folder[PATH_MAX];
    int n, error, calls;
    bool armed, stays;
    char name[64 + NAME_MAX];
} fault; /* under the mutex */

void fault_arm(const char *folder, int n, int error, bool stays) {
    pthread_mutex_lock(&mutex);
    snprintf(fault.folder, sizeof(fault.folder), "%s", folder);
    fault.n = n;
    fault.error = error;
    fault.stays = stays;
    fault.calls = 0;
    fault.name[0] = '\0';
    fault.armed = true;
    pthread_mutex_unlock(&mutex);
}

int fault_disarm(void) {
    fault.armed = false;
    return fault.calls;
}

const char *fault_name(void) {
    return fault.name;
}

static void __attribute__((constructor)) read_environment(void) {
    const char *text = getenv("QUANTD_FAULT"), *folder = getenv("QUANTD_FAULT_BELOW");
    char *end;
    int n;

    if (!text || !folder)
        return;
    n = (int)strtol(text, &end, 10);
    fault_arm(folder, n,
              strstr(end, "ENOSPC") ? ENOSPC
              : strstr(end, "EIO")  ? EIO
                                    : FAULT_SHORT,
              *end == '+');
}

/* What a call @name that changes @path is to fail with; 0: nothing. */
static int strike(const char *name, const char *path) {
    size_t length;
    int error = 0;

    pthread_mutex_lock(&mutex);
    length = strlen(fault.folder);
    if (fault.armed && strncmp(path, fault.folder, length) == 0 &&
        (path[length] == '/' || path[length] == '\0')) {
        const char *slash = strrchr(path, '/');

        fault.calls++;
        if (fault.calls == fault.n || (fault.stays && fault.n && fault.calls > fault.n)) {
            error = fault.error;
            snprintf(fault.name, sizeof(fault.name), "%s %s", name, slash ? slash + 1 : path);
        }
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

static int strike_fd(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0)
        return 0;
    path[n] = '\0';
    return strike(name, path);
}

/* The C library's function, looked up once. */
#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) next_;                                                            \
        if (!next_)                                                                                \
            next_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                    \
        next_;                                                                                     \
    })

/* Leaves the function with -1 when @error is one. */
#define FAIL_WITH(error)                                                                           \
    do {                                                                                           \
        int error_ = (error);                                                                      \
        if (error_ > 0) {                                                                          \
            errno = error_;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

#define DEFINE_OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                                   \
        va_list args;                                                                              \
        mode_t mode;                                                                               \
                                                                                                   \
        va_start(args, flags);                                                                     \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;                           \
        va_end(args);                                                                              \
        if (flags & O_CREAT)                                                                       \
            FAIL_WITH(strike("open", path));                                                       \
        return NEXT(name)(path, flags, mode);                                                      \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

ssize_t write(int fd, const void *data, size_t size) {
    int error = strike_fd("write", fd);

    FAIL_WITH(error);
    return NEXT(write)(fd, data, error == FAULT_SHORT && size > 1 ? size / 2 : size);
}

#define DEFINE_PWRITE(name, offset_type)                                                           \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {                      \
        int error = strike_fd("pwrite", fd);                                                       \
                                                                                                   \
        FAIL_WITH(error);                                                                          \
        return NEXT(name)(fd, data, error == FAULT_SHORT && size > 1 ? size / 2 : size, offset);   \
    }
DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

/* No power is lost here: while armed, nothing waits for the disk. */
int fsync(int fd) {
    FAIL_WITH(strike_fd("fsync", fd));
    return fault.armed ? 0 : NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    FAIL_WITH(strike_fd("fdatasync", fd));
    return fault.armed ? 0 : NEXT(fdatasync)(fd);
}

int ftruncate(int fd, off_t size) {
    FAIL_WITH(strike_fd("ftruncate", fd));
    return NEXT(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    FAIL_WITH(strike_fd("ftruncate", fd));
    return NEXT(ftruncate64)(fd, size);
}

int rename(const char *from, const char *to) {
    FAIL_WITH(strike("rename", to));
    return NEXT(rename)(from, to);
}

int link(const char *from, const char *to) {
    FAIL_WITH(strike("link", to));
    return NEXT(link)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (strcmp(path, fault.folder) != 0) /* the folder itself is there */
        FAIL_WITH(strike("mkdir", path));
    return NEXT(mkdir)(path, mode);
}
