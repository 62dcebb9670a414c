// SPDX-License-Identifier: Apache-2.0
#include "client/job/request.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "client/job/place.h"
#include "client/save/one_file.h"

#include <errno.h>
#include <string.h>

#define SWEEP_BYTES_MAX (1 << 20)

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

/* Numbers with commas between them. */
static int add_numbers(json_t *request, const struct arg_option *option, const char *value,
                       struct failure *failure) {
    cleanup(json_decrefp) json_t *list = json_array(), *one = json_object();
    cleanup(freep) char *copy = strdup(value);
    char *rest = copy;

    if (!list || !one || !copy)
        return failure_oom(failure);
    for (char *word; (word = strsep(&rest, ","));) {
        int r = add_real(one, option, word, failure);

        if (r)
            return r;
        if (json_array_append(list, json_object_get(one, option->field)))
            return failure_oom(failure);
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
    case ARG_NUMBERS:
        return add_numbers(request, option, value, failure);
    case ARG_TEXT:
        break;
    }
    if (json_object_set_new(request, option->field, json_string(value)))
        return not_utf8(option->name, value, failure);
    return 0;
}

/* A word of the command line as @place reads it, into the field @field. */
static int add_word(struct client *client, json_t *request, const char *field, const char *word,
                    int (*place)(struct client *client, const char *word, char **ret_name,
                                 struct failure *failure),
                    struct failure *failure) {
    cleanup(freep) char *name = NULL;
    int r = place(client, word, &name, failure);

    if (r)
        return r;
    if (json_object_set_new(request, field, json_string(name)))
        return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                           "not UTF-8: '%s'", word);
    return 0;
}

/* Several models, each of which is evaluated. */
static int add_models(struct client *client, json_t *lists, const struct args *args,
                      struct failure *failure) {
    cleanup(json_decrefp) json_t *models = json_array(), *one = json_object();

    if (!models || !one)
        return failure_oom(failure);
    for (int i = 0; i < args->n_positional; i++) {
        int r = add_word(client, one, "model", args->positional[i], place_model, failure);

        if (r)
            return r;
        if (json_array_append(models, json_object_get(one, "model")))
            return failure_oom(failure);
    }
    return json_object_set(lists, "model", models) ? failure_oom(failure) : 0;
}

/* MODEL and DATASET; of eval, which has no data set, one or more models. */
static int add_words(struct client *client, json_t *request, json_t *lists, const char *kind,
                     const struct args *args, struct failure *failure) {
    int r;

    if (str_equal(kind, "eval") && args->n_positional > 1)
        return add_models(client, lists, args, failure);
    r = args->n_positional > 0
            ? add_word(client, request, "model", args->positional[0], place_model, failure)
            : 0;
    if (!r && args->n_positional > 1)
        r = add_word(client, request, "dataset", args->positional[1], place_set, failure);
    return r;
}

/* Numbers and names of a choice have no commas: several values are a list of jobs. */
static bool may_be_list(const struct arg_option *option, const char *value) {
    bool one_of = option->type == ARG_TEXT && option->value && strchr(option->value, '|');

    return value && strchr(value, ',') &&
           (option->type == ARG_INT || option->type == ARG_REAL || one_of);
}

/* The values of a parameter that differs. */
static int add_values(struct client *client, json_t *lists, const struct arg_option *option,
                      const char *value, struct failure *failure) {
    cleanup(json_decrefp) json_t *list = json_array();
    cleanup(freep) char *copy = strdup(value);
    char *rest = copy;

    if (!list || !copy)
        return failure_oom(failure);
    for (char *word; (word = strsep(&rest, ","));) {
        cleanup(json_decrefp) json_t *one = json_object();
        int r = one ? add_option(client, one, option, word, failure) : failure_oom(failure);

        if (r)
            return r;
        if (json_array_append(list, json_object_get(one, option->field)))
            return failure_oom(failure);
    }
    return json_object_set(lists, option->field, list) ? failure_oom(failure) : 0;
}

/* The last one that is given holds. */
static int add_given(struct client *client, json_t *request, json_t *lists,
                     const struct arg_option *option, const char *value, struct failure *failure) {
    if (lists && may_be_list(option, value)) {
        json_object_del(request, option->field);
        return add_values(client, lists, option, value, failure);
    }
    json_object_del(lists, option->field);
    return add_option(client, request, option, value, failure);
}

/* @lists: gets what differs; NULL: nothing may. */
static int build(struct client *client, const struct args *args, const char *kind, json_t *lists,
                 json_t **ret_request, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = json_pack("{s:s}", "kind", kind);
    const char *format = one_file_format(args_get(args, "save"));
    int r = request ? add_words(client, request, lists, kind, args, failure) : failure_oom(failure);

    for (int i = 0; i < args->n_given && !r; i++)
        if (args->given[i].option->field)
            r = add_given(client, request, lists, args->given[i].option, args->given[i].value,
                          failure);
    if (!r && format && !json_object_get(request, "format") &&
        json_object_set_new(request, "format", json_string(format)))
        r = failure_oom(failure);
    if (!r)
        *ret_request = steal_ptr(request);
    return r;
}

int request_new(struct client *client, const struct args *args, const char *kind,
                json_t **ret_request, struct failure *failure) {
    return build(client, args, kind, NULL, ret_request, failure);
}

/* ---- groups ---- */

static int read_sweep(const char *path, json_t **ret_sweep, struct failure *failure) {
    int r;

    *ret_sweep = NULL;
    if (!path) {
        *ret_sweep = json_object();
        return *ret_sweep ? 0 : failure_oom(failure);
    }
    r = json_parse_file(path, SWEEP_BYTES_MAX, "usage", ret_sweep, failure);
    if (!r && !json_is_object(*ret_sweep))
        r = failure_set(failure, -EINVAL, "usage",
                        "write {\"lists\": {\"wbits\": [3, 4]}}; quantctl(1) has examples",
                        "'%s' is not a JSON object", path);
    return r == -EBADMSG ? -EINVAL : r;
}

/* What the command line says of @name wins over what the file says; both stay without the rest. */
static int merge(json_t *sweep, const char *name, json_t *given) {
    json_t *own = json_object_get(sweep, name);

    if (own && !json_is_object(own))
        return 0; /* quantd says what is wrong */
    if (own && json_object_update_missing(given, own))
        return -ENOMEM;
    return json_object_size(given) ? json_object_set(sweep, name, given) : 0;
}

/* The name of the job is that of the group. */
static int finish_group(json_t *sweep, json_t *request, json_t *lists) {
    json_t *name = json_object_get(request, "name"), *value;
    const char *key;
    void *next;

    if (name && json_object_set(sweep, "name", name))
        return -ENOMEM;
    json_object_foreach_safe(json_object_get(sweep, "lists"), next, key,
                             value) if (json_object_get(request, key))
        json_object_del(json_object_get(sweep, "lists"), key);
    if (merge(sweep, "lists", lists) || merge(sweep, "job", request))
        return -ENOMEM;
    json_object_del(json_object_get(sweep, "job"), "name");
    return 0;
}

int request_group(struct client *client, const struct args *args, const char *kind,
                  json_t **ret_request, json_t **ret_group, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL, *lists = json_object(), *sweep = NULL;
    const char *path = args_get(args, "sweep");
    int r = lists ? build(client, args, kind, lists, &request, failure) : failure_oom(failure);

    if (r)
        return r;
    if (path || json_object_size(lists)) {
        r = read_sweep(path, &sweep, failure);
        if (!r && finish_group(sweep, request, lists))
            r = failure_oom(failure);
        if (r)
            return r;
        *ret_group = steal_ptr(sweep);
        return 0;
    }
    *ret_request = steal_ptr(request);
    return 0;
}
