// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/disk.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 16
#define STEP ((size_t)16 << 20)

struct file {
    char *path;
    const void *data; /* STEP bytes, aligned to a page */
    size_t bytes;
    const struct disk_way *way;
    struct task task;
};

static int write_steps(int fd, const struct file *file) {
    for (size_t at = 0; at < file->bytes; at += STEP) {
        if (write(fd, file->data, STEP) != (ssize_t)STEP)
            return errno ? -errno : -EIO;
        if (file->way->sync && !file->way->direct)
            (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    return file->way->sync && fsync(fd) ? -errno : 0;
}

static int write_file(void *ctx) {
    struct file *file = ctx;
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | (file->way->direct ? O_DIRECT : 0);
    cleanup(closep) int fd = open(file->path, flags, 0600);

    return fd < 0 ? -errno : write_steps(fd, file);
}

static void *noise(void) {
    uint64_t *data = aligned_alloc(4096, STEP), x = 88172645463325252u;

    for (size_t i = 0; data && i < STEP / sizeof(*data); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = x;
    }
    return data;
}

int disk_rate(const char *dir, size_t bytes, const struct disk_way *way, double *ret_rate) {
    int n = MIN(way->threads, THREADS_MAX), r = 0;
    size_t each = ALIGN_UP(bytes / n, STEP);
    cleanup(freep) void *data = noise();
    struct file files[THREADS_MAX] = {};
    double started = clock_monotonic();

    if (!data)
        return -ENOMEM;
    for (int i = 0; i < n && !r; i++) {
        files[i] = (struct file){str_format("%s/bench-disk-%d", dir, i), data, each, way, {}};
        r = files[i].path ? task_start(&files[i].task, write_file, &files[i]) : -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        int done = task_finish(&files[i].task);

        r = r ? r : done;
    }
    *ret_rate = (double)(n * each) / (clock_monotonic() - started);
    for (int i = 0; i < n; i++) {
        if (files[i].path)
            unlink(files[i].path);
        free(files[i].path);
    }
    return r;
}

double disk_files(const char *dir) {
    cleanup(closedirp) DIR *open = opendir(dir);
    double bytes = 0;
    struct stat st;

    for (struct dirent *entry; open && (entry = readdir(open));) {
        if (!fstatat(dirfd(open), entry->d_name, &st, 0) && S_ISREG(st.st_mode))
            bytes += (double)st.st_size / (double)st.st_nlink; /* of those in two folders once */
    }
    return bytes;
}
