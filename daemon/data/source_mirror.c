// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/source.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <sys/stat.h>

static int fetch(struct source *source, const char *host, const char *path, char **ret_path,
                 struct failure *failure) {
    struct source_mirror *mirror = (struct source_mirror *)source; /* its first member */

    for (int i = 0; i < mirror->n_dirs; i++) {
        cleanup(freep) char *local = str_format("%s/%s", mirror->dirs[i], path);
        struct stat st;

        if (!local)
            return failure_oom(failure);
        if (stat(local, &st) == 0) {
            *ret_path = steal_ptr(local);
            return 0;
        }
        if (errno != ENOENT && errno != ENOTDIR)
            return failure_errno(failure, -errno, "cannot look up", path);
    }
    return failure_set(failure, -ENOENT, "dataset_not_found",
                       mirror->n_dirs ? "copy the file to that path under a mirror folder"
                                      : "start quantd with --mirror DIR, a folder laid out by URL "
                                        "path",
                       "cannot find '%s' of %s in %d mirror folders", path, host, mirror->n_dirs);
}

void source_mirror_init(struct source_mirror *mirror, char *const *dirs, int n_dirs) {
    *mirror = (struct source_mirror){.source = {.fetch = fetch}, .dirs = dirs, .n_dirs = n_dirs};
}
