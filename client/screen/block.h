// SPDX-License-Identifier: Apache-2.0
/*
 * Lines at the foot of a terminal that are drawn again and again in place, with lines that stay
 * above them. On what is not a terminal only the lines that stay are written. One thread.
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
    bool hushed;          /* what is typed is not echoed */
    struct termios typed; /* how it was before */
};

/*
 * block_begin() - nothing is drawn yet. Until block_end() what is typed on the terminal is not
 * echoed: it would move the lines.
 */
void block_begin(struct block *block, struct terminal *terminal);

/*
 * block_draw() - show @n lines, at most BLOCK_LINES_MAX, in place of what is shown; as wide and
 * high as the terminal was measured. One write, and none when nothing has changed.
 */
void block_draw(struct block *block, const struct line *lines, int n);

/* block_say() - write a line that stays; cleaned. It may be wider than the terminal. */
void block_say(struct block *block, enum style style, const char *format, ...) printf_format(3, 4);

/* block_end() - take the lines off the screen, and echo again. */
void block_end(struct block *block);
