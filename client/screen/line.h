// SPDX-License-Identifier: Apache-2.0
/*
 * One line of a terminal, made of pieces of text with styles. When it is too wide, it is cut and
 * ends in an ellipsis. One thread.
 */
#pragma once

#include "base/str.h"
#include "client/screen/terminal.h"

#define LINE_PIECES_MAX 24

/* Zero-initialise. */
struct line {
    struct strbuf text; /* all pieces, cleaned */
    struct {
        enum style style;
        size_t end; /* in text */
    } pieces[LINE_PIECES_MAX];
    int n_pieces;
};

void line_done(struct line *line);

/* line_put() - append a piece of text; it is cleaned. More than LINE_PIECES_MAX are dropped. */
void line_put(struct line *line, enum style style, const char *format, ...) printf_format(3, 4);

/* line_repeat() - append @s, a trusted text, @n times as one piece. */
void line_repeat(struct line *line, enum style style, const char *s, int n);

/* line_pad() - append spaces up to @column columns. */
void line_pad(struct line *line, int column);

/* line_width() - the width in columns. */
int line_width(const struct line *line);

/* line_render() - append the line to @out with the styles of @terminal, at most @width columns. */
void line_render(const struct line *line, const struct terminal *terminal, int width,
                 struct strbuf *out);
