// SPDX-License-Identifier: Apache-2.0
#include "client/http/token.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <string.h>

#define FILE_MAX 4096
#define TOKEN_MAX 255

static const char *variable(const char *name) {
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

/* A token goes into a header line, so it must not contain a line end. */
static int take(const char *text, size_t size, const char *from, char **ret_token,
                struct failure *failure) {
    bool good = size > 0 && size <= TOKEN_MAX;

    for (size_t i = 0; i < size && good; i++)
        good = text[i] > ' ' && text[i] <= '~';
    if (!good)
        return failure_set(failure, -EINVAL, "usage",
                           "put the output of 'quantctl token create' there",
                           "'%s' does not hold a token", from);
    *ret_token = strndup(text, size);
    return *ret_token ? 0 : failure_oom(failure);
}

/* The first word of the file. */
static int read_file(const char *path, char **ret_token, struct failure *failure) {
    cleanup(freep) char *text = NULL;
    const char *word;
    size_t size;
    int r = file_read(path, FILE_MAX, &text, &size);

    if (r)
        return failure_errno(failure, r, "cannot read the token file", path);
    word = text + strspn(text, " \t\r\n");
    r = take(word, strcspn(word, " \t\r\n"), path, ret_token, failure);
    explicit_bzero(text, size);
    return r;
}

int token_find(const char *path, bool over_tcp, char **ret_token, struct failure *failure) {
    const char *text = variable("QUANTD_TOKEN"), *file = variable("QUANTD_TOKEN_FILE");

    *ret_token = NULL;
    if (path)
        return read_file(path, ret_token, failure);
    if (!over_tcp)
        return 0;
    if (text)
        return take(text, strlen(text), "QUANTD_TOKEN", ret_token, failure);
    return file ? read_file(file, ret_token, failure) : 0;
}
