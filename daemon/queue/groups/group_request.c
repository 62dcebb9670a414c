// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/groups/group_request.h"

#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/params/param.h"
#include "daemon/queue/submission.h"

#include <errno.h>
#include <string.h>

#define LABEL_SIZE 200
#define HINT "send {\"name\": ..., \"job\": {\"model\": ...}, \"lists\": {\"wbits\": [3, 4]}}"

static const char *const fields[] = {"name", "job", "lists", "members"};
/* What a job has beside its parameters is the same for all; only the name may differ. */
static const char *const shared_fields[] = {"kind",  "priority", "private",
                                            "where", "labels",   "notify"};

void group_request_done(struct group_request *request) {
    free(request->name);
    json_decref(request->varies);
    json_decref(request->requests);
    json_decref(request->values);
    json_decref(request->labels);
}

static bool is_one_of(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (str_equal(names[i], name))
            return true;
    return false;
}

/* Of the body, as it came; NULL: left out, or null. */
struct parts {
    const json_t *name, *job, *lists, *members;
};

static const json_t *part(const json_t *body, const char *name) {
    const json_t *value = json_object_get(body, name);

    return json_is_null(value) ? NULL : value;
}

static int read_name(const json_t *value, char **ret_name, struct failure *failure) {
    const char *name = value ? json_string_value(value) : "";

    if (!name || strlen(name) > SUBMISSION_NAME_MAX)
        return failure_field(failure, "name", NULL, "must be a string of at most %d bytes",
                             SUBMISSION_NAME_MAX);
    *ret_name = strdup(name);
    return *ret_name ? 0 : failure_oom(failure);
}

/* May @name differ from member to member? */
static int check_own(const char *field, const char *name, struct failure *failure) {
    if (str_equal(name, "name") ? str_equal(field, "members")
                                : !is_one_of(shared_fields, ARRAY_SIZE(shared_fields), name))
        return 0;
    return failure_field(failure, field, "put it into job", "'%s' is the same for all members",
                         name);
}

static int check_lists(const json_t *lists, size_t *ret_n, struct failure *failure) {
    const char *name;
    json_t *list;

    if (lists && !json_is_object(lists))
        return failure_field(failure, "lists", HINT, "must be an object of lists");
    json_object_foreach((json_t *)lists, name, list) {
        int r = check_own("lists", name, failure);

        if (r)
            return r;
        if (!json_array_size(list))
            return failure_field(failure, "lists", HINT, "'%s' must be a list of values", name);
        /* Each factor is bounded by what is left: the product cannot overflow. */
        if (json_array_size(list) > GROUP_MEMBERS_MAX / *ret_n)
            return failure_field(failure, "lists", "submit several groups",
                                 "these combinations are more than %d jobs", GROUP_MEMBERS_MAX);
        *ret_n *= json_array_size(list);
    }
    return 0;
}

static int check_members(const struct parts *parts, size_t n_combinations,
                         struct failure *failure) {
    json_t *member, *value;
    const char *name;
    size_t i;

    if (parts->members && !json_array_size(parts->members))
        return failure_field(failure, "members", HINT, "must be a list of objects");
    if (json_array_size(parts->members) > GROUP_MEMBERS_MAX / n_combinations)
        return failure_field(failure, "members", "submit several groups",
                             "a group has at most %d jobs", GROUP_MEMBERS_MAX);
    json_array_foreach(parts->members, i, member) {
        if (!json_is_object(member))
            return failure_field(failure, "members", HINT, "must be a list of objects");
        json_object_foreach(member, name, value) {
            int r = check_own("members", name, failure);

            if (r)
                return r;
            if (json_object_get(parts->lists, name))
                return failure_field(failure, "members", "leave it out of one of them",
                                     "'%s' is in members and in lists", name);
        }
    }
    return 0;
}

static int read_parts(const json_t *body, struct parts *ret_parts, size_t *ret_n,
                      struct failure *failure) {
    struct parts parts = {.name = part(body, "name"),
                          .job = part(body, "job"),
                          .lists = part(body, "lists"),
                          .members = part(body, "members")};
    size_t n = 1;
    const char *name;
    json_t *value;
    int r;

    if (!json_is_object(body))
        return failure_set(failure, -EINVAL, "invalid_request", HINT,
                           "cannot read the request: it is not a JSON object");
    json_object_foreach((json_t *)body, name, value) {
        if (!is_one_of(fields, ARRAY_SIZE(fields), name))
            return failure_field(failure, name, "what holds for all jobs belongs into job",
                                 "is not a field of a group");
    }
    if (parts.job && !json_is_object(parts.job))
        return failure_field(failure, "job", HINT, "must be an object");
    r = check_lists(parts.lists, &n, failure);
    if (!r && !json_object_size(parts.lists) && !parts.members)
        r = failure_field(failure, "lists", HINT, "name what differs, here or in members");
    if (!r)
        r = check_members(&parts, n, failure);
    if (r)
        return r;
    *ret_n = n;
    *ret_parts = parts;
    return 0;
}

/* Combination @at of the lists: the last one is the fastest. */
static int combine(const json_t *lists, size_t n, size_t at, json_t *values) {
    const char *name;
    json_t *list;

    json_object_foreach((json_t *)lists, name, list) {
        size_t size = json_array_size(list);

        n /= size;
        if (json_object_set(values, name, json_array_get(list, at / n)))
            return -ENOMEM;
        at %= n;
    }
    return 0;
}

/* "wbits 3, groupsize 64": without braces and quotes, for messages. */
static void print_values(const json_t *values, char *text, size_t size) {
    const char *name;
    json_t *value;
    size_t n = 0;

    text[0] = '\0';
    json_object_foreach((json_t *)values, name, value) {
        cleanup(freep) char *json = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY);
        const char *shown = json_is_string(value) ? json_string_value(value) : json;

        if (n < size)
            n += (size_t)snprintf(text + n, size - n, "%s%s %s", n ? ", " : "", name,
                                  shown ? shown : "");
    }
    str_make_printable(text);
}

/* A parameter that differs is shown as the choice that it stands for. */
static int add_varying(json_t *varies, const char *name) {
    const struct param *param = param_find(name);
    json_t *seen;
    size_t i;

    if (str_equal(name, "name"))
        return 0;
    if (param && param->type == PARAM_ALIAS)
        name = param->of;
    json_array_foreach(varies, i, seen) {
        if (str_equal(json_string_value(seen), name))
            return 0;
    }
    return json_array_append_new(varies, json_string(name));
}

static int add_member(struct group_request *request, const json_t *job, json_t *values, size_t n) {
    cleanup(json_decrefp) json_t *whole = json_object();
    char shown[LABEL_SIZE - 40], label[LABEL_SIZE];
    const char *name;
    json_t *value;

    if (!whole || (job && json_object_update(whole, (json_t *)job)) ||
        json_object_update(whole, values) || json_array_append(request->requests, whole) ||
        json_array_append(request->values, values))
        return -ENOMEM;
    json_object_foreach(values, name, value) {
        if (add_varying(request->varies, name))
            return -ENOMEM;
    }
    print_values(values, shown, sizeof(shown));
    snprintf(label, sizeof(label), "member %zu of %zu (%s)", json_array_size(request->requests), n,
             shown);
    str_make_printable(label); /* what was cut may end inside a character */
    return json_array_append_new(request->labels, json_string(label));
}

static int add_members(struct group_request *request, const struct parts *parts,
                       size_t n_combinations) {
    size_t n_members = parts->members ? json_array_size(parts->members) : 1;

    for (size_t i = 0; i < n_members; i++) {
        json_t *member = json_array_get(parts->members, i);

        for (size_t j = 0; j < n_combinations; j++) {
            cleanup(json_decrefp) json_t *values = json_object();

            if (!values || (member && json_object_update(values, member)) ||
                combine(parts->lists, n_combinations, j, values) ||
                add_member(request, parts->job, values, n_members * n_combinations))
                return -ENOMEM;
        }
    }
    return 0;
}

/* Two members that are the same are a mistake. */
static int check_differ(const struct group_request *request, struct failure *failure) {
    json_t *one, *other;
    size_t i, j;

    json_array_foreach(request->values, i, one) {
        json_array_foreach(request->values, j, other) {
            if (j == i)
                break;
            if (json_equal(one, other))
                return failure_field(failure, "members", "leave one of them out",
                                     "%s is the same as member %zu",
                                     json_string_value(json_array_get(request->labels, i)), j + 1);
        }
    }
    return 0;
}

int group_request_parse(const json_t *body, struct group_request *ret_request,
                        struct failure *failure) {
    struct parts parts = {};
    size_t n = 0;
    int r = read_parts(body, &parts, &n, failure);

    if (!r)
        r = read_name(parts.name, &ret_request->name, failure);
    if (r)
        return r;
    ret_request->varies = json_array();
    ret_request->requests = json_array();
    ret_request->values = json_array();
    ret_request->labels = json_array();
    if (!ret_request->varies || !ret_request->requests || !ret_request->values ||
        !ret_request->labels || add_members(ret_request, &parts, n))
        return failure_oom(failure);
    return check_differ(ret_request, failure);
}
