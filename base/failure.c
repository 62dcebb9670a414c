// SPDX-License-Identifier: Apache-2.0
#include "base/failure.h"

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int failure_set(struct failure *f, int r, const char *code, const char *hint, const char *format,
                ...) {
    va_list args;

    if (!f)
        return r;

    snprintf(f->code, sizeof(f->code), "%s", code);
    snprintf(f->hint, sizeof(f->hint), "%s", hint ? hint : "");
    va_start(args, format);
    vsnprintf(f->detail, sizeof(f->detail), format, args);
    va_end(args);
    str_make_printable(f->detail);
    str_make_printable(f->hint);
    f->field[0] = '\0';
    f->retryable = r == -ENOSPC || r == -EDQUOT || r == -ENOMEM;
    return r;
}

int failure_field(struct failure *f, const char *field, const char *hint, const char *format, ...) {
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    failure_set(f, -EINVAL, "invalid_parameter", hint, "%s: %s", field, text);
    if (f) {
        snprintf(f->field, sizeof(f->field), "%s", field);
        str_make_printable(f->field); /* what was cut may end inside a character */
    }
    return -EINVAL;
}

void failure_of(struct failure *f, const char *subject) {
    char text[2 * sizeof(f->detail)];

    snprintf(text, sizeof(text), "%.256s: %s", subject, f->detail);
    snprintf(f->detail, sizeof(f->detail), "%.511s", text);
    str_make_printable(f->detail); /* what was cut may end inside a character */
}

int failure_oom(struct failure *f) {
    return failure_set(f, -ENOMEM, "out_of_memory",
                       "lower nsamples or seqlen, or wait until the machine has memory free",
                       "cannot allocate memory");
}

int failure_errno(struct failure *f, int r, const char *what, const char *subject) {
    const char *code = "io_error", *hint = NULL;

    if (r == -ENOMEM)
        return failure_oom(f);
    if (r == -ENOSPC || r == -EDQUOT) {
        code = "disk_full";
        hint = "free space on that file system, then retry the job";
    } else if (r == -ENOENT) {
        code = "not_found";
    } else if (r == -EACCES || r == -EPERM) {
        hint = "check the permissions of the file and its folders for the user that runs quantd";
    }
    return failure_set(f, r, code, hint, "%s '%s': %s", what, subject, strerror(-r));
}

int failure_open(struct failure *f, int r, const char *what, const char *path) {
    if (r != -EXDEV && r != -ELOOP)
        return failure_errno(f, r, what, path);
    return failure_set(f, -EBADMSG, "model_invalid", "put the file itself into the model root",
                       "%s '%s': a link leads out of the model root", what, path);
}
