// SPDX-License-Identifier: Apache-2.0
/* How fast a folder takes bytes: what no job that writes into it can beat. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct disk_way {
    int threads; /* each with a file of its own */
    bool direct; /* O_DIRECT, past the page cache */
    bool sync;   /* until the bytes are on the disk */
};

/*
 * disk_rate() - write @bytes bytes of noise to new files in @dir, which are removed again.
 * *ret_rate: bytes/s. Return: 0 or -errno.
 */
int disk_rate(const char *dir, size_t bytes, const struct disk_way *way, double *ret_rate);

/* disk_files() - bytes of the files in the folder @dir; one that is not there has none. */
double disk_files(const char *dir);
