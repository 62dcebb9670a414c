// SPDX-License-Identifier: Apache-2.0
/*
 * Names of the users that recently connected to the socket: the directory of users may be far away.
 * Any thread.
 */
#pragma once

#include "api/service.h"

#include <pthread.h>
#include <sys/types.h>

struct user_names {
    pthread_mutex_t mutex;
    struct {
        uid_t uid;
        double until; /* monotonic; 0: free */
        char owner[OWNER_SIZE];
    } at[64]; /* by the last bits of the uid */
};

void user_names_init(struct user_names *names);
void user_names_done(struct user_names *names);

/* user_names_find() - the name of the user @uid, or the number of one that has none. */
void user_names_find(struct user_names *names, uid_t uid, char ret_owner[OWNER_SIZE]);
