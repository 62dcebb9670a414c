// SPDX-License-Identifier: Apache-2.0
/* The command line: options are rows of tables, from which both parser and help are made. */
#pragma once

#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ARGS_POSITIONAL_MAX 64
#define ARGS_GIVEN_MAX 64

enum arg_type { ARG_TEXT, ARG_INT, ARG_REAL, ARG_YES, ARG_SETS, ARG_LABEL, ARG_LIST, ARG_NUMBERS };

struct arg_option {
    const char *name;  /* without the dashes */
    const char *value; /* how help names the value; NULL: a switch */
    const char *help;
    const char *field;  /* of a request, that the option sets; NULL: none */
    enum arg_type type; /* of that field; a switch sets true */
};

struct arg_table {
    const struct arg_option *options;
    size_t n_options;
};

struct args {
    const char *positional[ARGS_POSITIONAL_MAX]; /* all borrowed from argv */
    int n_positional;
    struct {
        const struct arg_option *option;
        const char *value; /* NULL for a switch */
    } given[ARGS_GIVEN_MAX];
    int n_given;
};

/*
 * args_parse() - read @n_words arguments with the options of @n_tables tables: "--name value" or
 * "--name=value"; "--" ends the options, -h is --help, "-5" is no option. May be called again to
 * add to @args.
 * @n_positional: stop before the next positional argument after this many
 * @ret_used:     how many arguments were read
 *
 * Return: 0; -EINVAL (code usage) for an option that is unknown, lacks its value or has a value
 * that it must not have, and for too many options.
 */
int args_parse(struct args *args, int n_words, char *const *words, const struct arg_table *tables,
               int n_tables, int n_positional, int *ret_used, struct failure *failure);

/* args_get() - the value of the option, the last one if given several times; else NULL. */
const char *args_get(const struct args *args, const char *name);

bool args_has(const struct args *args, const char *name);

/* args_u64() - the option as a number in [0, @max]; *ret_value stays when it is not given. Return:
 * 0 or -EINVAL. */
int args_u64(const struct args *args, const char *name, uint64_t max, uint64_t *ret_value,
             struct failure *failure);

/* args_help() - print the options of @table. */
void args_help(FILE *file, const struct arg_table *table);

/* args_group_id() - is @word "group:ID", the name of a group of jobs? */
bool args_group_id(const char *word, uint64_t *ret_id);

/* args_job_id() - @word as a job id, not as a group. Return: 0 or -EINVAL (code usage). */
int args_job_id(const char *word, uint64_t *ret_id, struct failure *failure);
