// SPDX-License-Identifier: Apache-2.0
#include "client/job/request.h"
#include "client/save/one_file.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/job/place.h"
#include "client/save/one_file.h"

#include <errno.h>
#include <string.h>

static int not_utf8(const char *option, const char *value, struct failure *failure) {
    return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                       "option '--%s' is not UTF-8: '%s'", option, value);
}

static int add_int(json_t *request, const struct arg_option *option, const char *value,
                   struct failure *failure) {
    bool negative = value[0] == '-';
    uint64_t n;

    if (str_parse_u64(value + negative, INT64_MAX, &n))
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "option '--%s' takes a whole number, not '%s'", option->name, value);
    if (json_object_set_new(request, option->field,
                            json_integer(negative ? -(json_int_t)n : (json_int_t)n)))
        return failure_oom(failure);
    return 0;
}

static int add_real(json_t *request, const struct arg_option *option, const char *value,
                    struct failure *failure) {
    double real;

    if (str_parse_double(value, &real))
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "option '--%s' takes a number, not '%s'", option->name, value);
    if (json_object_set_new(request, option->field, json_real(real)))
        return failure_oom(failure);
    return 0;
}

static int add_yes(json_t *request, const struct arg_option *option, const char *value,
                   struct failure *failure) {
    bool yes = str_equal(value, "yes");

    if (!yes && !str_equal(value, "no"))
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "option '--%s' takes yes or no, not '%s'", option->name, value);
    return json_object_set_new(request, option->field, json_boolean(yes)) ? failure_oom(failure)
                                                                          : 0;
}

/* Words with commas between them; "none" is an empty list. */
static int add_sets(struct client *client, json_t *request, const struct arg_option *option,
                    const char *value, struct failure *failure) {
    cleanup(json_decrefp) json_t *list = json_array();
    cleanup(freep) char *copy = strdup(value);
    char *rest = NULL, *word;

    if (!list || !copy)
        return failure_oom(failure);
    word = str_equal(copy, "none") ? NULL : strtok_r(copy, ",", &rest);
    for (; word; word = strtok_r(NULL, ",", &rest)) {
        cleanup(freep) char *set = NULL;
        int r = place_set(client, word, &set, failure);

        if (r)
            return r;
        if (json_array_append_new(list, json_string(set)))
            return not_utf8(option->name, value, failure);
    }
    return json_object_set(request, option->field, list) ? failure_oom(failure) : 0;
}

static int add_label(json_t *request, const struct arg_option *option, const char *value,
                     struct failure *failure) {
    json_t *labels = json_object_get(request, option->field);
    const char *equals = strchr(value, '=');
    cleanup(freep) char *key = NULL;

    if (!equals || equals == value)
        return failure_set(failure, -EINVAL, "usage", NULL,
                           "option '--%s' takes KEY=VALUE, not '%s'", option->name, value);
    if (!labels) {
        labels = json_object();
        if (json_object_set_new(request, option->field, labels))
            return failure_oom(failure);
    }
    key = strndup(value, (size_t)(equals - value));
    if (!key)
        return failure_oom(failure);
    if (json_object_set_new(labels, key, json_string(equals + 1)))
        return not_utf8(option->name, value, failure);
    return 0;
}

/* One more string of a list. */
static int add_to_list(json_t *request, const struct arg_option *option, const char *value,
                       struct failure *failure) {
    json_t *list = json_object_get(request, option->field);

    if (!list) {
        list = json_array();
        if (json_object_set_new(request, option->field, list))
            return failure_oom(failure);
    }
    return json_array_append_new(list, json_string(value)) ? not_utf8(option->name, value, failure)
                                                           : 0;
}

static int add_option(struct client *client, json_t *request, const struct arg_option *option,
                      const char *value, struct failure *failure) {
    if (!option->value)
        return json_object_set_new(request, option->field, json_true()) ? failure_oom(failure) : 0;
    switch (option->type) {
    case ARG_INT:
        return add_int(request, option, value, failure);
    case ARG_REAL:
        return add_real(request, option, value, failure);
    case ARG_YES:
        return add_yes(request, option, value, failure);
    case ARG_SETS:
        return add_sets(client, request, option, value, failure);
    case ARG_LABEL:
        return add_label(request, option, value, failure);
    case ARG_LIST:
        return add_to_list(request, option, value, failure);
    case ARG_TEXT:
        break;
    }
    if (json_object_set_new(request, option->field, json_string(value)))
        return not_utf8(option->name, value, failure);
    return 0;
}

static int add_words(struct client *client, json_t *request, const struct args *args,
                     struct failure *failure) {
    static const struct {
        const char *field;
        int (*place)(struct client *client, const char *word, char **ret_name,
                     struct failure *failure);
    } words[] = {{"model", place_model}, {"dataset", place_set}};

    for (int i = 0; i < MIN(args->n_positional, (int)ARRAY_SIZE(words)); i++) {
        cleanup(freep) char *name = NULL;
        int r = words[i].place(client, args->positional[i], &name, failure);

        if (r)
            return r;
        if (json_object_set_new(request, words[i].field, json_string(name)))
            return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                               "not UTF-8: '%s'", args->positional[i]);
    }
    return 0;
}

int request_new(struct client *client, const struct args *args, const char *kind,
                json_t **ret_request, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = json_pack("{s:s}", "kind", kind);
    const char *format = one_file_format(args_get(args, "save"));
    int r = request ? add_words(client, request, args, failure) : failure_oom(failure);

    for (int i = 0; i < args->n_given && !r; i++)
        if (args->given[i].option->field)
            r = add_option(client, request, args->given[i].option, args->given[i].value, failure);
    if (!r && format && !json_object_get(request, "format") &&
        json_object_set_new(request, "format", json_string(format)))
        r = failure_oom(failure);
    if (!r)
        *ret_request = steal_ptr(request);
    return r;
}
