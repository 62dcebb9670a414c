// SPDX-License-Identifier: Apache-2.0
#include "client/save/folder.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "client/http/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define KEY_LENGTH 16 /* digits of the SHA-256 in the name of a part */

/* What readers of checkpoints look for in a folder: weights, their index, and what steers them. */
static const char *const reader_files[] = {
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "config.json",
    "quantize_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "vocab.json",
    "merges.txt",
};

static const char *name_of(const struct folder *folder, size_t i) {
    return answer_text(json_array_get(folder->files, i), "name");
}

static bool is_of_job(const struct folder *folder, const char *name) {
    for (size_t i = 0; i < json_array_size(folder->files); i++)
        if (str_equal(name_of(folder, i), name))
            return true;
    return false;
}

static bool is_for_readers(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(reader_files); i++)
        if (fnmatch(reader_files[i], name, 0) == 0)
            return true;
    return false;
}

/* ---- before ---- */

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

int folder_check(const char *dir, bool force, struct failure *failure) {
    cleanup(closedirp) DIR *listing = opendir(dir);
    struct dirent *entry;

    if (!dir[0])
        return failure_set(failure, -EINVAL, "usage", NULL, "the name of the folder is empty");
    if (!listing && errno == ENOENT)
        return check_above(dir, failure);
    if (!listing)
        return failure_errno(failure, -errno, "cannot read the folder", dir);
    if (access(dir, W_OK | X_OK))
        return failure_errno(failure, -errno, "cannot write into the folder", dir);
    while (!force && (entry = readdir(listing)))
        if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, "..") &&
            !str_equal(entry->d_name, FOLDER_PART))
            return failure_set(failure, -EEXIST, "folder_not_empty",
                               "name another folder, or add --force to replace the files in it",
                               "cannot save into '%s': it holds '%s' already", dir, entry->d_name);
    return 0;
}

/* A file system that has no locks for folders (NFS) is left to the check at the end. */
static int lock(const struct folder *folder, struct failure *failure) {
    if (flock(folder->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return failure_set(failure, -EBUSY, "folder_busy", "wait for it, or name another folder",
                       "cannot save into '%s': another quantctl saves into it", folder->dir);
}

int folder_open(const char *dir, const json_t *files, struct folder *ret_folder,
                struct failure *failure) {
    struct folder folder = {.dir = dir, .files = files, .fd = -1};
    int r = dir_make_mode(dir, 0777);

    if (r)
        return failure_errno(failure, r, "cannot make the folder", dir);
    folder.part = str_format("%s/" FOLDER_PART, dir);
    folder.seen = calloc(json_array_size(files) + 1, sizeof(*folder.seen));
    folder.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!folder.part || !folder.seen)
        r = failure_oom(failure);
    else if (folder.fd < 0)
        r = failure_errno(failure, -errno, "cannot read the folder", dir);
    else
        r = lock(&folder, failure);
    if (!r && mkdir(folder.part, 0777) && errno != EEXIST)
        r = failure_errno(failure, -errno, "cannot make the folder", folder.part);
    folder.ready = !r;
    if (r)
        folder_close(&folder);
    else
        *ret_folder = folder;
    return r;
}

void folder_close(struct folder *folder) {
    if (folder->ready)
        rmdir(folder->part); /* unless it holds what a later try goes on with */
    free(folder->part);
    free(folder->seen);
    closep(&folder->fd);
    *folder = (struct folder){.fd = -1};
}

/* ---- what is there ---- */

int folder_find(struct folder *folder, size_t i, bool force, bool *ret_found,
                struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/%s", folder->dir, name_of(folder, i));
    const json_t *file = json_array_get(folder->files, i);
    char sha256[SHA256_TEXT_SIZE];
    struct stat st;
    uint64_t size;

    *ret_found = false;
    if (!path)
        return failure_oom(failure);
    if (lstat(path, &st))
        return errno == ENOENT ? 0 : failure_errno(failure, -errno, "cannot read", path);
    if (S_ISREG(st.st_mode) && st.st_size == answer_int(file, "bytes", -1) &&
        sha256_of_file(path, sha256, &size) == 0 &&
        str_equal(sha256, answer_text(file, "sha256"))) {
        folder->seen[i] = st;
        *ret_found = true;
        return 0;
    }
    if (force && !S_ISDIR(st.st_mode))
        return 0;
    return failure_set(failure, -EEXIST, "file_exists",
                       "name another folder, or add --force to replace it",
                       "cannot save '%s': another file is there", path);
}

static bool is_folder(const struct folder *folder, const char *name) {
    struct stat st;

    return fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int folder_find_foreign(const struct folder *folder, char **ret_name, struct failure *failure) {
    cleanup(closedirp) DIR *listing = opendir(folder->dir);
    struct dirent *entry;

    *ret_name = NULL;
    if (!listing)
        return failure_errno(failure, -errno, "cannot read the folder", folder->dir);
    while ((entry = readdir(listing)))
        if (is_for_readers(entry->d_name) && !is_of_job(folder, entry->d_name) &&
            !is_folder(folder, entry->d_name)) {
            *ret_name = strdup(entry->d_name);
            return *ret_name ? 0 : failure_oom(failure);
        }
    return 0;
}

char *folder_part(const struct folder *folder, size_t i) {
    const char *sha256 = answer_text(json_array_get(folder->files, i), "sha256");

    return str_format("%s/%s.%.*s", folder->part, name_of(folder, i), KEY_LENGTH, sha256);
}

int folder_arrived(struct folder *folder, size_t i, int fd, struct failure *failure) {
    if (fstat(fd, &folder->seen[i]))
        return failure_errno(failure, -errno, "cannot read", name_of(folder, i));
    return 0;
}

/* ---- into place ---- */

int folder_remove_foreign(const struct folder *folder, char **ret_name, struct failure *failure) {
    cleanup(freep) char *name = NULL;
    int r = folder_find_foreign(folder, &name, failure);

    if (!r && name && unlinkat(folder->fd, name, 0))
        r = failure_errno(failure, -errno, "cannot remove", name);
    if (!r)
        *ret_name = steal_ptr(name);
    return r;
}

/* Removes file @i when it is to be replaced: old config.json must not stand beside new weights. */
static int remove_old(const struct folder *folder, size_t i, struct failure *failure) {
    cleanup(freep) char *part = folder_part(folder, i);

    if (!part)
        return failure_oom(failure);
    if (access(part, F_OK)) /* it was there before */
        return 0;
    if (unlinkat(folder->fd, name_of(folder, i), 0) && errno != ENOENT)
        return failure_errno(failure, -errno, "cannot remove", name_of(folder, i));
    return 0;
}

static int move(const struct folder *folder, size_t i, struct failure *failure) {
    cleanup(freep) char *part = folder_part(folder, i);

    if (!part)
        return failure_oom(failure);
    if (renameat(AT_FDCWD, part, folder->fd, name_of(folder, i)) && errno != ENOENT)
        return failure_errno(failure, -errno, "cannot write", name_of(folder, i));
    return 0;
}

/* The same file, with the same content, as when its hash was right? */
static bool is_as_seen(const struct folder *folder, size_t i) {
    const struct stat *seen = &folder->seen[i];
    struct stat st;

    return fstatat(folder->fd, name_of(folder, i), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_dev == seen->st_dev && st.st_ino == seen->st_ino &&
           st.st_size == seen->st_size && st.st_mtim.tv_sec == seen->st_mtim.tv_sec &&
           st.st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
}

static int check_all(const struct folder *folder, struct failure *failure) {
    cleanup(freep) char *foreign = NULL;
    int r = folder_find_foreign(folder, &foreign, failure);
    const char *bad = foreign;

    if (r)
        return r;
    for (size_t i = 0; i < json_array_size(folder->files) && !bad; i++)
        if (!is_as_seen(folder, i))
            bad = name_of(folder, i);
    if (!bad)
        return 0;
    return failure_set(failure, -EIO, "folder_changed", "save into a folder of its own",
                       "do not use '%s': another program has changed '%s' in it", folder->dir, bad);
}

int folder_publish(struct folder *folder, struct failure *failure) {
    size_t n = json_array_size(folder->files), config = n;
    int r = 0;

    for (size_t i = 0; i < n && !r; i++) {
        if (str_equal(name_of(folder, i), "config.json"))
            config = i;
        r = remove_old(folder, i, failure);
    }
    for (size_t i = 0; i < n && !r; i++)
        if (i != config)
            r = move(folder, i, failure);
    if (!r && config < n)
        r = move(folder, config, failure);
    if (r)
        return r;
    r = check_all(folder, failure);
    if (r)
        return r;
    r = dir_remove(folder->part);
    if (!r && fsync(folder->fd))
        r = -errno;
    return r ? failure_errno(failure, r, "cannot write into", folder->dir) : 0;
}
