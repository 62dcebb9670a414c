// SPDX-License-Identifier: Apache-2.0
/* What a client asks for when it submits a job: fields of the queue beside the parameters. */
#pragma once

#include "daemon/pipeline/params/request.h"

#define JOBS_ANYWHERE "any"     /* `where` of a job that any executor may run */
#define SUBMISSION_NAME_MAX 200 /* characters */
#define SUBMISSION_LABELS_MAX 16
#define SUBMISSION_LABEL_MAX 100 /* characters of a key or a value */

struct submission {
    enum job_kind kind;
    int priority;          /* -100 .. 100 */
    bool private;          /* for its owner and admins only */
    char *where;           /* the executor that alone may run it; owned; NULL: any */
    char *name;            /* owned; may be empty */
    char *notify;          /* URL to notify of its end, not checked yet; NULL: none; owned */
    json_t *labels;        /* object of strings; owned */
    json_t *asked;         /* the parameters as asked for, without the queue's fields; owned */
    struct params *params; /* what they mean; owned */
};

/*
 * submission_parse() - check @object, any JSON value (borrowed); the caller owns *ret_submission.
 * Return: 0; -EINVAL with the field named; -ENOMEM. Any thread.
 */
int submission_parse(const json_t *object, struct submission **ret_submission,
                     struct failure *failure);
void submission_free(struct submission *submission); /* NULL is fine */

DEFINE_CLEANUP(struct submission *, submission_freep, submission_free)
