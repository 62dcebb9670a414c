// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/interrupt.h"
#include "client/screen/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES_MAX 8     /* of the download, when connections break */
#define POLL_FIRST 0.05 /* seconds; each wait is half as long again */
#define POLL_MAX 2.0

/* A backup on its way into a file here. */
struct download {
    struct client *client;
    struct failure *failure;
    const json_t *backup; /* as the daemon describes it, done; borrowed */
    const char *part;     /* the file until it is whole */
    int fd;
    struct sha256 *hash;
    uint64_t size, written;
};

static int begin(void *ctx, bool partial) {
    struct download *d = ctx;

    if (partial || d->written == 0)
        return 0;
    /* The whole file comes although the rest was asked for. */
    sha256_freep(&d->hash);
    d->hash = sha256_new();
    d->written = 0;
    if (!d->hash)
        return failure_oom(d->failure);
    if (ftruncate(d->fd, 0) || lseek(d->fd, 0, SEEK_SET) < 0)
        return failure_errno(d->failure, -errno, "cannot write", d->part);
    return 0;
}

static int take(void *ctx, const char *data, size_t size) {
    struct download *d = ctx;
    int r;

    if (size > d->size - d->written)
        return failure_set(d->failure, -EPROTO, "bad_answer", NULL,
                           "refusing the backup: more comes than its %" PRIu64 " bytes", d->size);
    r = file_write_all(d->fd, data, size);
    if (r)
        return failure_errno(d->failure, r, "cannot write", d->part);
    sha256_update(d->hash, data, size);
    d->written += size;
    return 0;
}

static int transfer(struct download *d) {
    struct http_sink sink = {.ctx = d, .begin = begin, .data = take};
    struct http *http = d->client->http;
    char path[256];

    snprintf(path, sizeof(path), "/v1/backup/%s", answer_text(d->backup, "name"));
    for (int i = 0; d->written < d->size; i++) {
        int r = http_download(http, path, d->written, &sink, d->failure);

        if (r && (!http_is_transient(http, r) || i == TRIES_MAX))
            return r;
        if (d->written < d->size && i == TRIES_MAX)
            return failure_set(d->failure, -EPIPE, "connection_lost", NULL,
                               "cannot download the backup: it ends early");
        if (d->written < d->size)
            interrupt_sleep(i + 1);
    }
    return 0;
}

/* The bytes are all there, on disk, and what the daemon says they are. */
static int fill(struct download *d) {
    char sha256[SHA256_TEXT_SIZE];
    int r;

    d->hash = sha256_new();
    if (!d->hash)
        return failure_oom(d->failure);
    d->fd = open(d->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->fd < 0)
        return failure_errno(d->failure, -errno, "cannot write", d->part);
    r = transfer(d);
    if (r)
        return r;
    sha256_finish(d->hash, sha256);
    if (!str_equal(sha256, answer_text(d->backup, "sha256")))
        return failure_set(d->failure, -EPROTO, "hash_mismatch", "try again",
                           "refusing the backup: its SHA-256 is not what quantd says");
    return fsync(d->fd) ? failure_errno(d->failure, -errno, "cannot write", d->part) : 0;
}

static int file_exists(const char *file, struct failure *failure) {
    return failure_set(failure, -EEXIST, "file_exists",
                       "name another file, or a folder: then the backup has the name of its time",
                       "cannot write the backup to '%s': a file is there", file);
}

/* Downloads @backup to @file, which is not there, or not at all. */
static int save(struct client *client, const json_t *backup, const char *file,
                struct failure *failure) {
    cleanup(freep) char *part = str_format("%s.part", file);
    int64_t size = answer_int(backup, "bytes", -1);
    struct download d = {.client = client,
                         .failure = failure,
                         .backup = backup,
                         .part = part,
                         .fd = -1,
                         .size = (uint64_t)size};
    int r;

    if (!part)
        return failure_oom(failure);
    if (size <= 0 || !str_is_safe_name(answer_text(backup, "name")))
        return failure_set(failure, -EPROTO, "bad_answer", NULL,
                           "the backup has no size or no sensible name");
    r = fill(&d);
    if (!r && link(part, file))
        r = errno == EEXIST ? file_exists(file, failure)
                            : failure_errno(failure, -errno, "cannot write", file);
    if (!r)
        r = file_sync_parent(file);
    if (d.fd >= 0)
        unlink(part);
    closep(&d.fd);
    sha256_freep(&d.hash);
    return r;
}

/* Where the backup goes: @word, or into it when it is a folder; NULL for NULL. */
static int target_of(const char *word, const json_t *backup, char **ret_file,
                     struct failure *failure) {
    struct stat st;
    bool folder = word && !stat(word, &st) && S_ISDIR(st.st_mode);

    if (word && !word[0])
        return failure_set(failure, -EINVAL, "usage", NULL, "the name of the file is empty");
    if (word && !folder && !access(word, F_OK))
        return file_exists(word, failure);
    *ret_file = !word    ? NULL
                : folder ? str_format("%s/%s", word, backup ? answer_text(backup, "name") : "")
                         : strdup(word);
    return word && !*ret_file ? failure_oom(failure) : 0;
}

/* Can a file be made where @word says? Better known before the daemon goes to work. */
static int check_target(const char *word, struct failure *failure) {
    cleanup(freep) char *file = NULL;
    char *slash;
    int r = target_of(word, NULL, &file, failure);

    if (r || !file)
        return r;
    slash = strrchr(file, '/');
    if (slash)
        slash[slash == file] = '\0';
    if (access(slash ? file : ".", W_OK | X_OK))
        return failure_errno(failure, -errno, "cannot write into the folder", slash ? file : ".");
    return 0;
}

/* Waits for the end of backup *@backup, which is replaced by what it has become. */
static int await(struct client *client, json_t **backup, struct failure *failure) {
    double wait = POLL_FIRST;

    while (str_equal(answer_text(*backup, "status"), "running")) {
        json_t *now = NULL;
        int r;

        interrupt_sleep(wait);
        wait = wait * 1.5 < POLL_MAX ? wait * 1.5 : POLL_MAX;
        r = http_get(client->http, "/v1/backup", &now, failure);
        if (r)
            return r;
        if (!str_equal(answer_text(now, "name"), answer_text(*backup, "name"))) {
            json_decref(now);
            return failure_set(failure, -EREMOTEIO, "backup_not_found", "ask again",
                               "another backup was begun meanwhile");
        }
        json_decref(*backup);
        *backup = now;
    }
    if (str_equal(answer_text(*backup, "status"), "done"))
        return 0;
    return failure_set(failure, -EREMOTEIO, answer_text(json_object_get(*backup, "error"), "code"),
                       answer_text(json_object_get(*backup, "error"), "hint"), "%s",
                       answer_text(json_object_get(*backup, "error"), "detail"));
}

static int run_backup(struct client *client, const char *word, struct failure *failure) {
    cleanup(json_decrefp) json_t *backup = NULL;
    cleanup(freep) char *file = NULL;
    cleanup(freep) char *shown = NULL;
    char bytes[TEXT_SIZE];
    int r = check_target(word, failure);

    if (r)
        return r;
    interrupt_catch();
    r = http_call(client->http, "POST", "/v1/backup", NULL, NULL, &backup, failure);
    if (!r)
        r = await(client, &backup, failure);
    if (!r)
        r = target_of(word, backup, &file, failure);
    if (!r && file)
        r = save(client, backup, file, failure);
    if (r)
        return r;
    if (client->json)
        return client_print_json(backup, failure);
    shown = text_cleaned(file ? file : answer_text(backup, "path"));
    bytes_text(answer_number(backup, "bytes"), bytes);
    fprintf(client->terminal.file, "backup of %s in %s%s\n", bytes, shown ? shown : "",
            file ? "" : ", on the machine of quantd");
    return EXIT_OK;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    if (!str_equal(args->positional[0], "backup"))
        return failure_set(failure, -EINVAL, "usage", "the one there is: quantctl admin backup",
                           "unknown command '%s'", args->positional[0]);
    return run_backup(client, args->n_positional > 1 ? args->positional[1] : NULL, failure);
}

const struct verb verb_admin = {
    .name = "admin",
    .usage = "backup [FILE]",
    .summary = "back up the database of the daemon, while it works",
    .details = "Without FILE the backup stays with the daemon, in STATE-DIR/backups, which keeps\n"
               "the newest three. With FILE it is downloaded too; a folder gets a file named by\n"
               "the time. No file is ever replaced. Checkpoints are not part of it.\n",
    .least = 1,
    .most = 2,
    .run = run,
};
