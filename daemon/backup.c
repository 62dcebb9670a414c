// SPDX-License-Identifier: Apache-2.0
#include "daemon/backup.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/queue/job_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "backups"
#define PARTIAL "partial" /* the copy until it is whole */
#define PREFIX "quantd-"
#define SUFFIX ".db"
#define NAMES_MAX 64

static char *path_of(const struct backup *backup, const char *name) {
    return str_format("%s/" FOLDER "/%s", backup->state_dir, name);
}

/* -------- the folder -------- */

static bool is_backup(const char *name) {
    size_t n = strlen(name);

    return str_has_prefix(name, PREFIX) && n > strlen(SUFFIX) &&
           str_equal(name + n - strlen(SUFFIX), SUFFIX);
}

static void remove_file(const struct backup *backup, const char *name) {
    cleanup(freep) char *path = path_of(backup, name);

    if (path && unlink(path) && errno != ENOENT)
        log_warning("cannot remove '%s': %s", path, strerror(errno));
}

/* The oldest of those beside the newest, if they are more than are kept. */
static bool find_surplus(const struct backup *backup, char ret_name[NAMES_MAX]) {
    cleanup(freep) char *path = path_of(backup, "");
    cleanup(closedirp) DIR *dir = path ? opendir(path) : NULL;
    struct dirent *entry;
    int n_others = 0;

    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (!is_backup(name) || strlen(name) >= NAMES_MAX || str_equal(name, backup->name))
            continue;
        /* The names contain the time, so they sort by age. */
        if (!n_others++ || strcmp(name, ret_name) < 0)
            snprintf(ret_name, NAMES_MAX, "%s", name);
    }
    return n_others > BACKUPS_KEPT - 1;
}

static void prune(const struct backup *backup) {
    char name[NAMES_MAX];

    for (int i = 0; i < 100 && find_surplus(backup, name); i++)
        remove_file(backup, name);
}

/* -------- one backup, in its own thread -------- */

/* An empty file that only the daemon may read; SQLite would make one as the umask has it. */
static int make_partial(const struct backup *backup, const char *path, struct failure *failure) {
    cleanup(freep) char *folder = path_of(backup, "");
    cleanup(closep) int fd = -1;
    int r = folder ? dir_make(folder) : -ENOMEM;

    if (r)
        return failure_errno(failure, r, "cannot make", folder ? folder : FOLDER);
    remove_file(backup, PARTIAL);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? failure_errno(failure, -errno, "cannot make", path) : 0;
}

/* The whole copy at @from is on disk, and gets the name @to, which no other file has. */
static int publish(const char *from, const char *to, struct failure *failure) {
    cleanup(closep) int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int r;

    if (fd < 0 || fsync(fd))
        return failure_errno(failure, -errno, "cannot write", from);
    if (link(from, to))
        return failure_errno(failure, -errno, "cannot make", to);
    r = file_sync_parent(to);
    if (!r)
        return 0;
    unlink(to); /* it must not be used */
    return failure_errno(failure, r, "cannot write", to);
}

static int write_backup(struct backup *backup, const char *partial, const char *path,
                        struct failure *failure) {
    char sha256[SHA256_TEXT_SIZE];
    uint64_t bytes = 0;
    int r = make_partial(backup, partial, failure);

    if (!r)
        r = store_backup(backup->store, partial, &backup->stop, failure);
    if (r)
        return r;
    r = sha256_of_file(partial, sha256, &bytes);
    if (r)
        return failure_errno(failure, r, "cannot read", partial);
    r = publish(partial, path, failure);
    if (r)
        return r;
    pthread_mutex_lock(&backup->mutex);
    backup->bytes = bytes;
    memcpy(backup->sha256, sha256, sizeof(sha256));
    pthread_mutex_unlock(&backup->mutex);
    return 0;
}

static int run(void *ctx) {
    struct backup *backup = ctx;
    /* The name stays as it is while it runs. */
    cleanup(freep) char *partial = path_of(backup, PARTIAL), *path = path_of(backup, backup->name);
    struct failure failure = {};
    int r = partial && path ? write_backup(backup, partial, path, &failure) : failure_oom(&failure);

    remove_file(backup, PARTIAL);
    if (r)
        log_error("backup '%s' failed: %s", backup->name, failure.detail);
    else
        log_notice("backup '%s' is written, %" PRIu64 " bytes", path, backup->bytes);
    if (!r)
        prune(backup);
    pthread_mutex_lock(&backup->mutex);
    backup->failure = failure;
    backup->running = false;
    pthread_mutex_unlock(&backup->mutex);
    return r;
}

/* -------- what clients ask for -------- */

void backup_init(struct backup *backup, struct store *store, struct disk *disk,
                 const char *state_dir) {
    *backup = (struct backup){.store = store, .disk = disk, .state_dir = state_dir};
    pthread_mutex_init(&backup->mutex, NULL);
    remove_file(backup, PARTIAL);
}

void backup_done(struct backup *backup) {
    if (!backup->store)
        return;
    backup->stop = true;
    task_finish(&backup->task);
    pthread_mutex_destroy(&backup->mutex);
    backup->store = NULL;
}

/* The size is known before: a copy leaves the floor free. */
static int check_room(struct backup *backup, struct failure *failure) {
    uint64_t bytes = 0, n_free, floor = backup->disk->floor;
    char takes[BYTES_TEXT_SIZE], left[BYTES_TEXT_SIZE], stays[BYTES_TEXT_SIZE];
    struct statvfs st;
    int r = store_begin(backup->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_size(backup->store, &bytes);
    r = store_end(backup->store, r, failure);
    if (r)
        return r;
    if (statvfs(backup->state_dir, &st))
        return failure_errno(failure, -errno, "cannot ask for the free space of",
                             backup->state_dir);
    n_free = (uint64_t)st.f_bavail * st.f_frsize;
    if (n_free >= floor && n_free - floor >= bytes)
        return 0;
    bytes_text((double)bytes, takes);
    bytes_text((double)n_free, left);
    bytes_text((double)floor, stays);
    return failure_set(failure, -ENOSPC, "disk_full",
                       "delete jobs or old backups, or make room on the disk of the state folder",
                       "a backup takes %s; %s are free, and %s must stay free", takes, left, stays);
}

static json_t *number_or_null(uint64_t number) {
    return number ? json_integer((json_int_t)number) : json_null();
}

/* Under the mutex. */
static int state_json(struct backup *backup, json_t **ret_state, struct failure *failure) {
    cleanup(freep) char *path = path_of(backup, backup->name);
    const char *status = backup->running ? "running" : backup->bytes ? "done" : "failed";
    bool failed = !backup->running && !backup->bytes;
    char at[CLOCK_TEXT_SIZE], url[80];

    clock_format(backup->at, at);
    snprintf(url, sizeof(url), "/v1/backup/%s", backup->name);
    *ret_state =
        json_pack("{ss ss ss ss ss? ss so ss? so}", "object", "backup", "name", backup->name,
                  "status", status, "created_at", at, "path", path, "url", url, "bytes",
                  number_or_null(backup->bytes), "sha256", backup->bytes ? backup->sha256 : NULL,
                  "error", failed ? failure_to_json(&backup->failure) : json_null());
    return *ret_state ? 0 : failure_oom(failure);
}

/* Under the mutex, when none runs. */
static int begin(struct backup *backup, const char *owner, json_t **ret_state,
                 struct failure *failure) {
    int64_t at = clock_wall_ms();
    time_t seconds = (time_t)(at / 1000);
    struct tm utc;
    char text[32];
    int r;

    task_finish(&backup->task); /* of the one before, which has ended */
    gmtime_r(&seconds, &utc);
    strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &utc);
    snprintf(backup->name, sizeof(backup->name), PREFIX "%s.%03dZ" SUFFIX, text, (int)(at % 1000));
    backup->at = at;
    backup->bytes = 0;
    backup->running = true;
    backup->task = (struct task){};
    log_info("backup '%s' started, requested by '%s'", backup->name, owner);
    r = task_start(&backup->task, run, backup);
    if (r) {
        backup->running = false;
        failure_errno(failure, r, "cannot start the thread of", "the backup");
        backup->failure = *failure;
        return r;
    }
    return state_json(backup, ret_state, failure);
}

int backup_begin(struct backup *backup, const char *owner, json_t **ret_state,
                 struct failure *failure) {
    int r = check_room(backup, failure);

    if (r)
        return r;
    pthread_mutex_lock(&backup->mutex);
    if (backup->running)
        r = failure_set(failure, -EBUSY, "backup_running", "ask again when it is done",
                        "the backup '%s' is still being written", backup->name);
    else
        r = begin(backup, owner, ret_state, failure);
    pthread_mutex_unlock(&backup->mutex);
    return r;
}

static int no_backup(const char *name, struct failure *failure) {
    return failure_set(failure, -ENOENT, "backup_not_found", "POST /v1/backup makes one",
                       "there is no backup '%s' that can be fetched", name);
}

int backup_state(struct backup *backup, json_t **ret_state, struct failure *failure) {
    int r;

    pthread_mutex_lock(&backup->mutex);
    r = backup->name[0]
            ? state_json(backup, ret_state, failure)
            : failure_set(failure, -ENOENT, "backup_not_found", "POST /v1/backup makes one",
                          "no backup was requested since quantd started");
    pthread_mutex_unlock(&backup->mutex);
    return r;
}

int backup_open(struct backup *backup, const char *name, struct artifact *ret_file,
                struct failure *failure) {
    cleanup(freep) char *path = path_of(backup, name);
    bool there;

    if (!path)
        return failure_oom(failure);
    pthread_mutex_lock(&backup->mutex);
    there = backup->bytes && str_equal(backup->name, name);
    ret_file->size = backup->bytes;
    memcpy(ret_file->sha256, backup->sha256, sizeof(ret_file->sha256));
    pthread_mutex_unlock(&backup->mutex);
    if (!there)
        return no_backup(name, failure);
    ret_file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (ret_file->fd >= 0)
        return 0;
    return errno == ENOENT ? no_backup(name, failure)
                           : failure_errno(failure, -errno, "cannot open", path);
}
