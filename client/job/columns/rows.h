// SPDX-License-Identifier: Apache-2.0
/* Jobs as rows of a sheet: list, show and compare have the same columns. One thread. */
#pragma once

#include "client/client.h"
#include "client/screen/sheet.h"

/* Options of all verbs that print sheets, as rows of their tables. */
#define SHEET_OPTIONS                                                                              \
    {"csv", NULL, "print rows for a spreadsheet, with all columns"}, {                             \
        "markdown", NULL, "print a table in Markdown, without columns that are empty"              \
    }

/*
 * rows_format() - what the command line asks for. Return: 0; -EINVAL (code usage) for more than
 * one of --csv, --markdown and --json.
 */
int rows_format(const struct args *args, enum sheet_format *ret_format, struct failure *failure);

/*
 * rows_print() - print @jobs, an array of job objects, one row each: parameters, size, time and
 * perplexities. CSV has every column, with figures in plain units.
 * @compared: Markdown leaves out the parameters in which the jobs are the same
 * Return: 0, or -ENOMEM with the failure.
 */
int rows_print(const struct client *client, const json_t *jobs, enum sheet_format format,
               bool compared, struct failure *failure);

/* rows_perplexity() - of wikitext2, or else of the first set; NAN: none. @ret_set: NULL or which.
 */
double rows_perplexity(const json_t *job, const char **ret_set);

/* rows_divergence() - mean KL divergence on the same set; NAN: none. */
double rows_divergence(const json_t *job);
