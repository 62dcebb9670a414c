// SPDX-License-Identifier: Apache-2.0
#include "client/screen/sheet.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/screen/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_number(const char *cell) {
    char *end;

    strtod(cell, &end);
    return end != cell && !*end;
}

static void print_csv_cell(FILE *file, const char *cell) {
    bool formula = cell[0] && strchr("=+-@", cell[0]) && !is_number(cell);

    if (!formula && !strpbrk(cell, ",\"")) {
        fputs(cell, file);
        return;
    }
    fprintf(file, "\"%s", formula ? "'" : "");
    for (; *cell; cell++)
        fprintf(file, *cell == '"' ? "\"\"" : "%c", *cell);
    fputc('"', file);
}

static void print_markdown_cell(FILE *file, const char *cell) {
    for (; *cell; cell++)
        fprintf(file, strchr("|\\`*<[", *cell) ? "\\%c" : "%c", *cell);
}

static int print_row(FILE *file, enum sheet_format format, const json_t *row) {
    json_t *value;
    size_t i;

    json_array_foreach(row, i, value) {
        cleanup(freep) char *cell = text_cleaned(json_string_value(value));

        if (!cell)
            return -ENOMEM;
        if (format == SHEET_CSV) {
            fputs(i ? "," : "", file);
            print_csv_cell(file, cell);
        } else {
            fputs(i ? " " : "| ", file);
            print_markdown_cell(file, cell);
            fputs(" |", file);
        }
    }
    fputs(format == SHEET_CSV ? "\r\n" : "\n", file);
    return 0;
}

/* Figures are aligned to the right: columns in which every cell begins as a number does. */
static bool is_figures(const json_t *rows, size_t column) {
    bool any = false;

    for (size_t i = 1; i < json_array_size(rows); i++) {
        const char *cell = json_string_value(json_array_get(json_array_get(rows, i), column));

        if (cell[0] && !strchr("+-0123456789", cell[0]))
            return false;
        any |= cell[0] != '\0';
    }
    return any;
}

int sheet_print(FILE *file, enum sheet_format format, const json_t *rows) {
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row) {
        if (print_row(file, format, row))
            return -ENOMEM;
        if (i > 0 || format == SHEET_CSV)
            continue;
        for (size_t k = 0; k < json_array_size(row); k++)
            fprintf(file, "%s%s |", k ? " " : "| ", is_figures(rows, k) ? "---:" : "---");
        fputc('\n', file);
    }
    return 0;
}
