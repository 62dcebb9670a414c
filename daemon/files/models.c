// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/models.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/files/paths.h"
#include "daemon/model/strangers.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define JOB_PREFIX "job:"
#define NAME_MAX_BYTES 1024
#define GGUF_SUFFIX ".gguf"
#define HINT_MODEL "a model is a folder with config.json and safetensors files, or a file NAME.gguf"

static int not_found(const char *hint, struct failure *failure, const char *what,
                     const char *name) {
    failure_set(failure, -EINVAL, "model_not_found", hint, "model: %s '%s'", what, name);
    if (failure)
        snprintf(failure->field, sizeof(failure->field), "model");
    return -EINVAL;
}

bool models_job_reference(const char *name, int64_t *ret_id) {
    uint64_t id;

    if (!str_has_prefix(name, JOB_PREFIX))
        return false;
    *ret_id = str_parse_u64(name + strlen(JOB_PREFIX), INT64_MAX, &id) ? -1 : (int64_t)id;
    return true;
}

bool models_is_gguf(const char *name) {
    size_t n = strlen(name), m = strlen(GGUF_SUFFIX);

    return n > m && str_equal(name + n - m, GGUF_SUFFIX);
}

int models_check_dir(int dir_fd, const char *name, struct failure *failure) {
    struct stranger stranger;
    struct stat st;

    /* The file may be a link out of the folder, as in a download cache; the model's reader and the
     * permissions of the service decide what it may read. */
    if (!fstatat(dir_fd, "config.json", &st, 0) && S_ISREG(st.st_mode))
        return 0;
    if (strangers_find(dir_fd, &stranger) && stranger.is_other_kind) {
        failure_set(failure, -EINVAL, "model_unsupported", stranger.hint,
                    "model: no config.json in '%s', but '%s', %s", name, stranger.name,
                    stranger.what);
        if (failure)
            snprintf(failure->field, sizeof(failure->field), "model");
        return -EINVAL;
    }
    return not_found(HINT_MODEL, failure, "no config.json in", name);
}

/* Is a file of this name read, when a model folder has it? */
static bool is_read(const char *name) {
    static const char *const suffixes[] = {".json", ".safetensors", ".jinja", ".txt"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < ARRAY_SIZE(suffixes); i++)
        if (str_equal(dot, suffixes[i]))
            return true;
    return false;
}

/* A file that leads out of the root by a link would be read, and perhaps exported, for anybody. */
static int check_links(int root, const char *path, const char *name, struct failure *failure) {
    int folder = paths_open_beneath(root, path, O_RDONLY | O_DIRECTORY, true);
    cleanup(closedirp) DIR *dir = folder < 0 ? NULL : fdopendir(folder);
    struct dirent *entry;

    if (folder < 0)
        return failure_errno(failure, folder, "cannot open", name);
    if (!dir) {
        close(folder);
        return failure_oom(failure);
    }
    while ((entry = readdir(dir))) {
        cleanup(freep) char *file = str_format("%s/%s", path, entry->d_name);
        cleanup(closep) int fd = -1;

        if (!file)
            return failure_oom(failure);
        if (!is_read(entry->d_name))
            continue;
        fd = paths_open_beneath(root, file, O_PATH, true);
        if (fd != -EXDEV && fd != -ELOOP)
            continue;
        failure_set(failure, -EINVAL, "model_invalid", "put the file itself into the model root",
                    "model: '%s' of '%s' is a link that leads out of the model root", entry->d_name,
                    name);
        if (failure)
            snprintf(failure->field, sizeof(failure->field), "model");
        return -EINVAL;
    }
    return 0;
}

/* The absolute path of an open folder. */
static int path_of(int fd, char **ret_path, struct failure *failure) {
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path));
    if (n < 0 || n >= (ssize_t)sizeof(path))
        return failure_errno(failure, n < 0 ? -errno : -ENAMETOOLONG, "cannot resolve", link);
    *ret_path = strndup(path, n);
    return *ret_path ? 0 : failure_oom(failure);
}

/* Is what was found at @path, open as @fd, a model: a folder, or a GGUF file? */
static int check_found(int root, const char *path, int fd, const char *name,
                       struct failure *failure) {
    struct stat st;
    int r;

    if (fstat(fd, &st))
        return failure_errno(failure, -errno, "cannot look at", name);
    if (S_ISDIR(st.st_mode)) {
        r = check_links(root, path, name, failure);
        return r ? r : models_check_dir(fd, name, failure);
    }
    if (S_ISREG(st.st_mode) && models_is_gguf(path))
        return 0;
    return not_found(HINT_MODEL, failure, "neither a folder nor a GGUF file:", name);
}

/* What is left of the absolute @name inside @root, "." for the root itself; NULL: not inside. */
static const char *inside(const char *root, const char *name) {
    size_t n = strlen(root);

    while (n > 1 && root[n - 1] == '/')
        n--;
    if (strncmp(name, root, n) || (name[n] != '/' && name[n] != '\0'))
        return NULL;
    name += n;
    while (*name == '/')
        name++;
    return *name ? name : ".";
}

/* Looks @name up in every root, with the lock held. Return: 0, -ENOENT, or another -errno with the
 * failure. */
static int look_up(const struct models *models, const char *name, char **ret_dir,
                   struct failure *failure) {
    for (int i = 0; i < models->n_roots; i++) {
        const char *path = name[0] == '/' ? inside(models->roots[i], name) : name;
        cleanup(closep) int root = -1;
        cleanup(closep) int fd = -1;

        if (!path)
            continue;
        root = open(models->roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
            continue;
        fd = paths_open_beneath(root, path, O_PATH, true);
        if (fd == -EXDEV)
            return not_found("name a folder inside the root; links that lead out of it are not "
                             "followed",
                             failure, "outside of its model root:", name);
        if (fd < 0)
            continue;
        if (check_found(root, path, fd, name, failure))
            return -EINVAL;
        return path_of(fd, ret_dir, failure);
    }
    return -ENOENT;
}

void models_set_roots(struct models *models, char *const *roots, int n_roots) {
    pthread_rwlock_wrlock(&models->lock);
    models->roots = roots;
    models->n_roots = n_roots;
    pthread_rwlock_unlock(&models->lock);
}

int models_find(struct models *models, const char *name, char **ret_dir, struct failure *failure) {
    char plain[NAME_MAX_BYTES + 1];
    char *at;
    int r;

    if (!name[0] || strlen(name) > NAME_MAX_BYTES)
        return failure_field(failure, "model", NULL, "must have 1 to %d bytes", NAME_MAX_BYTES);

    pthread_rwlock_rdlock(&models->lock);
    r = look_up(models, name, ret_dir, failure);
    snprintf(plain, sizeof(plain), "%s", name);
    at = strrchr(plain, '@');
    if (r == -ENOENT && at && at != plain) {
        *at = '\0';
        r = look_up(models, plain, ret_dir, failure);
    }
    pthread_rwlock_unlock(&models->lock);
    return r;
}

int models_root(struct models *models, const char *dir, char **ret_root) {
    char *root = NULL;
    int r = 0;

    pthread_rwlock_rdlock(&models->lock);
    for (int i = 0; i < models->n_roots && !root && !r; i++) {
        if (inside(models->roots[i], dir))
            r = (root = strdup(models->roots[i])) ? 0 : -ENOMEM;
    }
    pthread_rwlock_unlock(&models->lock);
    if (!r)
        *ret_root = root;
    return r;
}

int models_resolve(struct models *models, const char *name, char **ret_dir,
                   struct failure *failure) {
    cleanup(strbuf_done) struct strbuf hint = {};
    int r = models_find(models, name, ret_dir, failure);

    if (r != -ENOENT)
        return r;
    strbuf_puts(&hint, name[0] == '/'
                           ? "name a folder inside a model root"
                           : "name a folder below a model root, or a model of the hub as "
                             "org/name[@revision]; the model roots");
    pthread_rwlock_rdlock(&models->lock);
    for (int i = 0; i < models->n_roots; i++)
        strbuf_printf(&hint, "%s%s", i ? ", " : ": ", models->roots[i]);
    if (models->n_roots == 0)
        strbuf_puts(&hint, ": none (--model-root DIR)");
    pthread_rwlock_unlock(&models->lock);
    return not_found(hint.data, failure,
                     name[0] == '/' ? "no such folder or GGUF file in a model root:"
                                    : "no such folder or GGUF file below a model root:",
                     name);
}
