// SPDX-License-Identifier: Apache-2.0
/*
 * Why something could not be done, in words that reach the user.
 *
 * A function that reads what came from outside takes a struct failure last. It returns 0, or a
 * negative errno with the failure filled in. The code is part of the API: clients match on it.
 */
#pragma once

#include "base/macros.h"

#include <stdbool.h>

struct failure {
    char code[48];    /* snake_case, stable: "model_invalid" */
    char detail[512]; /* what failed, subject quoted: "cannot read 'x': ..." */
    char hint[256];   /* what to do about it; may be empty */
    char field[32];   /* the request's field at fault; mostly empty */
    bool retryable;   /* the same request may succeed later, unchanged */
};

/**
 * failure_set() - describe a failure
 * @f:      filled in, replacing what it held; NULL is allowed
 * @r:      negative errno to return; -ENOSPC and -ENOMEM are marked retryable
 * @code:   stable code, snake_case
 * @hint:   what to do, or NULL
 * @format: the detail; lower case, no full stop, subject quoted
 *
 * Bytes that are not printable UTF-8 become '?', so hostile input may be quoted; also what is left
 * of a character that was cut. The field is emptied.
 *
 * Return: @r. Any thread.
 */
int failure_set(struct failure *f, int r, const char *code, const char *hint, const char *format,
                ...) printf_format(5, 6);

/*
 * failure_field() - the failure of a request's field: code invalid_parameter, detail "@field:
 * ...". Return: -EINVAL. Any thread.
 */
int failure_field(struct failure *f, const char *field, const char *hint, const char *format, ...)
    printf_format(4, 5);

/* failure_of() - @f is that of @subject, one of several: its detail begins with "@subject: ". */
void failure_of(struct failure *f, const char *subject);

/* failure_oom() - the failure of an allocation on the host. Return: -ENOMEM. */
int failure_oom(struct failure *f);

/*
 * failure_errno() - the failure of a system call: "@what '@subject': <strerror>"; -ENOSPC and
 * -EDQUOT get the code disk_full, -ENOENT not_found, others io_error. Return: @r, negative.
 */
int failure_errno(struct failure *f, int r, const char *what, const char *subject);

/*
 * failure_open() - the same for a file of a model that file_open_in() did not open: a link that
 * leads out of the root is -EBADMSG (model_invalid).
 */
int failure_open(struct failure *f, int r, const char *what, const char *path);
