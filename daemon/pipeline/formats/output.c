// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/formats/output.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int output_open(struct output *output, const char *path, struct failure *failure) {
    output->path = strdup(path);
    if (!output->path)
        return failure_oom(failure);
    output->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (output->fd < 0) {
        int r = -errno;

        output_close(output);
        return failure_errno(failure, r, "cannot create", path);
    }
    return 0;
}

int output_sync(const struct output *output) {
    return fsync(output->fd) ? -errno : file_sync_parent(output->path);
}

int output_failed(const struct output *output, int r, struct failure *failure) {
    return r == -ENOMEM ? failure_oom(failure)
                        : failure_errno(failure, r, "cannot write", output->path);
}

void output_close(struct output *output) {
    if (output->path && output->fd >= 0)
        close(output->fd);
    free(output->path);
    *output = (struct output){};
}
