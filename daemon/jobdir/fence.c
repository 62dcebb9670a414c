// SPDX-License-Identifier: Apache-2.0
#include "daemon/jobdir/fence.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

bool fence_is_nonce(const char *text) {
    return *text && strlen(text) <= FENCE_NONCE_MAX &&
           !text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_")];
}

int fence_set(const char *dir, const char *nonce, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/run", dir);
    int r = path ? file_replace(path, nonce, strlen(nonce)) : -ENOMEM;

    return r ? failure_errno(failure, r, "cannot write", path ? path : dir) : 0;
}

/* It is opened anew each time: that is when a network file system looks at the server. */
enum fence fence_look(const char *dir, const char *nonce) {
    cleanup(freep) char *path = str_format("%s/run", dir), *text = NULL;
    size_t size;
    int r = path ? file_read(path, FENCE_NONCE_MAX, &text, &size) : -ENOMEM;

    if (r == -ENOENT)
        return FENCE_OPEN;
    if (r && r != -EFBIG)
        return FENCE_MINE;
    return str_equal(text, nonce) ? FENCE_MINE : FENCE_OTHER;
}

int fence_lock(const char *dir, int *ret_fd, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/lock", dir);
    /* For writing: NFS makes a lock of the file of it, which needs that. */
    cleanup(closep) int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640) : -1;

    if (!path)
        return failure_oom(failure);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            return failure_set(failure, -EBUSY, "job_folder_busy", "wait for its end",
                               "another run works in '%s'", dir);
        log_warning("the file system of '%s' locks no files: %s", dir, strerror(errno));
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}
