// SPDX-License-Identifier: Apache-2.0
/* The block of a job that is followed, as lines of a terminal. One thread. */
#pragma once

#include "client/job/display.h"

/*
 * display_draw() - draw the block, at most ten times a second unless @now. When the output is not a
 * terminal, print a line of progress if none was printed for a quarter of a minute.
 */
void display_draw(struct display *display, bool now);

/* display_lines() - the lines of the block, at most @most. Return: how many. */
int display_lines(const struct display *display, struct line *lines, int most);
