// SPDX-License-Identifier: Apache-2.0
#include "client/progress.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "client/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DRAW_SECONDS 0.1
#define BLOCK_WIDTH_MAX 100
#define BAR_LEAST 8
#define STEP_WIDTH 21 /* "quantize  layer 12/16" */
#define REST_WIDTH 23 /* "100 %  59 min 59 s left" */

void progress_begin(struct progress *progress, struct terminal *terminal, const char *title) {
    *progress = (struct progress){.terminal = terminal, .fraction = NAN, .eta_seconds = NAN};
    snprintf(progress->title, sizeof(progress->title), "%s", title);
    text_clean(progress->title);
    progress->begun_at = clock_monotonic();
    progress->drawn_at = -1;
}

static void set_text(char *text, size_t size, const char *format, va_list args) {
    vsnprintf(text, size, format, args);
    text_clean(text);
}

void progress_set_step(struct progress *progress, const char *format, ...) {
    va_list args;

    va_start(args, format);
    set_text(progress->step, sizeof(progress->step), format, args);
    va_end(args);
}

void progress_set_note(struct progress *progress, const char *format, ...) {
    va_list args;

    va_start(args, format);
    set_text(progress->note, sizeof(progress->note), format, args);
    va_end(args);
}

void progress_set_done(struct progress *progress, double fraction, double eta_seconds) {
    progress->fraction = fraction >= 0 && fraction <= 1 ? fraction : NAN;
    progress->eta_seconds = eta_seconds >= 0 ? eta_seconds : NAN;
    progress->eta_at = clock_monotonic();
}

/* The bytes that take the block off the screen and leave the cursor where it began. */
static void erase(struct progress *progress, struct strbuf *out) {
    if (progress->n_lines > 0)
        strbuf_printf(out, "\r\033[%dA\033[J", progress->n_lines);
    progress->n_lines = 0;
}

static void add_line(struct progress *progress, struct strbuf *out, enum style style,
                     const char *text, int width) {
    strbuf_puts(out, terminal_style(progress->terminal, style));
    strbuf_append(out, text, text_fit(text, width));
    strbuf_puts(out, terminal_style(progress->terminal, STYLE_PLAIN));
    strbuf_puts(out, "\n");
    progress->n_lines++;
}

static void add_bar(const struct progress *progress, struct strbuf *out, int width) {
    const struct terminal *terminal = progress->terminal;
    int done = (int)lround(progress->fraction * width);

    if (!terminal->utf8)
        strbuf_puts(out, "[");
    strbuf_puts(out, terminal_style(terminal, STYLE_GREEN));
    for (int i = 0; i < width; i++) {
        if (i == done) {
            strbuf_puts(out, terminal_style(terminal, STYLE_PLAIN));
            strbuf_puts(out, terminal_style(terminal, STYLE_DIM));
        }
        if (terminal->utf8)
            strbuf_puts(out, i < done ? "█" : "░");
        else
            strbuf_puts(out, i < done ? "#" : "-");
    }
    strbuf_puts(out, terminal_style(terminal, STYLE_PLAIN));
    if (!terminal->utf8)
        strbuf_puts(out, "]");
}

/*
 * "quantize  layer 3/16   [######------]   43 %  1 min 12 s left": step and rest keep their widths,
 * so that the bar stands still.
 */
static void add_bar_line(struct progress *progress, struct strbuf *out, int width) {
    double left = progress->eta_seconds - (clock_monotonic() - progress->eta_at);
    int step_width = MAX(text_width(progress->step), STEP_WIDTH);
    char duration[TEXT_SIZE], rest[64];
    int space;

    text_duration(fmax(left, 0), duration);
    snprintf(rest, sizeof(rest), "%3.0f %%", progress->fraction * 100);
    if (isfinite(left))
        snprintf(rest, sizeof(rest), "%3.0f %%  %s left", progress->fraction * 100, duration);
    space = width - step_width - REST_WIDTH - 4;
    if (!progress->terminal->utf8)
        space -= 2;
    strbuf_append(out, progress->step, text_fit(progress->step, width));
    if (space >= BAR_LEAST) {
        strbuf_printf(out, "%*s", step_width - text_width(progress->step) + 2, "");
        add_bar(progress, out, space);
    }
    if (text_width(progress->step) + 2 + (int)strlen(rest) <= width)
        strbuf_printf(out, "  %s", rest);
    strbuf_puts(out, "\n");
    progress->n_lines++;
}

static void add_block(struct progress *progress, struct strbuf *out) {
    /* The last column stays free: terminals differ in what writing there does. */
    int width = MIN(progress->terminal->width - 1, BLOCK_WIDTH_MAX);
    char elapsed[TEXT_SIZE];

    add_line(progress, out, STYLE_BOLD, progress->title, width);
    if (isfinite(progress->fraction)) {
        add_bar_line(progress, out, width);
    } else {
        cleanup(freep) char *line = NULL;

        text_duration(clock_monotonic() - progress->begun_at, elapsed);
        line = str_format("%s, %s so far", progress->step, elapsed);
        add_line(progress, out, STYLE_PLAIN, line ? line : progress->step, width);
    }
    if (progress->note[0])
        add_line(progress, out, STYLE_DIM, progress->note, width);
}

/* One write for one picture, so that it does not flicker. */
static void put(struct progress *progress, struct strbuf *out) {
    if (!out->failed && out->length)
        fwrite(out->data, 1, out->length, progress->terminal->file);
    fflush(progress->terminal->file);
    strbuf_done(out);
}

void progress_say(struct progress *progress, enum style style, const char *format, ...) {
    bool drawn = progress->n_lines > 0;
    cleanup(freep) char *line = NULL;
    struct strbuf out = {};
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&line, format, args);
    va_end(args);
    if (n < 0) {
        line = NULL;
        return;
    }
    text_clean(line);
    erase(progress, &out);
    strbuf_printf(&out, "%s%s%s\n", terminal_style(progress->terminal, style), line,
                  style ? terminal_style(progress->terminal, STYLE_PLAIN) : "");
    if (drawn)
        add_block(progress, &out);
    put(progress, &out);
}

void progress_draw(struct progress *progress) {
    double now = clock_monotonic();
    struct strbuf out = {};

    if (!progress->terminal->redraw || now - progress->drawn_at < DRAW_SECONDS)
        return;
    progress->drawn_at = now;
    terminal_measure(progress->terminal);
    erase(progress, &out);
    add_block(progress, &out);
    put(progress, &out);
}

void progress_end(struct progress *progress) {
    struct strbuf out = {};

    erase(progress, &out);
    put(progress, &out);
}
