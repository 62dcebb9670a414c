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

static bool is_below(const char *path, const char *root) {
    size_t n = strlen(root);

    return str_equal(root, "/") ||
           (n > 0 && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

/* Is the absolute @path below one of the daemon's roots of @kind? Not known counts as no. */
static bool is_in_root(struct client *client, const char *kind, const char *path) {
    cleanup(json_decrefp) json_t *status = NULL;
    const json_t *root;
    size_t i;

    if (http_get(client->http, "/v1/status", &status, NULL))
        return false;
    json_array_foreach(json_object_get(status, "roots"), i, root) {
        if (str_equal(answer_text(root, "kind"), kind) && is_below(path, answer_text(root, "path")))
            return true;
    }
    return false;
}

/* The path that the daemon, which is on this machine, finds @path by, or @path. */
static int resolve(struct client *client, const char *kind, const char *path, char **ret_path,
                   struct failure *failure) {
    cleanup(freep) char *real = path[0] == '/' ? NULL : absolute(path);

    if (!real && is_from_here(path))
        return errno == ENOMEM ? failure_oom(failure)
                               : failure_errno(failure, -errno, "cannot find", path);
    if (real && (is_from_here(path) || is_in_root(client, kind, real)))
        *ret_path = steal_ptr(real);
    else
        *ret_path = strdup(path);
    return *ret_path ? 0 : failure_oom(failure);
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
