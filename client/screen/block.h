// SPDX-License-Identifier: Apache-2.0
/*
 * A block of lines at the bottom of a terminal, which is redrawn in place; other lines can be
 * printed above it. When the output is not a terminal, only those are printed. One thread.
 */
#pragma once

#include "client/screen/line.h"

#include <termios.h>

#define BLOCK_LINES_MAX 32

struct block {
    struct terminal *terminal; /* borrowed */
    struct strbuf shown;       /* the lines on the screen now, as they were written */
    int widths[BLOCK_LINES_MAX];
    int n_lines;
    double said_at;       /* clock_monotonic() of the last line that was printed, or of the begin */
    bool hushed;          /* what is typed is not echoed */
    struct termios typed; /* how it was before */
};

/*
 * block_begin() - an empty block. Until block_end() the terminal does not echo what is typed, which
 * would move the lines.
 */
void block_begin(struct block *block, struct terminal *terminal);

/*
 * block_draw() - replace the block by @n lines, at most BLOCK_LINES_MAX, cut to the width and
 * height that were measured. One write; none when nothing has changed.
 */
void block_draw(struct block *block, const struct line *lines, int n);

/* block_say() - print a line above the block; cleaned. It may be wider than the terminal. */
void block_say(struct block *block, enum style style, const char *format, ...) printf_format(3, 4);

/*
 * block_key() - wait for a key, at most @seconds. Return: its first byte; 0: none was pressed, or a
 * signal came, or keys are not for this process. From the first call on keys need no Enter.
 */
int block_key(struct block *block, double seconds);

/* block_end() - remove the block from the screen, and echo again. */
void block_end(struct block *block);
