// SPDX-License-Identifier: Apache-2.0
/*
 * Notifies whoever asked for it of the end of a job: a URL that the job names, and a URL and a
 * command of the configuration. Notifications are stored with the end itself, in one transaction
 * (migration 0011), and stay until they are delivered: at least once, also after a crash. A thread
 * of its own delivers them, so that none delays a job or a request.
 *
 * It may use base, store, access, the queue and the api's service.h.
 */
#pragma once

#include "daemon/access/target.h"
#include "daemon/queue/jobs.h"

#define NOTIFIER_TRIES_MAX 30 /* about a day; then it is given up */

struct notifier;

struct notifier_config {
    struct jobs *jobs; /* all borrowed */
    const struct target_policy *policy;
    const char *url, *command; /* of the configuration; NULL: none */
    double retry_seconds;      /* before the second try, doubled each time up to an hour; 0: 10 */
};

/* notifier_start() - Return: 0 or -errno with the failure. */
int notifier_start(const struct notifier_config *config, struct notifier **ret_notifier,
                   struct failure *failure);

/* notifier_stop() - a try that is under way ends at once, and is made again after the next start.
 * NULL is fine. */
void notifier_stop(struct notifier *notifier);
