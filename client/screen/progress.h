// SPDX-License-Identifier: Apache-2.0
/*
 * How far one thing is: a title, a bar, a detail. On a terminal a block that is drawn again and
 * again, elsewhere only the lines that stay. One thread.
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
    double eta_seconds, eta_at;    /* NAN: not known; clock_monotonic() when it was told */
    double drawn_at;
};

/* progress_begin() - nothing is drawn yet. */
void progress_begin(struct progress *progress, struct terminal *terminal, const char *title);

/* progress_set_step(), progress_set_note() - what the block shows. */
void progress_set_step(struct progress *progress, const char *format, ...) printf_format(2, 3);
void progress_set_note(struct progress *progress, const char *format, ...) printf_format(2, 3);

/* progress_set_done() - done part in 0 .. 1 and seconds left; NAN where it is not known. */
void progress_set_done(struct progress *progress, double fraction, double eta_seconds);

/* progress_draw() - show the block as it is now, not more often than an eye can see. */
void progress_draw(struct progress *progress);

/* progress_end() - take the block away. */
void progress_end(struct progress *progress);

/*
 * progress_bar() - append a bar in at most @width columns, per cent and time left:
 * "━━━━━╸──── 43 %  1 min 12 s left". Without room for it there is no bar.
 * @fraction: 0 .. 1
 * @left:     seconds; NAN: not known
 */
void progress_bar(struct line *line, const struct terminal *terminal, int width, double fraction,
                  double left);
