// SPDX-License-Identifier: Apache-2.0
#include "client/screen/block.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "client/screen/interrupt.h"
#include "client/screen/text.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* Terminals with synchronized updates show what is between these at once. */
#define UPDATE_BEGIN "\033[?2026h"
#define UPDATE_END "\033[?2026l"

#define ERASE_LINE "\033[K"  /* from the cursor to the end of the line */
#define ERASE_BELOW "\033[J" /* from the cursor to the end of the screen */

/* In the background, changing the terminal would stop this process. */
static void hush(struct block *block) {
    struct termios quiet;

    if (!block->terminal->redraw || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
        tcgetattr(STDIN_FILENO, &block->typed))
        return;
    quiet = block->typed;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    block->hushed = tcsetattr(STDIN_FILENO, TCSANOW, &quiet) == 0;
}

int block_key(struct block *block, double seconds) {
    struct pollfd typed = {.fd = STDIN_FILENO, .events = POLLIN};
    struct termios keys;
    char key = 0;

    if (!block->hushed) {
        interrupt_sleep(seconds);
        return 0;
    }
    if (tcgetattr(STDIN_FILENO, &keys) == 0 && keys.c_lflag & ICANON) {
        keys.c_lflag &= ~(tcflag_t)ICANON;
        tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    if (poll(&typed, 1, (int)(seconds * 1000)) <= 0 || read(STDIN_FILENO, &key, 1) != 1)
        return 0;
    return (unsigned char)key;
}

void block_begin(struct block *block, struct terminal *terminal) {
    *block = (struct block){.terminal = terminal, .said_at = clock_monotonic()};
    hush(block);
}

/*
 * The rows of the block on the screen: a terminal that has become narrower has wrapped its lines. A
 * block that is higher than the terminal begins at its top.
 */
static int shown_rows(const struct block *block) {
    const struct terminal *terminal = block->terminal;
    int rows = 0;

    for (int i = 0; i < block->n_lines; i++)
        rows += MAX(1, (block->widths[i] + terminal->width - 1) / terminal->width);
    return MIN(rows, terminal->height - 1);
}

static void go_to_top(const struct block *block, struct strbuf *out) {
    int rows = shown_rows(block);

    strbuf_puts(out, UPDATE_BEGIN "\r");
    if (rows > 0)
        strbuf_printf(out, "\033[%dA", rows);
}

/* One write, so that the screen does not flicker. */
static void put(const struct block *block, const struct strbuf *out) {
    if (!out->failed && out->length)
        fwrite(out->data, 1, out->length, block->terminal->file);
    fflush(block->terminal->file);
}

void block_draw(struct block *block, const struct line *lines, int n) {
    const struct terminal *terminal = block->terminal;
    int width = terminal->width - 1; /* terminals differ in what writing to the last column does */
    struct strbuf out = {}, frame = {};

    if (!terminal->redraw)
        return;
    n = MIN(n, MIN(BLOCK_LINES_MAX, terminal->height - 1));
    for (int i = 0; i < n; i++) {
        line_render(&lines[i], terminal, width, &frame);
        strbuf_puts(&frame, ERASE_LINE "\n");
    }
    if (frame.failed || !frame.length ||
        (frame.length == block->shown.length &&
         memcmp(frame.data, block->shown.data, frame.length) == 0)) {
        strbuf_done(&frame);
        return;
    }
    go_to_top(block, &out);
    strbuf_append(&out, frame.data, frame.length);
    strbuf_puts(&out, ERASE_BELOW UPDATE_END);
    put(block, &out);
    strbuf_done(&out);
    for (int i = 0; i < n; i++)
        block->widths[i] = MIN(line_width(&lines[i]), width);
    block->n_lines = n;
    strbuf_done(&block->shown);
    block->shown = frame;
}

void block_say(struct block *block, enum style style, const char *format, ...) {
    const struct terminal *terminal = block->terminal;
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
    block->said_at = clock_monotonic();
    if (block->n_lines) {
        go_to_top(block, &out);
        strbuf_puts(&out, ERASE_BELOW);
    }
    strbuf_printf(&out, "%s%s%s\n", style ? terminal_style(terminal, style) : "", line,
                  style ? terminal_style(terminal, STYLE_PLAIN) : "");
    if (block->n_lines) {
        strbuf_append(&out, block->shown.data, block->shown.length);
        strbuf_puts(&out, UPDATE_END);
    }
    put(block, &out);
    strbuf_done(&out);
}

void block_end(struct block *block) {
    struct strbuf out = {};

    if (block->n_lines) {
        terminal_measure(block->terminal);
        go_to_top(block, &out);
        strbuf_puts(&out, ERASE_BELOW UPDATE_END);
    }
    put(block, &out);
    strbuf_done(&out);
    strbuf_done(&block->shown);
    block->n_lines = 0;
    if (block->hushed && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetattr(STDIN_FILENO, TCSANOW, &block->typed);
    block->hushed = false;
}
