// SPDX-License-Identifier: Apache-2.0
/* A table of text in aligned columns. One thread. */
#pragma once

#include "base/macros.h"
#include "client/screen/terminal.h"

#include <stdbool.h>

#define TABLE_COLUMNS_MAX 12

struct table_column {
    const char *title; /* NULL: the column is left out */
    bool right;        /* aligned to the right, as numbers are */
    bool shrinks;      /* cut short when the table is wider than the terminal */
};

struct table {
    struct table_column columns[TABLE_COLUMNS_MAX];
    int n_columns;
    char **cells; /* n_cells strings, row by row */
    size_t n_cells, capacity;
    bool failed; /* out of memory, or too many cells */
};

/* table_init() - an empty table of the @n columns, at most TABLE_COLUMNS_MAX. */
void table_init(struct table *table, const struct table_column *columns, int n);
void table_done(struct table *table);

/* table_cell() - add the next cell, row by row, also those of columns that are left out. Cleaned.
 */
void table_cell(struct table *table, const char *format, ...) printf_format(2, 3);

/* table_print() - print the titles and the rows. Return: 0 or -ENOMEM. */
int table_print(const struct table *table, const struct terminal *terminal);
