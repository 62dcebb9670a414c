// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int text_too_large(const char *subject, struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid", "use a part of it",
                       "cannot read '%s': more than %zu bytes of text", subject, TEXT_MAX);
}

int text_open(const char *path, const char *subject, int *ret_fd, struct failure *failure) {
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 && errno != ENXIO)
        return failure_errno(failure, -errno, "cannot open", subject);
    if (fd >= 0 && fstat(fd, &st))
        return failure_errno(failure, -errno, "cannot examine", subject);
    if (fd < 0 || !S_ISREG(st.st_mode))
        return failure_set(failure, -EBADMSG, "dataset_invalid", "put a regular file there",
                           "cannot read '%s': not a regular file", subject);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int text_read(int fd, const char *subject, char **ret_text, size_t *ret_size,
              struct failure *failure) {
    cleanup(freep) char *text = NULL;
    size_t size = 0, expected;
    struct stat st;
    int r;

    if (fstat(fd, &st))
        return failure_errno(failure, -errno, "cannot examine", subject);
    if (st.st_size < 0 || (uintmax_t)st.st_size > TEXT_MAX)
        return text_too_large(subject, failure);
    expected = (size_t)st.st_size;
    text = malloc(expected + 1);
    if (!text)
        return failure_oom(failure);
    while (size < expected) {
        ssize_t n = read(fd, text + size, expected - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failure_errno(failure, -errno, "cannot read", subject);
        if (n == 0)
            break;
        size += (size_t)n;
    }
    text[size] = '\0';
    r = text_check(text, size, subject, failure);
    if (r)
        return r;
    *ret_size = size;
    *ret_text = steal_ptr(text);
    return 0;
}

int text_check(const char *text, size_t size, const char *subject, struct failure *failure) {
    size_t valid = str_utf8_length(text, size);

    if (valid < size)
        return failure_set(failure, -EBADMSG, "dataset_invalid", "convert the text to UTF-8",
                           "cannot read '%s': not UTF-8 at byte %zu", subject, valid);
    return 0;
}

bool text_next_line(const char *text, size_t size, size_t *at, const char **ret_line,
                    size_t *ret_size) {
    const char *line, *newline;

    if (*at >= size)
        return false;
    line = text + *at;
    newline = memchr(line, '\n', size - *at);
    *ret_line = line;
    *ret_size = newline ? (size_t)(newline - line) + 1 : size - *at;
    *at += *ret_size;
    return true;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void text_strip(const char **line, size_t *size) {
    while (*size > 0 && is_space((*line)[*size - 1]))
        (*size)--;
    while (*size > 0 && is_space((*line)[0])) {
        (*line)++;
        (*size)--;
    }
}

int text_finish(struct strbuf *buf, const char *subject, char **ret_text, size_t *ret_size,
                struct failure *failure) {
    size_t size = buf->length;
    char *text;

    if (size > TEXT_MAX)
        return text_too_large(subject, failure);
    text = strbuf_steal(buf);
    if (!text)
        return failure_oom(failure);
    *ret_size = size;
    *ret_text = text;
    return 0;
}
