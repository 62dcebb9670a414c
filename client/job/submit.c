// SPDX-License-Identifier: Apache-2.0
#include "client/job/submit.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/follow.h"
#include "client/job/job.h"
#include "client/job/save.h"
#include "client/screen/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#define TRIES_MAX 5
#define RETRY_SECONDS 1.0

static const struct submit_field shared_fields[] = {
    {"name", "name", FIELD_TEXT},
    {"priority", "priority", FIELD_INT},
    {"private", "private", FIELD_SWITCH},
};

static json_t *read_list(const char *value) {
    cleanup(json_decrefp) json_t *list = json_array();
    cleanup(freep) char *copy = strdup(value);
    char *rest = NULL;

    if (!list || !copy)
        return NULL;
    if (str_equal(copy, "none"))
        return steal_ptr(list);
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        if (json_array_append_new(list, json_string(word)))
            return NULL;
    return steal_ptr(list);
}

static int read_int(const char *value, json_int_t *ret_value) {
    bool negative = value[0] == '-';
    uint64_t n;

    if (str_parse_u64(value + negative, INT64_MAX, &n))
        return -EINVAL;
    *ret_value = negative ? -(json_int_t)n : (json_int_t)n;
    return 0;
}

static int add_field(json_t *request, const struct submit_field *field, const char *value,
                     struct failure *failure) {
    json_t *json = NULL;
    json_int_t n;
    double real;

    switch (field->type) {
    case FIELD_INT:
        if (read_int(value, &n))
            return failure_set(failure, -EINVAL, "usage", NULL,
                               "option '--%s' takes a whole number, not '%s'", field->option,
                               value);
        json = json_integer(n);
        break;
    case FIELD_REAL:
        if (str_parse_double(value, &real))
            return failure_set(failure, -EINVAL, "usage", NULL,
                               "option '--%s' takes a number, not '%s'", field->option, value);
        json = json_real(real);
        break;
    case FIELD_SWITCH:
        json = json_true();
        break;
    case FIELD_TEXT:
        json = json_string(value);
        break;
    case FIELD_LIST:
        json = read_list(value);
        break;
    }
    if (json_object_set_new(request, field->field, json))
        return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                           "option '--%s' is not UTF-8: '%s'", field->option, value);
    return 0;
}

static int add_fields(json_t *request, const struct args *args, const struct submit_field *fields,
                      size_t n_fields, struct failure *failure) {
    for (size_t i = 0; i < n_fields; i++) {
        int r;

        if (!args_has(args, fields[i].option))
            continue;
        r = add_field(request, &fields[i], args_get(args, fields[i].option), failure);
        if (r)
            return r;
    }
    return 0;
}

static int add_labels(json_t *request, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *labels = json_object();

    for (int i = 0; i < args->n_given; i++) {
        const char *value = args->given[i].value, *equals;
        cleanup(freep) char *key = NULL;

        if (!str_equal(args->given[i].option->name, "label"))
            continue;
        equals = strchr(value, '=');
        if (!equals || equals == value)
            return failure_set(failure, -EINVAL, "usage", NULL,
                               "option '--label' takes KEY=VALUE, not '%s'", value);
        key = strndup(value, (size_t)(equals - value));
        if (!key || json_object_set_new(labels, key, json_string(equals + 1)))
            return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                               "option '--label' is not UTF-8: '%s'", value);
    }
    if (json_object_size(labels) && json_object_set(request, "labels", labels))
        return failure_oom(failure);
    return 0;
}

/* A model that is named by its path from here is named by its path from the root. */
static json_t *read_model(const char *word) {
    cleanup(freep) char *real = NULL;

    if (str_has_prefix(word, "./") || str_has_prefix(word, "../") || str_equal(word, "."))
        real = realpath(word, NULL);
    return json_string(real ? real : word);
}

int submit_request(const struct args *args, const char *kind, const struct submit_field *fields,
                   size_t n_fields, json_t **ret_request, struct failure *failure) {
    static const char *const words[] = {"model", "dataset"};
    cleanup(json_decrefp) json_t *request = json_pack("{s:s}", "kind", kind);
    int r;

    if (!request)
        return failure_oom(failure);
    for (int i = 0; i < MIN(args->n_positional, (int)ARRAY_SIZE(words)); i++)
        if (json_object_set_new(request, words[i],
                                i ? json_string(args->positional[i])
                                  : read_model(args->positional[i])))
            return failure_set(failure, -EINVAL, "usage", "the terminal's locale must be UTF-8",
                               "not UTF-8: '%s'", args->positional[i]);
    r = add_fields(request, args, fields, n_fields, failure);
    if (!r)
        r = add_fields(request, args, shared_fields, ARRAY_SIZE(shared_fields), failure);
    if (!r)
        r = add_labels(request, args, failure);
    if (!r)
        *ret_request = steal_ptr(request);
    return r;
}

/* The key makes it safe to send a request again whose answer was lost. */
static int send_request(struct client *client, const char *path, const json_t *request,
                        json_t **ret_job, struct failure *failure) {
    unsigned char bytes[16];
    char key[2 * sizeof(bytes) + 1];
    int r;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return failure_errno(failure, -errno, "cannot draw", "a random key");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(key + 2 * i, 3, "%02x", bytes[i]);
    r = http_call(client->http, "POST", path, request, key, ret_job, failure);
    for (int i = 1; r && i < TRIES_MAX && failure && str_equal(failure->code, "connection_lost");
         i++) {
        interrupt_sleep(RETRY_SECONDS * i);
        r = http_call(client->http, "POST", path, request, key, ret_job, failure);
    }
    return r;
}

int submit_run(struct client *client, const struct args *args, const char *path,
               const json_t *request, struct failure *failure) {
    const char *save = args_get(args, "save");
    bool detach = args_has(args, "detach"), force = args_has(args, "force");
    cleanup(json_decrefp) json_t *job = NULL;
    int64_t id;
    int r;

    if (save && detach)
        return failure_set(failure, -EINVAL, "usage", "'quantctl download ID DIR' saves it later",
                           "options '--save' and '--detach' exclude each other");
    r = save ? save_check(save, force, failure) : 0;
    if (!r)
        r = send_request(client, path, request, &job, failure);
    if (r)
        return r;
    if (!detach)
        return follow_to_the_end(client, &job, save, force, failure);
    if (client->json)
        return client_print_json(job, failure);
    id = job_id(job);
    fprintf(client->terminal.file,
            "job %" PRId64 " is %s; follow it with: quantctl watch %" PRId64 "\n", id,
            str_equal(answer_text(job, "status"), "queued") ? "queued" : "submitted", id);
    return EXIT_OK;
}
