// SPDX-License-Identifier: Apache-2.0
#include "daemon/paths.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

char *paths_job(const char *state_dir, int64_t id) {
    return str_format("%s/jobs/%" PRId64, state_dir, id);
}

char *paths_artifact(const char *state_dir, int64_t id) {
    return str_format("%s/jobs/%" PRId64 "/artifact", state_dir, id);
}

int paths_open_beneath(int dir_fd, const char *path, int flags, bool links) {
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | (links ? RESOLVE_NO_MAGICLINKS : RESOLVE_NO_SYMLINKS),
    };
    long fd;

    /* EAGAIN: a rename elsewhere raced with "..", the kernel asks to try again. */
    for (int i = 0; i < 16; i++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}
