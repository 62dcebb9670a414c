// SPDX-License-Identifier: Apache-2.0
#include "client/verbs/admin/admin.h"

#include "base/bytes.h"
#include "base/file.h"
#include "client/http/answer.h"
#include "client/http/receive.h"
#include "client/screen/interrupt.h"
#include "client/screen/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_FIRST 0.05 /* seconds; each wait is half as long again */
#define POLL_MAX 2.0

static int file_exists(const char *file, struct failure *failure) {
    return failure_set(failure, -EEXIST, "file_exists",
                       "name another file, or a folder: the file in it is named by the time",
                       "cannot write the backup to '%s': the file exists", file);
}

/* Fills the empty file @fd with the backup, which is at @path of the daemon. */
static int receive(struct client *client, const json_t *backup, int fd, const char *path,
                   struct failure *failure) {
    struct receive receive = {.http = client->http,
                              .path = path,
                              .name = answer_text(backup, "name"),
                              .sha256 = answer_text(backup, "sha256"),
                              .size = (uint64_t)answer_int(backup, "bytes", 0),
                              .fd = fd,
                              .failure = failure};
    int r = receive_open(&receive);

    if (!r)
        r = receive_run(&receive);
    receive_done(&receive);
    return r;
}

/* Downloads @backup to @file, which is not there, or not at all. */
static int save(struct client *client, const json_t *backup, const char *file,
                struct failure *failure) {
    cleanup(freep) char *part = str_format("%s.part", file);
    cleanup(freep) char *path = str_format("/v1/backup/%s", answer_text(backup, "name"));
    cleanup(closep) int fd = -1;
    int r;

    if (!part || !path)
        return failure_oom(failure);
    if (answer_int(backup, "bytes", -1) <= 0 || !str_is_safe_name(answer_text(backup, "name")))
        return failure_set(failure, -EPROTO, "bad_answer", NULL,
                           "cannot use the backup: it has no size or no usable name");
    fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot write", part);
    r = receive(client, backup, fd, path, failure);
    if (!r && link(part, file))
        r = errno == EEXIST ? file_exists(file, failure)
                            : failure_errno(failure, -errno, "cannot write", file);
    if (!r)
        r = file_sync_parent(file);
    unlink(part);
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

/* Can a file be made at @word? Checked before the daemon starts. */
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
            return failure_set(failure, -EREMOTEIO, "backup_not_found", "try again",
                               "another backup was started meanwhile");
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

int admin_backup(struct client *client, const struct args *args, struct failure *failure) {
    const char *word = args->n_positional > 1 ? args->positional[1] : NULL;
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
            file ? "" : ", on the machine that runs quantd");
    return EXIT_OK;
}
