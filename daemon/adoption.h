// SPDX-License-Identifier: Apache-2.0
/*
 * Adopting a folder reads all of it, which takes seconds for gigabytes: a thread of its own does
 * it, one folder at a time, and no request waits for it.
 */
#pragma once

#include "base/task.h"
#include "daemon/queue/orphans/orphans.h"

struct adoption_task {
    struct jobs *jobs; /* borrowed */
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards all below, which is of the newest adoption */
    struct task task;
    int64_t id; /* 0: its end was reported, or too long ago, or there was none */
    char owner[OWNER_SIZE];
    bool running;
    double ended_at; /* monotonic */
    int r;           /* how it ended, with the failure */
    struct failure failure;
};

void adoption_init(struct adoption_task *adoption, struct jobs *jobs);

/* adoption_stop() - stop one that runs; zeroed is fine. Nobody may use it any more. */
void adoption_stop(struct adoption_task *adoption);

/*
 * adoption_ask() - as struct service's adopt: begins, and when called again for the same folder,
 * answers how far it is. Any thread.
 */
int adoption_ask(struct adoption_task *adoption, const struct caller *caller, int64_t id,
                 const json_t *request, json_t **ret_state, bool *ret_adopted,
                 struct failure *failure);
