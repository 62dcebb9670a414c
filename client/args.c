// SPDX-License-Identifier: Apache-2.0
#include "client/args.h"

#include "base/cleanup.h"
#include "client/screen/terminal.h"
#include "client/screen/text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define GROUP_PREFIX "group:"

#define NAMES_MAX 64
#define HELP_COLUMN 26
#define HELP_WIDTH 80

static const struct arg_option *find(const struct arg_table *tables, int n_tables, const char *name,
                                     size_t length) {
    for (int t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].n_options; i++) {
            const struct arg_option *option = &tables[t].options[i];

            if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
                return option;
        }
    return NULL;
}

static int unknown(const struct arg_table *tables, int n_tables, const char *word,
                   struct failure *failure) {
    cleanup(freep) char *name = strdup(word + strspn(word, "-"));
    const char *names[NAMES_MAX], *closest = NULL;
    char hint[96] = "--help lists the options";
    size_t n = 0;

    for (int t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].n_options && n < NAMES_MAX; i++)
            names[n++] = tables[t].options[i].name;
    if (name) {
        name[strcspn(name, "=")] = '\0';
        closest = text_closest(name, names, n);
    }
    if (closest)
        snprintf(hint, sizeof(hint), "did you mean '--%s'? --help lists the options", closest);
    return failure_set(failure, -EINVAL, "usage", hint, "unknown option '%s'", word);
}

/* Reads the option at words[0]; *ret_used: the words it took. */
static int take_option(struct args *args, int n_words, char *const *words,
                       const struct arg_table *tables, int n_tables, int *ret_used,
                       struct failure *failure) {
    const char *word = str_equal(words[0], "-h") ? "--help" : words[0], *equals;
    const struct arg_option *option = NULL;
    const char *value = NULL;

    equals = strchr(word, '=');
    if (word[1] == '-')
        option = find(tables, n_tables, word + 2,
                      equals ? (size_t)(equals - word - 2) : strlen(word + 2));
    if (!option)
        return unknown(tables, n_tables, words[0], failure);
    if (!option->value && equals)
        return failure_set(failure, -EINVAL, "usage", "write it without '='",
                           "option '--%s' takes no value", option->name);
    *ret_used = 1;
    if (option->value && equals) {
        value = equals + 1;
    } else if (option->value) {
        if (n_words < 2 || str_has_prefix(words[1], "--"))
            return failure_set(failure, -EINVAL, "usage", option->help,
                               "option '--%s' needs a value: %s", option->name, option->value);
        value = words[1];
        *ret_used = 2;
    }
    if (args->n_given == ARGS_GIVEN_MAX)
        return failure_set(failure, -EINVAL, "usage", NULL, "more than %d options", ARGS_GIVEN_MAX);
    args->given[args->n_given].option = option;
    args->given[args->n_given++].value = value;
    return 0;
}

int args_parse(struct args *args, int n_words, char *const *words, const struct arg_table *tables,
               int n_tables, int n_positional, int *ret_used, struct failure *failure) {
    bool options = true;
    int i = 0;

    while (i < n_words) {
        int used = 1, r;

        if (options && str_equal(words[i], "--")) {
            options = false;
        } else if (options && words[i][0] == '-' && words[i][1] &&
                   !isdigit((unsigned char)words[i][1])) {
            r = take_option(args, n_words - i, words + i, tables, n_tables, &used, failure);
            if (r)
                return r;
        } else {
            if (args->n_positional == n_positional)
                break;
            args->positional[args->n_positional++] = words[i];
        }
        i += used;
    }
    *ret_used = i;
    return 0;
}

const char *args_get(const struct args *args, const char *name) {
    for (int i = args->n_given - 1; i >= 0; i--)
        if (str_equal(args->given[i].option->name, name))
            return args->given[i].value;
    return NULL;
}

bool args_has(const struct args *args, const char *name) {
    for (int i = 0; i < args->n_given; i++)
        if (str_equal(args->given[i].option->name, name))
            return true;
    return false;
}

int args_u64(const struct args *args, const char *name, uint64_t max, uint64_t *ret_value,
             struct failure *failure) {
    const char *value = args_get(args, name);

    if (!value || !str_parse_u64(value, max, ret_value))
        return 0;
    return failure_set(failure, -EINVAL, "usage", NULL,
                       "option '--%s' takes a number from 0 to %llu, not '%s'", name,
                       (unsigned long long)max, value);
}

bool args_group_id(const char *word, uint64_t *ret_id) {
    uint64_t id;

    if (!str_has_prefix(word, GROUP_PREFIX) ||
        str_parse_u64(word + strlen(GROUP_PREFIX), INT64_MAX, &id) || id == 0)
        return false;
    *ret_id = id;
    return true;
}

int args_job_id(const char *word, uint64_t *ret_id, struct failure *failure) {
    uint64_t id;

    if (args_group_id(word, &id))
        return failure_set(failure, -EINVAL, "usage",
                           "name its jobs, which 'quantctl show GROUP' lists",
                           "this verb takes jobs, and '%s' is a group", word);
    if (str_has_prefix(word, GROUP_PREFIX))
        return failure_set(failure, -EINVAL, "usage",
                           "'quantctl groups' shows the groups and their ids",
                           "not the id of a group: '%s'", word);
    if (str_parse_u64(word, INT64_MAX, &id) || id == 0)
        return failure_set(failure, -EINVAL, "usage",
                           "'quantctl list' shows the jobs and their ids", "not a job id: '%s'",
                           word);
    *ret_id = id;
    return 0;
}

void args_help(FILE *file, const struct arg_table *table) {
    const struct terminal page = {.file = file, .width = HELP_WIDTH + 1};

    for (size_t i = 0; i < table->n_options; i++) {
        const struct arg_option *option = &table->options[i];
        int n = fprintf(file, "  --%s%s%s", option->name, option->value ? " " : "",
                        option->value ? option->value : "");

        if (n >= HELP_COLUMN) {
            fputc('\n', file);
            n = 0;
        }
        fprintf(file, "%*s", HELP_COLUMN - n, "");
        terminal_wrap(&page, HELP_COLUMN, option->help);
    }
}
