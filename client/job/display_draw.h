// SPDX-License-Identifier: Apache-2.0
/* What the block of a job that is followed looks like. One thread. */
#pragma once

#include "client/job/display.h"

/* display_draw() - show the block as it is now; not more often than an eye can see but for @now. */
void display_draw(struct display *display, bool now);

/* display_lines() - what the block shows, at most @most lines. Return: how many. */
int display_lines(const struct display *display, struct line *lines, int most);
