// SPDX-License-Identifier: Apache-2.0
/* The output for people, and what it can show. One thread. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct terminal {
    FILE *file;  /* borrowed */
    bool redraw; /* a terminal that can move its cursor */
    bool color;
    bool utf8;  /* draws more than ASCII */
    int width;  /* columns */
    int height; /* rows */
};

/* terminal_init() - examine @file and the environment (TERM, NO_COLOR, COLUMNS, locale). */
void terminal_init(struct terminal *terminal, FILE *file);

/* terminal_measure() - read width and height again; they can change while the program runs. */
void terminal_measure(struct terminal *terminal);

/*
 * terminal_wrap() - print @text, which is cleaned, in lines of whole words. The lines after the
 * first are indented by @indent spaces; the first begins at the cursor.
 */
void terminal_wrap(const struct terminal *terminal, int indent, const char *text);

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_YELLOW, STYLE_RED, STYLE_CYAN };

/* terminal_style() - the bytes that begin @style; STYLE_PLAIN ends it. "" without color. */
const char *terminal_style(const struct terminal *terminal, enum style style);
