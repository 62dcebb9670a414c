// SPDX-License-Identifier: Apache-2.0
/* The parts of a running API; only files of this folder include it. */
#pragma once

#include "api/http.h"
#include "api/listen.h"
#include "api/stream/fanout.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct listener {
    struct api *api;
    struct endpoint endpoint;
    struct MHD_Daemon *daemon;
    struct peers *peers; /* of a unix socket; NULL on TCP */
};

struct names {
    char **at; /* owned */
    int n;
};

/* Names of users who asked by the socket a moment ago: the directory of users may be far away. */
struct peers {
    pthread_mutex_t mutex;
    struct {
        uid_t uid;
        double until; /* monotonic; 0: free */
        char owner[OWNER_SIZE];
    } at[64]; /* by the last bits of the uid */
};

struct api {
    struct service *service;  /* borrowed */
    struct api_limits limits; /* with the defaults filled in */
    struct hub *hub;
    struct metrics *metrics;
    struct listener *listeners;
    int n_listeners;
    pthread_rwlock_t names_lock; /* of the two below, which a reload may replace */
    struct names allowed_hosts;
    struct names admins;
    struct peers peers;
    uint32_t boot; /* random; part of request ids and entity tags */
    atomic_uint n_requests;
};
