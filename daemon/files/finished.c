// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/finished.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_MAX (64 << 20)  /* bytes of a file of JSON */
#define DEPTH_MAX 8          /* of folders in a job's folder */
#define READ_SIZE (1u << 20) /* bytes that are hashed at a time */
#define DAMAGED "folder_damaged"

/* Without its codes a job is whole, but for exports. */
static int damaged(struct failure *failure, const char *what, const char *name) {
    return failure_set(failure, -EBADMSG, DAMAGED,
                       str_has_prefix(name, "codes")
                           ? "bring 'codes' back from a copy, or remove it: the checkpoint itself "
                             "can be used without it, and not be exported in another format"
                           : "bring the folder back from a copy, or delete it",
                       "'%s' %s", name, what);
}

/* -------- what lies in the folder -------- */

struct walk {
    uid_t user;
    uint64_t bytes;
    struct failure *failure;
    bool unsafe;
};

static void note_unsafe(struct walk *walk, const char *what, const char *name, const char *hint) {
    if (!walk->unsafe)
        failure_set(walk->failure, -EPERM, "folder_unsafe", hint, "'%s' %s", name, what);
    walk->unsafe = true;
}

static void look_at(struct walk *walk, const char *name, const struct stat *st) {
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        note_unsafe(walk, "is a link or another special file", name,
                    "a job's folder holds plain files only: remove it");
    else if (st->st_uid != walk->user)
        note_unsafe(walk, "belongs to another user", name,
                    "give the folder and all in it to the user of quantd, by chown -R");
    if (S_ISREG(st->st_mode))
        walk->bytes += (uint64_t)st->st_size;
}

/* Takes over @fd, an open folder. */
static int walk_folder(struct walk *walk, int fd, int depth) {
    cleanup(closedirp) DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int r = 0;

    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    while (!r && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        struct stat st;
        int inner;

        if (str_equal(name, ".") || str_equal(name, "..") ||
            fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        look_at(walk, name, &st);
        if (!S_ISDIR(st.st_mode))
            continue;
        if (depth == DEPTH_MAX) {
            note_unsafe(walk, "is a folder too deep", name, "remove it");
            continue;
        }
        inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0)
            r = walk_folder(walk, inner, depth + 1);
        else if (errno != ENOENT)
            note_unsafe(walk, "cannot be opened", name, "give it to the user of quantd");
    }
    return r;
}

int finished_measure(const char *dir, uint64_t *ret_bytes, struct failure *failure) {
    struct walk walk = {.user = geteuid(), .failure = failure};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;
    struct stat st;

    if (fd >= 0 && !fstat(fd, &st))
        look_at(&walk, dir, &st);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR || errno == EACCES))
        note_unsafe(&walk, "is not a folder that can be opened", dir, "remove it");
    else if (fd < 0)
        return failure_errno(failure, -errno, "cannot open", dir);
    r = fd >= 0 ? walk_folder(&walk, fd, 0) : 0;
    *ret_bytes = walk.bytes;
    if (r)
        return failure_oom(failure);
    return walk.unsafe ? -EPERM : 0;
}

/* -------- what it says -------- */

/* The object in DIR/@name, which no link may lead to. */
static int read_object(const char *dir, const char *name, json_t **ret_object,
                       struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);
    cleanup(json_decrefp) json_t *object = NULL;
    int r;

    if (!path)
        return failure_oom(failure);
    r = json_parse_file_in(dir, path, JSON_MAX, DAMAGED, &object, failure);
    if (r == -ENOENT)
        return damaged(failure, "is missing", name);
    if (r)
        return r;
    if (!json_is_object(object))
        return damaged(failure, "is not a JSON object", name);
    *ret_object = steal_ptr(object);
    return 0;
}

static bool is_sha256(const char *text) {
    return text && strlen(text) == SHA256_TEXT_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == SHA256_TEXT_SIZE - 1;
}

/* Files that are listed as those of the folder @name of the job's folder. */
struct listed {
    const char *name;    /* "artifact" or "codes" */
    const json_t *files; /* [{name, bytes, sha256}]; borrowed */
    int fd;              /* the folder */
};

static int damaged_file(const struct listed *listed, const char *what, const char *name,
                        struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", listed->name, name);

    return path ? damaged(failure, what, path) : failure_oom(failure);
}

/* Is @file {name, bytes, sha256} the entry of a regular file, of that size? */
static int check_file(const struct listed *listed, const json_t *file, struct failure *failure) {
    const char *name = json_string_value(json_object_get(file, "name"));
    const json_t *bytes = json_object_get(file, "bytes");
    struct stat st;

    if (!name || !str_is_safe_name(name) || !json_is_integer(bytes) ||
        !is_sha256(json_string_value(json_object_get(file, "sha256"))))
        return damaged(failure, "lists a file without a good name, size or hash", listed->name);
    if (fstatat(listed->fd, name, &st, AT_SYMLINK_NOFOLLOW))
        return damaged_file(listed, "is missing", name, failure);
    if (!S_ISREG(st.st_mode))
        return damaged_file(listed, "is not a plain file", name, failure);
    if (st.st_size != json_integer_value(bytes))
        return damaged_file(listed, "does not have the size that is listed", name, failure);
    return 0;
}

/* No two entries have one name, and nothing else is in the folder but the list itself. */
static int check_no_others(const struct listed *listed, struct failure *failure) {
    cleanup(json_decrefp) json_t *names = json_pack("{sb}", "manifest.json", 0);
    int fd = openat(listed->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    json_t *file;
    size_t i;

    if (!dir || !names) {
        if (!dir && fd >= 0)
            close(fd);
        return failure_oom(failure);
    }
    json_array_foreach((json_t *)listed->files, i, file) {
        const char *name = json_string_value(json_object_get(file, "name"));

        if (json_is_true(json_object_get(names, name)))
            return damaged_file(listed, "is listed twice", name, failure);
        if (json_object_set_new(names, name, json_true()))
            return failure_oom(failure);
    }
    while ((entry = readdir(dir)))
        if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, "..") &&
            !json_object_get(names, entry->d_name))
            return failure_set(failure, -EBADMSG, DAMAGED, "move it out of the folder",
                               "'%s/%s' is not in manifest.json", listed->name, entry->d_name);
    return 0;
}

/* Is what lies in DIR/@name what @files lists? */
static int check_folder(const char *dir, const char *name, const json_t *files,
                        struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", dir, name);
    cleanup(closep) int fd = -1;
    struct listed listed;
    json_t *file;
    size_t i;
    int r = 0;

    if (!path)
        return failure_oom(failure);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return damaged(failure, "is not a folder that can be opened", name);
    listed = (struct listed){name, files, fd};
    json_array_foreach((json_t *)files, i, file) {
        if (!r)
            r = check_file(&listed, file, failure);
    }
    return r ? r : check_no_others(&listed, failure);
}

/* result.json lists what manifest.json lists, and after it manifest.json itself. */
static int check_manifest(const json_t *artifacts, const json_t *manifest,
                          struct failure *failure) {
    const json_t *files = json_object_get(manifest, "files");
    size_t n = json_array_size(files), i;
    const json_t *last = json_array_get(artifacts, n);
    json_t *file;
    bool has_quantd = false;

    if (n == 0 || json_array_size(artifacts) != n + 1 ||
        !str_equal(json_string_value(json_object_get(last, "name")), "manifest.json"))
        return damaged(failure, "and result.json do not list the same files", "manifest.json");
    json_array_foreach((json_t *)files, i, file) {
        if (!json_equal(file, json_array_get(artifacts, i)))
            return damaged(failure, "and result.json do not list the same files", "manifest.json");
        has_quantd = has_quantd ||
                     str_equal(json_string_value(json_object_get(file, "name")), "quantd.json");
    }
    return has_quantd ? 0 : damaged(failure, "does not list quantd.json", "manifest.json");
}

static int check_artifact(const char *dir, const struct finished *finished,
                          struct failure *failure) {
    const json_t *artifacts = json_object_get(finished->result, "artifacts");
    cleanup(json_decrefp) json_t *manifest = NULL;
    int r = read_object(dir, "artifact/manifest.json", &manifest, failure);

    if (!r)
        r = check_manifest(artifacts, manifest, failure);
    return r ? r : check_folder(dir, "artifact", artifacts, failure);
}

/* Codes of an earlier quantd have no list. */
static int check_codes(const char *dir, struct finished *finished, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/codes/manifest.json", dir);
    const json_t *files;
    int r;

    if (!path)
        return failure_oom(failure);
    if (access(path, F_OK))
        return 0;
    r = read_object(dir, "codes/manifest.json", &finished->codes, failure);
    if (r)
        return r;
    files = json_object_get(finished->codes, "files");
    return json_array_size(files) ? check_folder(dir, "codes", files, failure)
                                  : damaged(failure, "lists no files", "codes/manifest.json");
}

int finished_read(const char *dir, struct finished *ret_finished, struct failure *failure) {
    cleanup(finished_done) struct finished finished = {};
    int r = read_object(dir, "result.json", &finished.result, failure);

    if (!r)
        r = read_object(dir, "artifact/quantd.json", &finished.quantd, failure);
    if (!r)
        r = check_artifact(dir, &finished, failure);
    if (!r)
        r = check_codes(dir, &finished, failure);
    if (r)
        return r;
    *ret_finished = finished;
    finished = (struct finished){};
    return 0;
}

/* -------- what is in the files -------- */

static int hash_fd(int fd, const atomic_bool *stop, char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(sha256_freep) struct sha256 *hash = sha256_new();
    cleanup(freep) char *block = malloc(READ_SIZE);
    ssize_t n;

    if (!hash || !block)
        return -ENOMEM;
    do {
        n = *stop ? -1 : read(fd, block, READ_SIZE);
        if (*stop)
            return -ECANCELED;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            sha256_update(hash, block, (size_t)n);
    } while (n);
    sha256_finish(hash, ret_text);
    return 0;
}

/* Does every file of DIR/@name have the hash that @files lists? */
static int verify_folder(int dir_fd, const char *name, const json_t *files, const atomic_bool *stop,
                         struct failure *failure) {
    json_t *file;
    size_t i;

    json_array_foreach((json_t *)files, i, file) {
        cleanup(freep) char *path =
            str_format("%s/%s", name, json_string_value(json_object_get(file, "name")));
        cleanup(closep) int fd =
            path ? file_open_beneath(dir_fd, path, O_RDONLY | O_NONBLOCK, false) : -ENOMEM;
        char sha256[SHA256_TEXT_SIZE];
        int r = fd < 0 ? fd : hash_fd(fd, stop, sha256);

        if (r == -ECANCELED)
            return failure_set(failure, r, "cancelled", "try again", "quantd stops");
        if (r)
            return failure_errno(failure, r, "cannot read", path ? path : name);
        if (!str_equal(sha256, json_string_value(json_object_get(file, "sha256"))))
            return damaged(failure, "does not have the hash that is listed", path);
    }
    return 0;
}

int finished_verify(const char *dir, const struct finished *finished, const atomic_bool *stop,
                    struct failure *failure) {
    cleanup(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r;

    if (dir_fd < 0)
        return failure_errno(failure, -errno, "cannot open", dir);
    r = verify_folder(dir_fd, "artifact", json_object_get(finished->result, "artifacts"), stop,
                      failure);
    return r ? r
             : verify_folder(dir_fd, "codes", json_object_get(finished->codes, "files"), stop,
                             failure);
}

void finished_done(struct finished *finished) {
    json_decref(finished->result);
    json_decref(finished->quantd);
    json_decref(finished->codes);
    *finished = (struct finished){};
}
