// SPDX-License-Identifier: Apache-2.0
#include "client/save/save.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/http/receive.h"
#include "client/save/folder.h"
#include "client/save/one_file.h"
#include "client/screen/interrupt.h"
#include "client/screen/progress.h"
#include "client/screen/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/statvfs.h>

#define FILES_MAX 4096

/* All files of a job on their way. */
struct save {
    struct client *client;
    struct failure *failure;
    int64_t id;
    bool force;
    json_t *files; /* the daemon's list; borrowed */
    struct folder folder;
    bool *found; /* of each file: it was in the folder before */
    struct progress progress;
    uint64_t total, done, kept; /* bytes: of all files, here, of them here before */
    struct receive *now;        /* the file that is coming */
    double begun_at;
};

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
            return failure_set(save->failure, -EPROTO, "unsafe_name", "do not trust this server",
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

    if (fstatvfs(save->folder.fd, &vfs))
        return failure_errno(save->failure, -errno, "cannot read the folder", save->folder.dir);
    free_bytes = (double)vfs.f_bavail * (double)vfs.f_frsize;
    if (free_bytes >= (double)(save->total - save->done))
        return 0;
    bytes_text((double)(save->total - save->done), need);
    bytes_text(free_bytes, have);
    return failure_set(save->failure, -ENOSPC, "disk_full", "free space, or name another folder",
                       "cannot save into '%s': it needs %s, and %s are free", save->folder.dir,
                       need, have);
}

static void show(void *ctx) {
    struct save *save = ctx;
    uint64_t here = save->done + save->now->written, come = here - save->kept - save->now->resumed;
    double seconds = clock_monotonic() - save->begun_at, left = NAN;
    double rate = (double)MIN(come, here) / fmax(seconds, 1e-3);
    char done[TEXT_SIZE], total[TEXT_SIZE], speed[TEXT_SIZE];

    if (seconds > 1 && rate > 0)
        left = (double)(save->total - MIN(here, save->total)) / rate;
    bytes_text((double)here, done);
    bytes_text((double)save->total, total);
    bytes_text(rate, speed);
    progress_set_step(&save->progress, "%s of %s, %s/s", done, total, speed);
    progress_set_done(&save->progress, save->total ? (double)here / (double)save->total : NAN,
                      left);
    progress_set_note(&save->progress, "%s", save->now->name);
    progress_draw(&save->progress);
}

/* What is in the folder, before anything is loaded: the same files, or others in the way. */
static int look_into_folder(struct save *save) {
    cleanup(freep) char *foreign = NULL;
    json_t *file;
    size_t i;
    int r;

    json_array_foreach(save->files, i, file) {
        r = folder_find(&save->folder, i, save->force, &save->found[i], save->failure);
        if (r)
            return r;
        if (save->found[i])
            save->done += (uint64_t)answer_int(file, "bytes", 0);
    }
    save->kept = save->done;
    if (save->force)
        return 0;
    r = folder_find_foreign(&save->folder, &foreign, save->failure);
    if (!r && foreign)
        r = failure_set(save->failure, -EEXIST, "foreign_file",
                        "name another folder, or add --force to remove it",
                        "cannot save into '%s': it holds '%s', which programs would read as part "
                        "of the checkpoint",
                        save->folder.dir, foreign);
    return r;
}

/* File @i comes whole into the folder of parts. */
static int fetch(struct save *save, size_t i) {
    const json_t *file = json_array_get(save->files, i);
    cleanup(freep) char *part = folder_part(&save->folder, i);
    cleanup(freep) char *path =
        str_format("/v1/jobs/%" PRId64 "/artifacts/%s", save->id, answer_text(file, "name"));
    cleanup(closep) int fd = -1;
    struct receive receive = {.http = save->client->http,
                              .path = path,
                              .name = answer_text(file, "name"),
                              .sha256 = answer_text(file, "sha256"),
                              .size = (uint64_t)answer_int(file, "bytes", 0),
                              .failure = save->failure,
                              .ctx = save,
                              .show = show};
    char bytes[TEXT_SIZE];
    int r;

    if (!part || !path)
        return failure_oom(save->failure);
    fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return failure_errno(save->failure, -errno, "cannot write", part);
    receive.fd = fd;
    save->now = &receive;
    r = receive_open(&receive);
    if (!r)
        r = receive_run(&receive);
    if (!r)
        r = folder_arrived(&save->folder, i, fd, save->failure);
    receive_done(&receive);
    if (r)
        return r;
    save->done += receive.size;
    save->kept += receive.resumed;
    bytes_text((double)receive.size, bytes);
    block_say(&save->progress.block, STYLE_PLAIN, "%9s  %s", bytes, receive.name);
    return 0;
}

/* --force: a reader would find these beside the new files. */
static int remove_foreign(struct save *save) {
    for (;;) {
        cleanup(freep) char *name = NULL;
        int r = folder_remove_foreign(&save->folder, &name, save->failure);

        if (r || !name)
            return r;
        block_say(&save->progress.block, STYLE_PLAIN, "  removed  %s", name);
    }
}

static int save_all(struct save *save) {
    int r = look_into_folder(save);

    if (!r)
        r = check_space(save);
    for (size_t i = 0; i < json_array_size(save->files) && !r; i++)
        if (!save->found[i])
            r = fetch(save, i);
    if (!r && save->force)
        r = remove_foreign(save);
    return r ? r : folder_publish(&save->folder, save->failure);
}

static void print_saved(const struct save *save, const char *dir) {
    cleanup(freep) char *shown = text_cleaned(dir);
    char bytes[TEXT_SIZE];
    int n_found = 0;

    for (size_t i = 0; i < json_array_size(save->files); i++)
        n_found += save->found[i];
    bytes_text((double)save->total, bytes);
    fprintf(save->client->terminal.file, "saved %zu file%s, %s, in %s",
            json_array_size(save->files), json_array_size(save->files) == 1 ? "" : "s", bytes,
            shown ? shown : "");
    if (n_found)
        fprintf(save->client->terminal.file, " (%d were there)", n_found);
    fputc('\n', save->client->terminal.file);
}

/* With the list of files at hand; @shown: what people call @dir. */
static int save_files(struct save *save, const char *dir, const char *shown) {
    cleanup(freep) char *title = str_format("job %" PRId64 ": download to %s", save->id, shown);
    cleanup(freep) bool *found = NULL;
    int r = check_files(save);

    if (r)
        return r;
    save->found = found = calloc(json_array_size(save->files), sizeof(*found));
    if (!title || !found)
        return failure_oom(save->failure);
    r = folder_open(dir, save->files, &save->folder, save->failure);
    if (r)
        return r;
    save->begun_at = clock_monotonic();
    interrupt_catch();
    progress_begin(&save->progress, &save->client->terminal, title);
    r = save_all(save);
    progress_end(&save->progress);
    folder_close(&save->folder);
    if (!r)
        print_saved(save, shown);
    return r;
}

/* One file of the list, to @path. */
static int save_one(struct save *save, const char *path) {
    cleanup(freep) char *folder = one_file_folder(path);
    cleanup(json_decrefp) json_t *files = NULL;
    const char *name;
    int r;

    if (!folder)
        return failure_oom(save->failure);
    r = one_file_pick(path, save->id, save->files, &files, save->failure);
    if (r)
        return r;
    name = answer_text(json_array_get(files, 0), "name");
    r = one_file_check(path, name, save->force, save->failure);
    if (r)
        return r;
    save->files = files;
    r = save_files(save, folder, path);
    if (!r)
        r = one_file_publish(path, name, save->force, save->failure);
    save->files = NULL;
    return r;
}

static int interrupted(const struct save *save, const char *dir) {
    cleanup(freep) char *word = text_shell_word(dir);
    char hint[sizeof(save->failure->hint)];

    snprintf(hint, sizeof(hint), "resume with: quantctl download %" PRId64 " %s%s", save->id,
             word ? word : "DIR", save->force ? " --force" : "");
    return failure_set(save->failure, -EINTR, "interrupted", hint, "interrupted");
}

int save_job(struct client *client, int64_t id, const char *dir, bool force,
             struct failure *failure) {
    struct save save = {.client = client, .failure = failure, .id = id, .force = force};
    cleanup(json_decrefp) json_t *list = NULL;
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64 "/artifacts", id);
    r = http_get(client->http, path, &list, failure);
    if (r)
        return r;
    save.files = json_object_get(list, "data");
    r = one_file_format(dir) ? save_one(&save, dir) : save_files(&save, dir, dir);
    return r == -EINTR ? interrupted(&save, dir) : r;
}
