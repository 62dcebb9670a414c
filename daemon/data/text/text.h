// SPDX-License-Identifier: Apache-2.0
/* What the data sets share: whole text files, checked, and their lines. Any thread. */
#pragma once

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

/* No text is larger, joined or as a file. */
#define TEXT_MAX ((size_t)1 << 30)

/*
 * text_open() - open the regular file at @path for reading; the caller owns *ret_fd. Neither a
 * fifo nor a device can make it wait. @subject is what the failure calls the file.
 * Return: 0; -EBADMSG (dataset_invalid) for anything but a file; or -errno.
 */
int text_open(const char *path, const char *subject, int *ret_fd, struct failure *failure);

/*
 * text_read() - all of the open file @fd as UTF-8 and a NUL that is not counted; the caller owns
 * *ret_text. Return: 0; -EBADMSG (dataset_invalid) for more than TEXT_MAX bytes or what is not
 * UTF-8; or -errno.
 */
int text_read(int fd, const char *subject, char **ret_text, size_t *ret_size,
              struct failure *failure);

/* text_too_large() - the failure of a text over TEXT_MAX: -EBADMSG (dataset_invalid). */
int text_too_large(const char *subject, struct failure *failure);

/* text_check() - is @text UTF-8? Return: 0 or -EBADMSG (dataset_invalid). */
int text_check(const char *text, size_t size, const char *subject, struct failure *failure);

/*
 * text_next_line() - the line at *@at with its newline, if it has one; moves *@at behind it.
 * Return: false at the end of the text.
 */
bool text_next_line(const char *text, size_t size, size_t *at, const char **ret_line,
                    size_t *ret_size);

/* text_strip() - shrink a line to what is between its ASCII white space. */
void text_strip(const char **line, size_t *size);

/*
 * text_finish() - hand the joined text over as *@ret_text. Return: 0; -ENOMEM; -EBADMSG
 * (dataset_invalid) when it is larger than TEXT_MAX.
 */
int text_finish(struct strbuf *buf, const char *subject, char **ret_text, size_t *ret_size,
                struct failure *failure);
