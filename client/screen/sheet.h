// SPDX-License-Identifier: Apache-2.0
/* Tables for other programs and for papers: CSV and Markdown. One thread. */
#pragma once

#include <jansson.h>
#include <stdio.h>

enum sheet_format { SHEET_NONE, SHEET_CSV, SHEET_MARKDOWN };

/*
 * sheet_print() - print @rows, an array of equally long arrays of strings, the first of them
 * titles; all cells are cleaned. CSV is that of RFC 4180; text that a spreadsheet would take for a
 * formula gets an apostrophe. Return: 0 or -ENOMEM.
 */
int sheet_print(FILE *file, enum sheet_format format, const json_t *rows);
