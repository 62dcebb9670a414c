// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <stdbool.h>

#define DEPTH_MAX 64

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
    json_error_t error;
    json_t *value;

    if (too_deep(text, size))
        return failure_set(failure, -EBADMSG, code, NULL,
                           "cannot parse '%s': nested deeper than %d levels", subject, DEPTH_MAX);
    value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value && json_error_code(&error) == json_error_out_of_memory)
        return failure_oom(failure);
    if (!value)
        return failure_set(failure, -EBADMSG, code, NULL,
                           "cannot parse '%s': line %d column %d: %s", subject, error.line,
                           error.column, error.text);
    *ret_value = value;
    return 0;
}

int json_parse_file(const char *path, size_t max, const char *code, json_t **ret_value,
                    struct failure *failure) {
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    r = file_read(path, max, &text, &size);
    if (r == -EFBIG)
        return failure_set(failure, r, code, NULL, "cannot read '%s': larger than %zu bytes", path,
                           max);
    if (r)
        return failure_errno(failure, r, "cannot read", path);
    return json_parse(text, size, path, code, ret_value, failure);
}
