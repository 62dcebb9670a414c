// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/lfs.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 64

/*
 * When jansson runs out of memory it says that the text is wrong, or nothing at all, or gives a
 * value in which a key is missing. So its allocations are watched.
 */
static _Thread_local bool ran_out;

static void *watched_malloc(size_t size) {
    void *block = malloc(size);

    ran_out |= !block;
    return block;
}

/* Before main(), so before any thread uses jansson. */
static void __attribute__((constructor)) watch_allocations(void) {
    json_set_alloc_funcs(watched_malloc, free);
}

/* jansson's own limit is 2048 and its parser recurses: count the brackets before it starts. */
static bool too_deep(const char *text, size_t size) {
    bool in_string = false;
    int depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_string = false;
        } else if (text[i] == '"') {
            in_string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > DEPTH_MAX)
                return true;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return false;
}

int json_parse(const char *text, size_t size, const char *subject, const char *code,
               json_t **ret_value, struct failure *failure) {
    json_error_t error = {};
    json_t *value;

    if (too_deep(text, size))
        return failure_set(failure, -EBADMSG, code, NULL,
                           "cannot parse '%s': nested deeper than %d levels", subject, DEPTH_MAX);
    ran_out = false;
    value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (ran_out) {
        json_decref(value);
        return failure_oom(failure);
    }
    if (!value)
        return failure_set(failure, -EBADMSG, code, NULL,
                           "cannot parse '%s': line %d column %d: %s", subject, error.line,
                           error.column, error.text);
    *ret_value = value;
    return 0;
}

json_t *json_clone(const json_t *value) {
    cleanup(json_decrefp) json_t *copy = NULL;

    ran_out = false;
    copy = json_deep_copy(value);
    return ran_out ? NULL : steal_ptr(copy);
}

char *json_text(const json_t *value, size_t flags) {
    cleanup(freep) char *text = NULL;

    ran_out = false;
    text = json_dumps(value, flags);
    return ran_out ? NULL : steal_ptr(text);
}

int json_sha256(const json_t *value, char ret_text[SHA256_TEXT_SIZE]) {
    cleanup(freep) char *text =
        value ? json_text(value, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    return text ? sha256_of(text, strlen(text), ret_text) : -ENOMEM;
}

json_t *json_time(int64_t wall_ms) {
    char text[CLOCK_TEXT_SIZE];

    if (!wall_ms)
        return json_null();
    clock_format(wall_ms, text);
    return json_string(text);
}

int json_read_file(const char *root, const char *path, size_t max, const char *code,
                   char **ret_text, size_t *ret_size, struct failure *failure) {
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    r = file_read_in(root, path, max, &text, &size);
    if (r == -EFBIG)
        return failure_set(failure, r, code, NULL, "cannot read '%s': larger than %zu bytes", path,
                           max);
    if (r)
        return failure_open(failure, r, "cannot read", path);
    if (lfs_is_pointer(text, size))
        return lfs_failure(failure, code, path);
    *ret_text = steal_ptr(text);
    *ret_size = size;
    return 0;
}

int json_parse_file(const char *path, size_t max, const char *code, json_t **ret_value,
                    struct failure *failure) {
    return json_parse_file_in(NULL, path, max, code, ret_value, failure);
}

int json_parse_file_in(const char *root, const char *path, size_t max, const char *code,
                       json_t **ret_value, struct failure *failure) {
    cleanup(freep) char *text = NULL;
    size_t size = 0;
    int r;

    r = json_read_file(root, path, max, code, &text, &size, failure);
    return r ? r : json_parse(text, size, path, code, ret_value, failure);
}
