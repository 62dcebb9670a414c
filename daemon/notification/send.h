// SPDX-License-Identifier: Apache-2.0
/* One try to deliver a notification. One thread at a time. */
#pragma once

#include "daemon/access/target.h"

#include <stdatomic.h>
#include <stdint.h>

/* What is delivered; all borrowed. */
struct notification {
    int64_t id;
    const char *body; /* JSON */
    int64_t job;
    const char *status;      /* of the job */
    const atomic_bool *stop; /* once true, the try ends */
};

/*
 * send_webhook() - POST it to @url, signed by the policy's key. Redirects are not followed, and an
 * address that the policy does not allow is not connected to. Return: 0 after a 2xx answer;
 * -EINVAL: the policy refuses; -ECANCELED: stopped; or another -errno; with the failure.
 */
int send_webhook(const struct notification *notification, const struct target_policy *policy,
                 const char *url, struct failure *failure);

/*
 * send_command() - run @path, which gets the body as its standard input, and an environment of
 * PATH, LANG, QUANTD_JOB and QUANTD_STATUS alone; it is killed after a minute. Return: 0 when it
 * exits with 0; -ECANCELED; or another -errno, with the failure.
 */
int send_command(const struct notification *notification, const char *path,
                 struct failure *failure);
