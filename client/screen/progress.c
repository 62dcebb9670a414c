// SPDX-License-Identifier: Apache-2.0
#include "client/screen/progress.h"

#include "base/clock.h"
#include "client/screen/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define DRAW_SECONDS 0.1
#define BAR_WIDTH_MAX 60
#define BAR_LEAST 8
#define REST_WIDTH 25 /* " 100 %  59 min 59 s left" */

void progress_begin(struct progress *progress, struct terminal *terminal, const char *title) {
    *progress = (struct progress){.fraction = NAN, .eta_seconds = NAN, .drawn_at = -1};
    block_begin(&progress->block, terminal);
    snprintf(progress->title, sizeof(progress->title), "%s", title);
}

void progress_set_step(struct progress *progress, const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(progress->step, sizeof(progress->step), format, args);
    va_end(args);
}

void progress_set_note(struct progress *progress, const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(progress->note, sizeof(progress->note), format, args);
    va_end(args);
}

void progress_set_done(struct progress *progress, double fraction, double eta_seconds) {
    progress->fraction = fraction >= 0 && fraction <= 1 ? fraction : NAN;
    progress->eta_seconds = eta_seconds >= 0 ? eta_seconds : NAN;
    progress->eta_at = clock_monotonic();
}

static void put_bar(struct line *line, const struct terminal *terminal, int width,
                    double fraction) {
    int halves = (int)floor(fraction * width * 2), done = halves / 2, half = halves % 2;

    if (terminal->utf8) {
        line_repeat(line, STYLE_GREEN, "━", done);
        line_repeat(line, STYLE_GREEN, "╸", half);
        line_repeat(line, STYLE_DIM, "─", width - done - half);
        return;
    }
    line_put(line, STYLE_PLAIN, "[");
    line_repeat(line, STYLE_GREEN, "#", done);
    line_repeat(line, STYLE_DIM, "-", width - done);
    line_put(line, STYLE_PLAIN, "]");
}

void progress_bar(struct line *line, const struct terminal *terminal, int width, double fraction,
                  double left) {
    int space = MIN(width - REST_WIDTH - (terminal->utf8 ? 0 : 2), BAR_WIDTH_MAX);
    char duration[TEXT_SIZE];

    if (space >= BAR_LEAST) {
        put_bar(line, terminal, space, fraction);
        line_put(line, STYLE_PLAIN, " ");
    }
    /* never 100 before the end */
    line_put(line, STYLE_BOLD, "%3.0f %%", floor(fraction * 100));
    text_duration(fmax(left, 0), duration);
    if (isfinite(left))
        line_put(line, STYLE_PLAIN, "  %s left", duration);
}

void progress_draw(struct progress *progress) {
    struct terminal *terminal = progress->block.terminal;
    double now = clock_monotonic();
    struct line lines[4] = {};
    int n = 0;

    if (!terminal->redraw || now - progress->drawn_at < DRAW_SECONDS)
        return;
    progress->drawn_at = now;
    terminal_measure(terminal);
    line_put(&lines[n++], STYLE_BOLD, "%s", progress->title);
    if (isfinite(progress->fraction))
        progress_bar(&lines[n++], terminal, terminal->width - 1, progress->fraction,
                     progress->eta_seconds - (now - progress->eta_at));
    line_put(&lines[n++], STYLE_PLAIN, "%s", progress->step);
    if (progress->note[0])
        line_put(&lines[n++], STYLE_DIM, "%s", progress->note);
    block_draw(&progress->block, lines, n);
    for (int i = 0; i < n; i++)
        line_done(&lines[i]);
}

void progress_end(struct progress *progress) {
    block_end(&progress->block);
}
