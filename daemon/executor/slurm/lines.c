// SPDX-License-Identifier: Apache-2.0
#include "daemon/executor/slurm/lines.h"

#include "api/wire.h"
#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/executor/slurm/answer.h"
#include "daemon/jobdir/line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_SIZE 4096

/* Opens the file and finds its size. Return: a descriptor or -errno. */
static int open_file(const char *path, int64_t *ret_size) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    *ret_size = st.st_size;
    return fd;
}

/* Up to @size bytes at @offset. Return: how many, or -errno. */
static ssize_t read_at(int fd, int64_t offset, char *data, size_t size) {
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, data + done, size - done, offset + (int64_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int lines_read(const char *path, int64_t offset,
               int (*each)(void *ctx, const char *line, size_t size, int64_t end), void *ctx) {
    cleanup(freep) char *data = NULL;
    cleanup(closep) int fd = -1;
    const char *hole;
    int64_t size = 0;
    ssize_t n;

    fd = open_file(path, &size);
    if (fd < 0)
        return fd;
    if (size <= offset)
        return 0;
    size = MIN(size - offset, (int64_t)LINE_SIZE_MAX + 1);
    data = malloc((size_t)size);
    if (!data)
        return -ENOMEM;
    n = read_at(fd, offset, data, (size_t)size);
    if (n < 0)
        return (int)n;
    hole = memchr(data, '\0', (size_t)n);
    if (hole)
        n = hole - data;
    for (const char *line = data, *end = data + n, *next; line < end; line = next + 1) {
        int r;

        next = memchr(line, '\n', (size_t)(end - line));
        if (!next)
            return line == data && n > LINE_SIZE_MAX ? -EMSGSIZE : 0;
        r = each(ctx, line, (size_t)(next - line), offset + (next + 1 - data));
        if (r)
            return r;
    }
    return 0;
}

/* *ctx counts the lines that say that something was finished, up to its offset. */
struct gains {
    int64_t offset;
    bool found;
};

static int count_gain(void *ctx, const char *line, size_t size, int64_t end) {
    static const char *const kinds[] = {"{\"kind\":\"" WIRE_EVENT_LAYER_FINISHED "\"",
                                        "{\"kind\":\"" WIRE_EVENT_EVAL_FINISHED "\""};
    struct gains *gains = ctx;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        gains->found |= size > strlen(kinds[i]) && !memcmp(line, kinds[i], strlen(kinds[i]));
    return gains->found || end >= gains->offset;
}

bool lines_gained(const char *dir, const char *nonce, int64_t offset) {
    cleanup(freep) char *path = str_format("%s/events.%s", dir, nonce);
    struct gains gains = {.offset = offset};

    if (path)
        lines_read(path, 0, count_gain, &gains);
    return gains.found;
}

/* The end of the log of the run @nonce as a string; "": there is none. */
static void read_tail(const char *dir, const char *nonce, char tail[TAIL_SIZE + 1]) {
    cleanup(freep) char *path = str_format("%s/slurm.%s.log", dir, nonce);
    cleanup(closep) int fd = -1;
    int64_t length = 0;
    ssize_t n = 0;

    fd = path ? open_file(path, &length) : -1;
    if (fd >= 0)
        n = read_at(fd, MAX(length - TAIL_SIZE, 0), tail, TAIL_SIZE);
    tail[MAX(n, 0)] = '\0';
}

void lines_last(const char *dir, const char *nonce, char *line, size_t size) {
    char tail[TAIL_SIZE + 1];

    read_tail(dir, nonce, tail);
    slurm_last_line(tail, line, size);
}

/* As slurmstepd and the plugins of task/cgroup and jobacct_gather write it. */
bool lines_out_of_memory(const char *dir, const char *nonce) {
    static const char *const parts[] = {"oom-kill", "oom_kill", "Out Of Memory", "memory limit"};
    char tail[TAIL_SIZE + 1];

    read_tail(dir, nonce, tail);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (strstr(tail, parts[i]))
            return true;
    }
    return false;
}
