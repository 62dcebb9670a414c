// SPDX-License-Identifier: Apache-2.0
#include "client/job/save.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "client/http/answer.h"
#include "client/screen/interrupt.h"
#include "client/screen/progress.h"
#include "client/screen/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FILES_MAX 4096
#define TRIES_MAX 8 /* of one file, when connections break */
#define RETRY_SECONDS 1.0
#define BLOCK_SIZE ((size_t)1 << 20)

/* All files of a job on their way. */
struct save {
    struct client *client;
    struct progress progress;
    struct failure *failure;
    int64_t id;
    const char *dir;
    char *part;           /* DIR/.part */
    json_t *files;        /* the artifacts; borrowed */
    uint64_t total, done; /* bytes */
    double begun_at;
    uint64_t begun_done; /* bytes that were there before */
    int n_kept;          /* files that were in DIR already */
};

/* One file of it. */
struct save_file {
    struct save *save;
    const char *name, *sha256;
    uint64_t size, written;
    int fd;
    struct sha256 *hash;
};

/* May the folder @dir, which is missing, be made? Asks the nearest one above that is there. */
static int check_above(const char *dir, struct failure *failure) {
    cleanup(freep) char *above = strdup(dir);

    if (!above)
        return failure_oom(failure);
    while (access(above, F_OK)) {
        char *slash = strrchr(above, '/');

        if (errno != ENOENT)
            return failure_errno(failure, -errno, "cannot make the folder", dir);
        if (!slash || slash == above)
            strcpy(above, slash ? "/" : ".");
        else
            *slash = '\0';
    }
    if (access(above, W_OK | X_OK))
        return failure_errno(failure, -errno, "cannot write into the folder", above);
    return 0;
}

int save_check(const char *dir, bool force, struct failure *failure) {
    cleanup(closedirp) DIR *listing = opendir(dir);
    struct dirent *entry;

    if (!dir[0])
        return failure_set(failure, -EINVAL, "usage", NULL, "the name of a folder is empty");
    if (!listing && errno == ENOENT)
        return check_above(dir, failure);
    if (!listing)
        return failure_errno(failure, -errno, "cannot read the folder", dir);
    if (access(dir, W_OK | X_OK))
        return failure_errno(failure, -errno, "cannot write into the folder", dir);
    while (!force && (entry = readdir(listing)))
        if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, "..") &&
            !str_equal(entry->d_name, ".part"))
            return failure_set(failure, -EEXIST, "folder_not_empty",
                               "name another folder, or add --force to replace files in it",
                               "cannot save into '%s': it holds '%s' already", dir, entry->d_name);
    return 0;
}

/* Is the list what a list of files must be? Adds up the sizes. */
static int check_files(struct save *save) {
    size_t n = json_array_size(save->files);
    json_t *file;
    size_t i;

    if (n == 0)
        return failure_set(save->failure, -ENOENT, "no_artifacts",
                           "only a quantize job that succeeded has files",
                           "job %" PRId64 " has no files to download", save->id);
    if (n > FILES_MAX)
        return failure_set(save->failure, -EPROTO, "bad_answer", NULL,
                           "refusing job %" PRId64 ": it has more than %d files", save->id,
                           FILES_MAX);
    json_array_foreach(save->files, i, file) {
        const char *name = answer_text(file, "name"), *sha256 = answer_text(file, "sha256");
        int64_t bytes = answer_int(file, "bytes", -1);

        if (!str_is_safe_name(name))
            return failure_set(save->failure, -EPROTO, "unsafe_name",
                               "this server is not to be trusted",
                               "refusing the file name '%.128s' of job %" PRId64, name, save->id);
        if (bytes < 0 || strspn(sha256, "0123456789abcdef") != 64 || sha256[64] ||
            __builtin_add_overflow(save->total, (uint64_t)bytes, &save->total))
            return failure_set(save->failure, -EPROTO, "bad_answer", NULL,
                               "refusing the file '%s' of job %" PRId64
                               ": its size or hash is missing",
                               name, save->id);
        for (size_t j = 0; j < i; j++)
            if (str_equal(name, answer_text(json_array_get(save->files, j), "name")))
                return failure_set(save->failure, -EPROTO, "bad_answer", NULL,
                                   "refusing job %" PRId64 ": it names '%s' twice", save->id, name);
    }
    return 0;
}

static int check_space(struct save *save) {
    char need[TEXT_SIZE], have[TEXT_SIZE];
    struct statvfs vfs;
    double free_bytes;

    if (statvfs(save->dir, &vfs))
        return failure_errno(save->failure, -errno, "cannot read the folder", save->dir);
    free_bytes = (double)vfs.f_bavail * (double)vfs.f_frsize;
    if (free_bytes >= (double)(save->total - save->done))
        return 0;
    bytes_text((double)(save->total - save->done), need);
    bytes_text(free_bytes, have);
    return failure_set(save->failure, -ENOSPC, "disk_full", "free space, or name another folder",
                       "cannot save into '%s': %s are needed, %s are free", save->dir, need, have);
}

/* Takes over what an earlier try left; the hash runs over it. */
static int open_part(struct save_file *file, const char *path) {
    struct failure *failure = file->save->failure;
    cleanup(freep) char *block = malloc(BLOCK_SIZE);

    file->written = 0;
    file->hash = sha256_new();
    if (!block || !file->hash)
        return failure_oom(failure);
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file->fd < 0)
        return failure_errno(failure, -errno, "cannot write", path);
    for (;;) {
        ssize_t n = read(file->fd, block, BLOCK_SIZE);

        if (n < 0)
            return failure_errno(failure, -errno, "cannot read", path);
        if (n == 0)
            break;
        file->written += (uint64_t)n;
        if (file->written > file->size)
            break;
        sha256_update(file->hash, block, (size_t)n);
    }
    return 0;
}

static int restart_part(struct save_file *file) {
    sha256_freep(&file->hash);
    file->hash = sha256_new();
    if (!file->hash)
        return failure_oom(file->save->failure);
    file->save->done -= MIN(file->written, file->size);
    file->written = 0;
    if (ftruncate(file->fd, 0) || lseek(file->fd, 0, SEEK_SET) < 0)
        return failure_errno(file->save->failure, -errno, "cannot write", file->name);
    return 0;
}

static int show(void *ctx) {
    struct save_file *file = ctx;
    struct save *save = file->save;
    double seconds = clock_monotonic() - save->begun_at, rate, left = NAN;
    char done[TEXT_SIZE], total[TEXT_SIZE], speed[TEXT_SIZE];

    rate = (double)(save->done - MIN(save->begun_done, save->done)) / fmax(seconds, 1e-3);
    if (seconds > 1 && rate > 0)
        left = (double)(save->total - MIN(save->done, save->total)) / rate;
    bytes_text((double)save->done, done);
    bytes_text((double)save->total, total);
    bytes_text(rate, speed);
    progress_set_step(&save->progress, "%s of %s, %s/s", done, total, speed);
    progress_set_done(&save->progress, save->total ? (double)save->done / (double)save->total : NAN,
                      left);
    progress_set_note(&save->progress, "%s", file->name);
    progress_draw(&save->progress);
    return 0;
}

static int take_begin(void *ctx, bool partial) {
    struct save_file *file = ctx;

    /* The whole file comes although the rest was asked for. */
    return partial || file->written == 0 ? 0 : restart_part(file);
}

static int take_bytes(void *ctx, const char *data, size_t size) {
    struct save_file *file = ctx;
    int r;

    if (size > file->size - file->written)
        return failure_set(file->save->failure, -EPROTO, "bad_answer", NULL,
                           "refusing the file '%s': more comes than its %" PRIu64 " bytes",
                           file->name, file->size);
    r = file_write_all(file->fd, data, size);
    if (r)
        return failure_errno(file->save->failure, r, "cannot write", file->name);
    sha256_update(file->hash, data, size);
    file->written += size;
    file->save->done += size;
    show(file);
    return 0;
}

/* Downloads what is missing, with patience for a connection that breaks. */
static int transfer(struct save_file *file) {
    struct http_sink sink = {.ctx = file, .begin = take_begin, .data = take_bytes, .tick = show};
    struct save *save = file->save;
    cleanup(freep) char *path =
        str_format("/v1/jobs/%" PRId64 "/artifacts/%s", save->id, file->name);
    struct http *http = save->client->http;
    int r;

    if (!path)
        return failure_oom(save->failure);
    for (int i = 0; file->written < file->size; i++) {
        r = http_download(http, path, file->written, &sink, save->failure);
        if (r && (!http_is_transient(http, r) || i == TRIES_MAX))
            return r;
        if (file->written < file->size && i == TRIES_MAX)
            return failure_set(save->failure, -EPIPE, "connection_lost", NULL,
                               "cannot download '%s': it ends early", file->name);
        if (file->written < file->size)
            interrupt_sleep(RETRY_SECONDS * (i + 1));
    }
    return 0;
}

/* The whole file is in .part, on disk, and is what the list says. */
static int save_part(struct save_file *file, const char *path) {
    struct failure *failure = file->save->failure;
    char sha256[SHA256_TEXT_SIZE];
    bool resumed;
    int r = open_part(file, path);

    if (r)
        return r;
    resumed = file->written > 0;
    file->save->done += MIN(file->written, file->size);
    file->save->begun_done += MIN(file->written, file->size);
    if (file->written > file->size)
        r = restart_part(file);
    for (int i = 0; !r; i++) {
        r = transfer(file);
        if (r)
            break;
        sha256_finish(file->hash, sha256);
        if (str_equal(sha256, file->sha256))
            break;
        /* What an earlier try left may be of another job: once more from the start. */
        r = restart_part(file);
        if (!r && (!resumed || i > 0))
            r = failure_set(failure, -EPROTO, "hash_mismatch",
                            "try again; when it stays, the daemon's disk may be at fault",
                            "refusing the file '%s': its SHA-256 is not what the list says",
                            file->name);
    }
    if (!r && fsync(file->fd))
        r = failure_errno(failure, -errno, "cannot write", path);
    return r;
}

/* Is the file in DIR already? Return: 1: the same; 0: none; -EEXIST: another. */
static int find_present(struct save *save, const json_t *entry, bool force) {
    cleanup(freep) char *path = str_format("%s/%s", save->dir, answer_text(entry, "name"));
    char sha256[SHA256_TEXT_SIZE];
    struct stat st;
    uint64_t size;

    if (!path)
        return failure_oom(save->failure);
    if (lstat(path, &st))
        return errno == ENOENT ? 0 : failure_errno(save->failure, -errno, "cannot read", path);
    if (S_ISREG(st.st_mode) && st.st_size == answer_int(entry, "bytes", -1) &&
        sha256_of_file(path, sha256, &size) == 0 && str_equal(sha256, answer_text(entry, "sha256")))
        return 1;
    if (force && !S_ISDIR(st.st_mode))
        return 0;
    return failure_set(save->failure, -EEXIST, "file_exists",
                       "name another folder, or add --force to replace it",
                       "cannot save '%s': another file is there", path);
}

static int save_one(struct save *save, const json_t *entry, bool force) {
    struct save_file file = {
        .save = save,
        .name = answer_text(entry, "name"),
        .sha256 = answer_text(entry, "sha256"),
        .size = (uint64_t)answer_int(entry, "bytes", 0),
        .fd = -1,
    };
    cleanup(freep) char *path = str_format("%s/%s", save->part, file.name);
    char bytes[TEXT_SIZE];
    int r;

    if (!path)
        return failure_oom(save->failure);
    r = find_present(save, entry, force);
    if (r == 1) {
        save->done += file.size;
        save->begun_done += file.size;
        save->n_kept++;
        return 0;
    }
    if (!r)
        r = save_part(&file, path);
    sha256_freep(&file.hash);
    closep(&file.fd);
    if (!r) {
        bytes_text((double)file.size, bytes);
        block_say(&save->progress.block, STYLE_PLAIN, "%9s  %s", bytes, file.name);
    }
    return r;
}

/* Everything is there and right: into place, and the folder of parts away. */
static int publish(struct save *save) {
    json_t *entry;
    size_t i;
    int r;

    json_array_foreach(save->files, i, entry) {
        const char *name = answer_text(entry, "name");
        cleanup(freep) char *from = str_format("%s/%s", save->part, name);
        cleanup(freep) char *to = str_format("%s/%s", save->dir, name);

        if (!from || !to)
            return failure_oom(save->failure);
        if (rename(from, to) && (errno != ENOENT || access(to, F_OK)))
            return failure_errno(save->failure, -errno, "cannot write", to);
    }
    r = dir_remove(save->part);
    if (!r)
        r = file_sync_parent(save->part);
    return r ? failure_errno(save->failure, r, "cannot write into", save->dir) : 0;
}

static int save_all(struct save *save, bool force) {
    json_t *entry;
    size_t i;
    int r = check_files(save);

    if (r)
        return r;
    r = dir_make(save->part);
    if (r)
        return failure_errno(save->failure, r, "cannot make the folder", save->part);
    r = check_space(save);
    json_array_foreach(save->files, i, entry) {
        if (r)
            return r;
        r = save_one(save, entry, force);
    }
    return r ? r : publish(save);
}

int save_job(struct client *client, int64_t id, const char *dir, bool force,
             struct failure *failure) {
    struct save save = {.client = client, .failure = failure, .id = id, .dir = dir};
    cleanup(freep) char *part = str_format("%s/.part", dir), *title = NULL;
    cleanup(json_decrefp) json_t *list = NULL;
    char path[64], bytes[TEXT_SIZE];
    int r;

    title = str_format("job %" PRId64 ": download to %s", id, dir);
    if (!part || !title)
        return failure_oom(failure);
    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64 "/artifacts", id);
    r = http_get(client->http, path, &list, failure);
    if (r)
        return r;
    save.part = part;
    save.files = json_object_get(list, "data");
    save.begun_at = clock_monotonic();
    interrupt_catch();
    progress_begin(&save.progress, &client->terminal, title);
    r = save_all(&save, force);
    progress_end(&save.progress);
    if (r == -EINTR)
        return failure_set(failure, r, "interrupted", "the same download goes on where it stopped",
                           "interrupted");
    if (r)
        return r;
    bytes_text((double)save.total, bytes);
    fprintf(client->terminal.file, "saved %zu files, %s, in %s", json_array_size(save.files), bytes,
            dir);
    if (save.n_kept)
        fprintf(client->terminal.file, " (%d were there)", save.n_kept);
    fputc('\n', client->terminal.file);
    return 0;
}
