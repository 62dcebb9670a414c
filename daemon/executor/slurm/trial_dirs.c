// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/trial_dirs.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "trial-"
#define MODE 0700
#define NONCE_LENGTH 16    /* as site_make_nonce() makes them */
#define STALE_SECONDS 3600 /* clocks of file servers differ by less */

int trial_dirs_make(const char *jobs_dir, const char *nonce, char **ret_dir,
                    struct failure *failure) {
    cleanup(freep) char *dir = str_format("%s/" PREFIX "%s", jobs_dir, nonce);

    if (!dir)
        return failure_oom(failure);
    if (mkdir(dir, MODE))
        return failure_errno(failure, -errno, "cannot make", dir);
    *ret_dir = steal_ptr(dir);
    return 0;
}

/* The nonce in the name of such a folder; NULL: it has another name. */
static const char *nonce_of(const char *name) {
    const char *nonce = name + strlen(PREFIX);

    if (!str_has_prefix(name, PREFIX) || strlen(nonce) != NONCE_LENGTH ||
        nonce[strspn(nonce, "0123456789abcdef")])
        return NULL;
    return nonce;
}

static bool is_stale(int jobs_fd, const char *name) {
    struct stat st;

    return !fstatat(jobs_fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode) &&
           st.st_uid == geteuid() && (st.st_mode & 0777) == MODE &&
           time(NULL) - st.st_mtime > STALE_SECONDS;
}

void trial_dirs_clean(const char *jobs_dir, bool (*each)(void *ctx, const char *nonce), void *ctx) {
    cleanup(closedirp) DIR *dir = opendir(jobs_dir);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        cleanup(freep) char *path = NULL;
        const char *nonce = nonce_of(entry->d_name);

        if (!nonce || !is_stale(dirfd(dir), entry->d_name) || !each(ctx, nonce))
            continue;
        path = str_format("%s/%s", jobs_dir, entry->d_name);
        if (path)
            dir_remove(path);
    }
}
