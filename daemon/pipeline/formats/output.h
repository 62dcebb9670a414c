// SPDX-License-Identifier: Apache-2.0
/* A file that a container writes from front to back. One thread. */
#pragma once

#include "base/failure.h"

struct output {
    char *path; /* owned */
    int fd;
};

/* output_open() - make the new file @path. Return: 0 or -errno with the failure. */
int output_open(struct output *output, const char *path, struct failure *failure);

/* output_sync() - have all of it, and its name, on the disk. Return: 0 or -errno. */
int output_sync(const struct output *output);

/* output_failed() - the failure of a write that returned @r. Return: @r. */
int output_failed(const struct output *output, int r, struct failure *failure);

/* output_close() - of one that output_open() was called with, or that is zeroed. */
void output_close(struct output *output);
