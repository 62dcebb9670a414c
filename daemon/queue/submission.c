// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/submission.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/access/target.h"

#include <errno.h>
#include <string.h>

/* The fields that are the queue's; all others are parameters. */
static const char *const queue_fields[] = {"kind", "priority", "private", "where",
                                           "name", "labels",   "notify"};

void submission_free(struct submission *submission) {
    if (!submission)
        return;
    free(submission->name);
    free(submission->where);
    free(submission->notify);
    json_decref(submission->labels);
    json_decref(submission->asked);
    params_free(submission->params);
    free(submission);
}

/* The field @name of @object; NULL when it is left out or null, which is the same. */
static const json_t *field(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static size_t characters(const char *s) {
    size_t n = 0;

    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static int read_kind(const json_t *value, enum job_kind *ret_kind, struct failure *failure) {
    if (!value) {
        *ret_kind = JOB_QUANTIZE;
        return 0;
    }
    if (job_kind_from_name(json_string_value(value), ret_kind))
        return failure_field(failure, "kind", NULL, "must be \"quantize\", \"eval\" or \"export\"");
    return 0;
}

static int read_priority(const json_t *value, int *ret_priority, struct failure *failure) {
    json_int_t priority = json_integer_value(value);

    if (value && (!json_is_integer(value) || priority < -100 || priority > 100))
        return failure_field(failure, "priority", NULL, "must be a whole number from -100 to 100");
    *ret_priority = (int)priority;
    return 0;
}

static int read_private(const json_t *value, bool *ret_private, struct failure *failure) {
    if (value && !json_is_boolean(value))
        return failure_field(failure, "private", NULL, "must be true or false");
    *ret_private = json_is_true(value);
    return 0;
}

/* The name of an executor; which of them there are the queue knows. */
static int read_where(const json_t *value, char **ret_where, struct failure *failure) {
    const char *where = json_string_value(value);

    if (!value || str_equal(where, JOBS_ANYWHERE))
        return 0;
    if (!str_equal(where, "local") && !str_equal(where, "slurm"))
        return failure_field(failure, "where", NULL, "must be \"any\", \"local\" or \"slurm\"");
    *ret_where = strdup(where);
    return *ret_where ? 0 : failure_oom(failure);
}

static int read_name(const json_t *value, char **ret_name, struct failure *failure) {
    const char *text = value ? json_string_value(value) : "";

    if (!text || characters(text) > SUBMISSION_NAME_MAX)
        return failure_field(failure, "name", NULL, "must be a string of at most %d characters",
                             SUBMISSION_NAME_MAX);
    *ret_name = strdup(text);
    return *ret_name ? 0 : failure_oom(failure);
}

/* Where it may go is for the configuration to say. */
static int read_notify(const json_t *value, char **ret_notify, struct failure *failure) {
    if (!value)
        return 0;
    if (!json_is_string(value) || json_string_length(value) > TARGET_URL_MAX)
        return failure_field(failure, "notify", NULL, "must be a URL of at most %d characters",
                             TARGET_URL_MAX);
    *ret_notify = strdup(json_string_value(value));
    return *ret_notify ? 0 : failure_oom(failure);
}

/* The members of @object, or none for NULL. json_copy() leaves some out when memory runs out. */
static int copy_object(const json_t *object, json_t **ret_copy, struct failure *failure) {
    cleanup(json_decrefp) json_t *copy = json_object();

    if (!copy || (object && json_object_update(copy, (json_t *)object)))
        return failure_oom(failure);
    *ret_copy = steal_ptr(copy);
    return 0;
}

static int read_labels(const json_t *value, json_t **ret_labels, struct failure *failure) {
    const char *key;
    json_t *item;

    if (value && (!json_is_object(value) || json_object_size(value) > SUBMISSION_LABELS_MAX))
        return failure_field(failure, "labels", NULL, "must be an object of at most %d strings",
                             SUBMISSION_LABELS_MAX);
    json_object_foreach((json_t *)value, key, item) {
        const char *text = json_string_value(item);

        if (!text || !key[0] || characters(key) > SUBMISSION_LABEL_MAX ||
            characters(text) > SUBMISSION_LABEL_MAX)
            return failure_field(failure, "labels", NULL,
                                 "'%s' must be a string of at most %d characters, as its name", key,
                                 SUBMISSION_LABEL_MAX);
    }
    return copy_object(value, ret_labels, failure);
}

int submission_parse(const json_t *object, struct submission **ret_submission,
                     struct failure *failure) {
    cleanup(submission_freep) struct submission *submission = calloc(1, sizeof(*submission));
    int r;

    if (!json_is_object(object))
        return failure_set(failure, -EINVAL, "invalid_request",
                           "send {\"model\": ..., \"dataset\": ..., \"wbits\": 4}",
                           "cannot read the request: it is not a JSON object");
    if (!submission)
        return failure_oom(failure);
    r = copy_object(object, &submission->asked, failure);
    if (r)
        return r;
    if ((r = read_kind(field(object, "kind"), &submission->kind, failure)) ||
        (r = read_priority(field(object, "priority"), &submission->priority, failure)) ||
        (r = read_private(field(object, "private"), &submission->private, failure)) ||
        (r = read_where(field(object, "where"), &submission->where, failure)) ||
        (r = read_name(field(object, "name"), &submission->name, failure)) ||
        (r = read_labels(field(object, "labels"), &submission->labels, failure)) ||
        (r = read_notify(field(object, "notify"), &submission->notify, failure)))
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(queue_fields); i++)
        json_object_del(submission->asked, queue_fields[i]);
    r = params_parse(submission->kind, submission->asked, &submission->params, failure);
    if (r)
        return r;

    *ret_submission = steal_ptr(submission);
    return 0;
}
