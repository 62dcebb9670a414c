// SPDX-License-Identifier: Apache-2.0
/*
 * The path comes from a client: the kernel resolves it and keeps it beneath the root, symbolic
 * links included.
 */
#include "daemon/data/local.h"

#include "base/file.h"
#include "base/macros.h"
#include "daemon/data/text/filetype.h"
#include "daemon/data/text/json_lines.h"
#include "daemon/data/text/reader.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FIELD "text"

/* A file: name, taken apart, and what it is. */
struct local {
    char *path;        /* without the field; owned */
    const char *field; /* in path, behind its end; NULL: none was named */
    bool json_lines;
    bool gzip;
    size_t size; /* bytes, as it is stored */
    int fd;      /* owned */
};

static void local_done(struct local *local) {
    free(local->path);
    closep(&local->fd);
}

bool local_path_valid(const char *path) {
    if (path[0] == '\0' || strlen(path) >= PATH_MAX)
        return false;
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, "/");

        if (n == 2 && at[0] == '.' && at[1] == '.')
            return false;
        at += n;
        if (!*at)
            return true;
    }
}

static bool has_suffix(const char *path, size_t size, const char *suffix) {
    size_t n = strlen(suffix);

    return size >= n && strncasecmp(path + size - n, suffix, n) == 0;
}

static bool is_json_lines(const char *path, size_t size) {
    static const char *const suffixes[] = {".jsonl", ".ndjson", ".json"};

    if (has_suffix(path, size, ".gz"))
        size -= 3;
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        if (has_suffix(path, size, suffixes[i]))
            return true;
    }
    return false;
}

/* A '#' ends the path only where a field makes sense: else it belongs to the name. */
static int split(struct local *local, const char *path) {
    char *hash;

    local->path = strdup(path);
    if (!local->path)
        return -ENOMEM;
    hash = strrchr(local->path, '#');
    if (hash && hash[1] && is_json_lines(local->path, (size_t)(hash - local->path))) {
        *hash = '\0';
        local->field = hash + 1;
    }
    local->json_lines = is_json_lines(local->path, strlen(local->path));
    return 0;
}

/* What is left of the absolute @path inside @root; NULL: not inside. */
static const char *inside(const char *root, const char *path) {
    size_t n = strlen(root);

    while (n > 0 && root[n - 1] == '/')
        n--;
    if (strncmp(path, root, n) || path[n] != '/')
        return NULL;
    return path + n + strspn(path + n, "/");
}

/* Return: a descriptor or a negative errno. */
static int open_beneath(const char *root, const char *path) {
    cleanup(freep) char *real_root = NULL;
    cleanup(closep) int root_fd = -1;

    if (path[0] == '/') {
        const char *rest = inside(root, path);

        /* A client in a folder below the root knows the folder by its real name. */
        if (!rest && (real_root = realpath(root, NULL)))
            rest = inside(real_root, path);
        path = rest;
    }
    if (!path || !path[0])
        return -ENOENT;
    root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return -errno;
    return file_open_beneath(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, true);
}

static bool means_absent(int r) {
    return r == -ENOENT || r == -ENOTDIR || r == -EXDEV || r == -ELOOP || r == -ENAMETOOLONG;
}

static int absent(const struct local_roots *roots, const char *path, struct failure *failure) {
    cleanup(strbuf_done) struct strbuf hint = {};

    strbuf_puts(&hint, roots->n ? "put the file, whole, below a data root:"
                                : "start quantd with --data-root DIR, a folder of texts");
    for (int i = 0; i < roots->n; i++)
        strbuf_printf(&hint, "%s %s", i ? "," : "", roots->dirs[i]);
    return failure_set(failure, -ENOENT, "dataset_not_found", hint.data,
                       path[0] == '/' ? "'%s' is not in a data root" : "no data root has '%s'",
                       path);
}

static int open_local(const struct local_roots *roots, struct local *local,
                      struct failure *failure) {
    for (int i = 0; i < roots->n; i++) {
        cleanup(closep) int fd = open_beneath(roots->dirs[i], local->path);
        struct stat st = {};

        if (means_absent(fd))
            continue;
        if (fd < 0 && fd != -ENXIO) /* ENXIO: a socket */
            return failure_errno(failure, fd, "cannot open", local->path);
        if (fd >= 0 && fstat(fd, &st))
            return failure_errno(failure, -errno, "cannot examine", local->path);
        if (fd < 0 || !S_ISREG(st.st_mode))
            return failure_set(failure, -EBADMSG, "dataset_invalid", "name a text file",
                               "cannot read '%s': not a regular file", local->path);
        local->fd = steal_fd(&fd);
        local->size = (size_t)st.st_size;
        return filetype_check(local->fd, local->path, &local->gzip, failure);
    }
    return absent(roots, local->path, failure);
}

static int find(const struct local_roots *roots, const char *path, struct local *local,
                struct failure *failure) {
    if (!local_path_valid(path))
        return failure_set(failure, -ENOENT, "dataset_not_found",
                           "name a file below a data root, without '..'", "no data root has '%s'",
                           path);
    return split(local, path) ? failure_oom(failure) : open_local(roots, local, failure);
}

int local_check(const struct local_roots *roots, const char *path, size_t *ret_size,
                struct failure *failure) {
    cleanup(local_done) struct local local = {.fd = -1};
    int r = find(roots, path, &local, failure);

    if (!r)
        *ret_size = local.size;
    return r;
}

static int load_json_lines(struct local *local, struct documents *documents,
                           struct failure *failure) {
    const struct json_lines lines = {.subject = local->path,
                                     .field = local->field ? local->field : FIELD,
                                     .separator = LOCAL_SEPARATOR,
                                     .max = SIZE_MAX,
                                     .lenient = true};
    cleanup(reader_freep) struct reader *reader = NULL;
    int r = reader_new(steal_fd(&local->fd), local->path, local->gzip ? READER_GZIP : READER_PLAIN,
                       &reader, failure);

    if (!r)
        r = json_lines_read(&lines, reader, documents, failure);
    if (!r && documents->n == 0)
        r = failure_set(failure, -EBADMSG, "dataset_invalid",
                        "write JSON lines: on each line an object with the text in a field",
                        "cannot read '%s': it has no document", local->path);
    return r;
}

static int load_gzip(struct local *local, struct documents *documents, struct failure *failure) {
    cleanup(reader_freep) struct reader *reader = NULL;
    const char *data;
    size_t size;
    int r = reader_new(steal_fd(&local->fd), local->path, READER_GZIP, &reader, failure);

    while (!r && (r = reader_block(reader, &data, &size, failure)) > 0) {
        strbuf_append(&documents->text, data, size);
        if (documents->text.failed)
            return failure_oom(failure);
        r = documents->text.length > TEXT_MAX ? text_too_large(local->path, failure) : 0;
    }
    return r ? r
             : text_check(documents->text.data ? documents->text.data : "", documents->text.length,
                          local->path, failure);
}

static int load_text(struct local *local, struct documents *documents, struct failure *failure) {
    char *text;
    size_t size;
    int r = text_read(local->fd, local->path, &text, &size, failure);

    if (!r)
        documents->text = (struct strbuf){.data = text, .length = size, .capacity = size + 1};
    return r;
}

int local_load(const struct local_roots *roots, const char *path, struct documents *documents,
               struct failure *failure) {
    cleanup(local_done) struct local local = {.fd = -1};
    int r = find(roots, path, &local, failure);

    if (r)
        return r;
    if (local.json_lines)
        return load_json_lines(&local, documents, failure);
    return local.gzip ? load_gzip(&local, documents, failure)
                      : load_text(&local, documents, failure);
}
