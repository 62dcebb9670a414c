// SPDX-License-Identifier: Apache-2.0
/*
 * The progress of one task: a title, a bar, a detail. On a terminal it is a block; elsewhere only
 * the lines of block_say() are printed. One thread.
 */
#pragma once

#include "client/screen/block.h"

#define PROGRESS_TEXT_SIZE 256

struct progress {
    struct block block;
    char title[PROGRESS_TEXT_SIZE];
    char step[64];                 /* "3.9 GB of 13.8 GB, 98 MB/s" */
    char note[PROGRESS_TEXT_SIZE]; /* the newest detail; may be empty */
    double fraction;               /* done of all, 0 .. 1; NAN: not known, no bar */
    double eta_seconds, eta_at;    /* NAN: not known; clock_monotonic() of its time */
    double drawn_at;
};

/* progress_begin() - nothing is drawn yet. */
void progress_begin(struct progress *progress, struct terminal *terminal, const char *title);

/* progress_set_step(), progress_set_note() - what the block shows. */
void progress_set_step(struct progress *progress, const char *format, ...) printf_format(2, 3);
void progress_set_note(struct progress *progress, const char *format, ...) printf_format(2, 3);

/* progress_set_done() - the done part, 0 .. 1, and the seconds left; NAN: not known. */
void progress_set_done(struct progress *progress, double fraction, double eta_seconds);

/* progress_draw() - draw the block, at most ten times a second. */
void progress_draw(struct progress *progress);

/* progress_end() - remove the block. */
void progress_end(struct progress *progress);

/*
 * progress_bar() - append a bar in at most @width columns, per cent and time left:
 * "━━━━━╸──── 43 %  1 min 12 s left". When there is no room, the bar is left out.
 * @fraction: 0 .. 1
 * @left:     seconds; NAN: not known
 */
void progress_bar(struct line *line, const struct terminal *terminal, int width, double fraction,
                  double left);
