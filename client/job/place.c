// SPDX-License-Identifier: Apache-2.0
#include "client/job/place.h"

#include "base/str.h"
#include "client/http/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_PREFIX "file:"

/* Is it a path from here by its looks? */
static bool is_from_here(const char *word) {
    return str_has_prefix(word, "./") || str_has_prefix(word, "../") ||
           str_has_prefix(word, "~/") || str_equal(word, ".") || str_equal(word, "..");
}

/* "~/x" is "x" in the home of the user: a shell leaves it alone after "file:". */
static char *without_tilde(const char *path) {
    const char *home = getenv("HOME");

    return str_has_prefix(path, "~/") && home ? str_format("%s%s", home, path + 1) : strdup(path);
}

/* The absolute path of what is at @path, without links; NULL and errno when nothing is there. */
static char *absolute(const char *path) {
    cleanup(freep) char *plain = without_tilde(path);

    return plain ? realpath(plain, NULL) : NULL;
}

/* The rest of the absolute @path below @root, "" for the root itself; NULL: it is elsewhere. */
static const char *below(const char *path, const char *root) {
    size_t n = strlen(root);

    while (n > 0 && root[n - 1] == '/')
        n--;
    if (strncmp(path, root, n) || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return path + n + strspn(path + n, "/");
}

/* How many of the roots of @kind have something at @rest. */
static int count_roots(const json_t *roots, const char *kind, const char *rest) {
    const json_t *root;
    size_t i;
    int n = 0;

    json_array_foreach(roots, i, root) {
        cleanup(freep) char *path = str_format("%s/%s", answer_text(root, "path"), rest);

        n += str_equal(answer_text(root, "kind"), kind) && path && access(path, F_OK) == 0;
    }
    return n;
}

/*
 * The name of the absolute @path in a request: its path below the root of @kind that holds it, as
 * others name it too; @path itself for the root, and when other roots have something at the same
 * path; NULL: no root that the daemon reports holds it.
 */
static const char *name_in_root(struct client *client, const char *kind, const char *path,
                                json_t **ret_status) {
    const json_t *roots, *root;
    size_t i;

    if (http_get(client->http, "/v1/status", ret_status, NULL))
        return NULL;
    roots = json_object_get(*ret_status, "roots");
    json_array_foreach(roots, i, root) {
        const char *rest = below(path, answer_text(root, "path"));

        if (rest && str_equal(answer_text(root, "kind"), kind))
            return rest[0] && count_roots(roots, kind, rest) == 1 ? rest : path;
    }
    return NULL;
}

/* The name by which a daemon of this machine finds @path, which may be one from here. */
static int resolve(struct client *client, const char *kind, const char *path, char **ret_name,
                   struct failure *failure) {
    cleanup(freep) char *real = path[0] == '/' ? NULL : absolute(path);
    cleanup(json_decrefp) json_t *status = NULL;
    const char *name = NULL;

    if (!real && is_from_here(path))
        return errno == ENOMEM ? failure_oom(failure)
                               : failure_errno(failure, -errno, "cannot find", path);
    if (real)
        name = name_in_root(client, kind, real, &status);
    if (!name)
        name = is_from_here(path) ? real : path;
    *ret_name = strdup(name);
    return *ret_name ? 0 : failure_oom(failure);
}

int place_model(struct client *client, const char *word, char **ret_name, struct failure *failure) {
    if (http_is_local(client->http))
        return resolve(client, "model", word, ret_name, failure);
    *ret_name = strdup(word);
    return *ret_name ? 0 : failure_oom(failure);
}

/* Is a data set named by a path, though not by file:? Names of sets have no dot and no slash. */
static bool is_path(const char *word) {
    return word[0] == '/' || is_from_here(word) || (strpbrk(word, "./") && access(word, F_OK) == 0);
}

/* Where "#FIELD" begins in @path, or its end; a file may have a # in its name. */
static size_t end_of_path(const char *path) {
    cleanup(freep) char *plain = without_tilde(path);
    const char *hash = strrchr(path, '#');

    return hash && plain && access(plain, F_OK) ? (size_t)(hash - path) : strlen(path);
}

int place_set(struct client *client, const char *word, char **ret_name, struct failure *failure) {
    bool is_file = str_has_prefix(word, FILE_PREFIX);
    const char *path = is_file ? word + strlen(FILE_PREFIX) : word;
    cleanup(freep) char *alone = NULL;
    cleanup(freep) char *real = NULL;
    size_t end;
    int r;

    if (!http_is_local(client->http) || (!is_file && !is_path(word))) {
        *ret_name = strdup(word);
        return *ret_name ? 0 : failure_oom(failure);
    }
    end = end_of_path(path);
    alone = strndup(path, end);
    if (!alone)
        return failure_oom(failure);
    r = resolve(client, "data", alone, &real, failure);
    if (r)
        return r;
    *ret_name = str_format(FILE_PREFIX "%s%s", real, path + end);
    return *ret_name ? 0 : failure_oom(failure);
}
