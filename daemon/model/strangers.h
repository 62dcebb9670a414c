// SPDX-License-Identifier: Apache-2.0
/* What lies in a folder that was meant to be a model, where there is nothing to read. */
#pragma once

#include <limits.h>
#include <stdbool.h>

struct stranger {
    char name[NAME_MAX + 1]; /* of the file */
    const char *what;        /* "a GGUF file" */
    const char *hint;        /* what to do */
    bool is_other_kind;      /* not read at all; else a part of a model */
};

/*
 * strangers_find() - the file in the folder @dir_fd (O_PATH will do) that tells most of what the
 * folder is: an adapter, GGUF, a shard without an index, a pickle. Return: is there one?
 * Any thread.
 */
bool strangers_find(int dir_fd, struct stranger *ret_stranger);
