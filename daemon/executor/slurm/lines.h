// SPDX-License-Identifier: Apache-2.0
/* Reading what a run wrote into its folder, perhaps on another machine. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * lines_read() - calls @each with each whole line of the file @path after @offset, without its
 * newline, and with the offset behind it; not 0 ends it with that. The file is opened anew each
 * time: that is when a network file system looks at the server. What it shows may be old, or lack a
 * page in the middle, which reads as zeros: lines end there, and come the next time. Return: 0;
 * -EMSGSIZE: a line is longer than LINE_SIZE_MAX; or -errno, of a file that is not there too.
 */
int lines_read(const char *path, int64_t offset,
               int (*each)(void *ctx, const char *line, size_t size, int64_t end), void *ctx);

/* lines_gained() - did the run @nonce finish a layer or a set in its first @offset bytes? */
bool lines_gained(const char *dir, const char *nonce, int64_t offset);

/* lines_last() - the last line of the log of the run @nonce; "": it has none. */
void lines_last(const char *dir, const char *nonce, char *line, size_t size);

/* lines_out_of_memory() - does the end of that log say that Slurm ended it for want of memory? */
bool lines_out_of_memory(const char *dir, const char *nonce);
