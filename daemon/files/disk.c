// SPDX-License-Identifier: Apache-2.0
#include "daemon/files/disk.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/macros.h"

#include <errno.h>
#include <sys/statvfs.h>

void disk_init(struct disk *disk, const char *dir, uint64_t floor) {
    *disk = (struct disk){.dir = dir};
    disk->floor = floor;
    pthread_mutex_init(&disk->mutex, NULL);
}

void disk_done(struct disk *disk) {
    pthread_mutex_destroy(&disk->mutex);
}

static int check_floor(const struct disk *disk, struct failure *failure) {
    struct statvfs st;
    uint64_t n_free, floor = disk->floor;
    char left[BYTES_TEXT_SIZE], least[BYTES_TEXT_SIZE];

    if (statvfs(disk->dir, &st))
        return failure_errno(failure, -errno, "cannot ask for the free space of", disk->dir);
    n_free = (uint64_t)st.f_bavail * st.f_frsize;
    if (n_free >= floor)
        return 0;
    bytes_text((double)n_free, left);
    bytes_text((double)floor, least);
    return failure_set(failure, -ENOSPC, "disk_full", "delete jobs, or make room on its disk",
                       "the disk of the state folder has %s left, less than %s", left, least);
}

int disk_check(struct disk *disk, struct failure *failure) {
    double left;
    int r = check_floor(disk, failure);

    if (r)
        return r;
    pthread_mutex_lock(&disk->mutex);
    left = disk->held_until - clock_monotonic();
    pthread_mutex_unlock(&disk->mutex);
    if (left <= 0)
        return 0;
    return failure_set(failure, -ENOSPC, "disk_full",
                       "check for a quota or a reserve on the disk of the state folder",
                       "a write to the state folder failed although its disk shows free space; "
                       "the next try is within %.0f s",
                       left);
}

void disk_refused(struct disk *disk) {
    int seconds;

    /* Below the floor there is nothing to guess: there is room when it is reached again. */
    if (check_floor(disk, NULL))
        return;
    pthread_mutex_lock(&disk->mutex);
    seconds = disk->hold_seconds ? MIN(2 * disk->hold_seconds, DISK_HOLD_MAX) : DISK_HOLD_FIRST;
    disk->hold_seconds = seconds;
    disk->held_until = clock_monotonic() + seconds;
    pthread_mutex_unlock(&disk->mutex);
    log_warning("the disk of the state folder took a write no more although it shows room; jobs "
                "that write wait for %d s",
                seconds);
}

void disk_took(struct disk *disk) {
    pthread_mutex_lock(&disk->mutex);
    disk->hold_seconds = 0;
    pthread_mutex_unlock(&disk->mutex);
}
