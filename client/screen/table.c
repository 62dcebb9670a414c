// SPDX-License-Identifier: Apache-2.0
#include "client/screen/table.h"

#include "client/screen/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 1000000
#define GAP 2 /* columns of space between two columns */
#define SHRUNK_LEAST 8

void table_init(struct table *table, const struct table_column *columns, int n) {
    *table = (struct table){.n_columns = n};
    memcpy(table->columns, columns, sizeof(*columns) * n);
}

void table_done(struct table *table) {
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){};
}

void table_cell(struct table *table, const char *format, ...) {
    va_list args;
    char *cell;
    int n;

    if (table->failed || table->n_cells == CELLS_MAX) {
        table->failed = true;
        return;
    }
    if (table->n_cells == table->capacity) {
        size_t capacity = table->capacity * 2 + 64;
        char **grown = reallocarray(table->cells, capacity, sizeof(*grown));

        if (!grown) {
            table->failed = true;
            return;
        }
        table->cells = grown;
        table->capacity = capacity;
    }
    va_start(args, format);
    n = vasprintf(&cell, format, args);
    va_end(args);
    if (n < 0) {
        table->failed = true;
        return;
    }
    text_clean(cell);
    table->cells[table->n_cells++] = cell;
}

/* The width of each column; columns that may shrink are cut until the table fits. */
static void measure(const struct table *table, int width, int widths[TABLE_COLUMNS_MAX]) {
    int total = -GAP;

    for (int c = 0; c < table->n_columns; c++) {
        widths[c] = 0;
        if (!table->columns[c].title)
            continue;
        widths[c] = text_width(table->columns[c].title);
        for (size_t i = c; i < table->n_cells; i += table->n_columns)
            widths[c] = MAX(widths[c], text_width(table->cells[i]));
        total += widths[c] + GAP;
    }
    while (total > width) {
        int widest = -1;

        for (int c = 0; c < table->n_columns; c++)
            if (table->columns[c].title && table->columns[c].shrinks && widths[c] > SHRUNK_LEAST &&
                (widest < 0 || widths[c] > widths[widest]))
                widest = c;
        if (widest < 0)
            return;
        widths[widest]--;
        total--;
    }
}

static void append_spaces(struct strbuf *line, int n) {
    if (n > 0)
        strbuf_printf(line, "%*s", n, "");
}

static void append_cell(struct strbuf *line, const struct terminal *terminal, const char *cell,
                        int width, bool right) {
    int used = text_width(cell);
    const char *more = terminal->utf8 ? "…" : "~";

    if (used > width) {
        strbuf_append(line, cell, text_fit(cell, width - 1));
        strbuf_puts(line, more);
        return;
    }
    if (right)
        append_spaces(line, width - used);
    strbuf_puts(line, cell);
    if (!right)
        append_spaces(line, width - used);
}

static int print_row(const struct table *table, const struct terminal *terminal,
                     const int widths[TABLE_COLUMNS_MAX], char *const *cells, bool titles) {
    struct strbuf line = {};
    size_t length;
    bool first = true;

    for (int c = 0; c < table->n_columns; c++) {
        const struct table_column *column = &table->columns[c];

        if (!column->title)
            continue;
        if (!first)
            append_spaces(&line, GAP);
        first = false;
        append_cell(&line, terminal, titles ? column->title : cells[c], widths[c], column->right);
    }
    length = line.length;
    while (length > 0 && line.data[length - 1] == ' ')
        length--;
    if (!line.failed)
        fprintf(terminal->file, "%s%.*s%s\n", terminal_style(terminal, titles ? STYLE_BOLD : 0),
                (int)length, line.data ? line.data : "", terminal_style(terminal, STYLE_PLAIN));
    strbuf_done(&line);
    return line.failed ? -ENOMEM : 0;
}

int table_print(const struct table *table, const struct terminal *terminal) {
    int widths[TABLE_COLUMNS_MAX];
    int r;

    if (table->failed)
        return -ENOMEM;
    measure(table, terminal->width, widths);
    r = print_row(table, terminal, widths, NULL, true);
    for (size_t i = 0; !r && i + table->n_columns <= table->n_cells; i += table->n_columns)
        r = print_row(table, terminal, widths, table->cells + i, false);
    return r;
}
