// SPDX-License-Identifier: Apache-2.0
/* Where text for people goes, and what that place can show. */
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

/* terminal_init() - look at @file and the environment (TERM, NO_COLOR, COLUMNS, locale). */
void terminal_init(struct terminal *terminal, FILE *file);

/* terminal_measure() - take over the present width and height; they change while a program runs. */
void terminal_measure(struct terminal *terminal);

/*
 * terminal_wrap() - write @text, harmless, as lines of whole words, each after @indent spaces but
 * for the first, for which the cursor is there already.
 */
void terminal_wrap(const struct terminal *terminal, int indent, const char *text);

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_YELLOW, STYLE_RED, STYLE_CYAN };

/* terminal_style() - the bytes that begin @style there; STYLE_PLAIN ends one. "" without color. */
const char *terminal_style(const struct terminal *terminal, enum style style);
