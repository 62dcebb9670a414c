// SPDX-License-Identifier: Apache-2.0
/*
 * How far a job is: on a terminal a block that is drawn again and again, with lines that stay
 * above it; elsewhere only the lines that stay. One thread.
 */
#pragma once

#include "base/macros.h"
#include "client/terminal.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_TEXT_SIZE 256

struct progress {
    struct terminal *terminal; /* borrowed */
    char title[PROGRESS_TEXT_SIZE];
    char step[64];                 /* "quantize  layer 3/16" */
    char note[PROGRESS_TEXT_SIZE]; /* the newest detail; may be empty */
    double fraction;               /* done of all, 0 .. 1; NAN: not known, no bar */
    double eta_seconds, eta_at;    /* NAN: not known; clock_monotonic() when it was told */
    double begun_at;               /* clock_monotonic() */
    int n_lines;                   /* of the block on the screen now */
    double drawn_at;
};

/* progress_begin() - @title is cut to fit; nothing is drawn yet. */
void progress_begin(struct progress *progress, struct terminal *terminal, const char *title);

/* progress_set_step(), progress_set_note() - what the block shows; cleaned. */
void progress_set_step(struct progress *progress, const char *format, ...) printf_format(2, 3);
void progress_set_note(struct progress *progress, const char *format, ...) printf_format(2, 3);

/* progress_set_done() - done part in 0 .. 1 and seconds left; NAN where it is not known. */
void progress_set_done(struct progress *progress, double fraction, double eta_seconds);

/* progress_say() - a line that stays; cleaned. */
void progress_say(struct progress *progress, enum style style, const char *format, ...)
    printf_format(3, 4);

/* progress_draw() - show the block as it is now, not more often than an eye can see. */
void progress_draw(struct progress *progress);

/* progress_end() - take the block away. */
void progress_end(struct progress *progress);
