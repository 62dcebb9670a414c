// SPDX-License-Identifier: Apache-2.0
/* The whole daemon: it owns every part, and knows the order in which they start and stop. */
#pragma once

#include "api/server/http.h"
#include "base/cache/cache.h"
#include "base/cleanup.h"
#include "daemon/access/tokens.h"
#include "daemon/adoption.h"
#include "daemon/backup.h"
#include "daemon/config/config.h"
#include "daemon/data/hub/source.h"
#include "daemon/estimate/answer.h"
#include "daemon/executor/executors.h"
#include "daemon/executor/puller.h"
#include "daemon/notification/notifier.h"
#include "daemon/queue/jobs.h"
#include "daemon/retention.h"

#include <stdatomic.h>

struct daemon {
    const struct config *config; /* what it was started with; borrowed */
    struct config *loaded;       /* what was read last, NULL: not since; owned */
    atomic_int hang_seconds;
    struct store *store;
    struct tokens *tokens;
    struct events *events;
    struct holds *holds;
    struct job_cache *cache;
    struct counts *counts; /* of windows, for estimates */
    struct models models;
    struct disk disk;
    char *hash_cache;    /* path; owned */
    struct cache states; /* of originals, for later jobs (pipeline/evaluate/states.h) */
    struct jobs jobs;
    struct source_mirror mirror;
    struct hub_client *hub;
    struct hub_source source;
    struct corpora corpora;
    struct executors *executors;
    struct puller *puller;
    struct retention *retention;
    struct target_policy targets;
    struct notifier *notifier;
    struct backup backup;
    struct adoption_task adoption;
    struct service service;
    struct api *api;
    int failed_fd; /* eventfd: readable once a device can be used by a new process only */
    atomic_bool device_failed;
};

/*
 * daemon_start() - open the store, recover the queue, start executors and the api; @config must
 * outlive it. The caller owns *ret_daemon. Main thread. Return: 0 or -errno with the failure.
 */
int daemon_start(const struct config *config, struct daemon **ret_daemon, struct failure *failure);

/*
 * daemon_is_alive() - does every executor give signs of life, and the store answer? When the store
 * hangs it does not return. Any thread. Return: false with the failure: something hangs that only
 * a new process gets rid of.
 */
bool daemon_is_alive(struct daemon *daemon, struct failure *failure);

/*
 * daemon_stop() - stop in order and free all: running jobs go back to the queue. NULL is fine.
 * Main thread. Return: 0; -ETIMEDOUT: a run does not stop, nothing was freed, the process has to
 * end as it is.
 */
int daemon_stop(struct daemon *daemon);

/* service_init() - fill in @service with the functions that the api calls on @daemon. */
void service_init(struct service *service, struct daemon *daemon);
