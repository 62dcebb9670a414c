// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/paths.h"

#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>

char *paths_job(const char *jobs_dir, int64_t id) {
    return str_format("%s/%" PRId64, jobs_dir, id);
}

char *paths_artifact(const char *jobs_dir, int64_t id) {
    return str_format("%s/%" PRId64 "/artifact", jobs_dir, id);
}

int paths_open_beneath(int dir_fd, const char *path, int flags, bool links) {
    return file_open_beneath(dir_fd, path, flags, links);
}
