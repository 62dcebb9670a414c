// SPDX-License-Identifier: Apache-2.0
/* The parts of a running API, which all its requests share. Only files below api/ include it. */
#pragma once

#include "api/limits.h"
#include "api/listen/endpoint.h"
#include "api/request/names.h"
#include "api/request/user_names.h"
#include "api/service.h"

#include <stdatomic.h>
#include <stdint.h>

struct fanout;
struct intake;
struct metrics;
struct users;
struct MHD_Daemon;

struct listener {
    struct api *api;
    struct endpoint endpoint;
    struct MHD_Daemon *daemon;
    struct intake *intake;
    struct users *users; /* of a unix socket; NULL on TCP */
};

struct api {
    struct service *service;  /* borrowed */
    struct api_limits limits; /* with the defaults filled in */
    struct fanout *fanout;
    struct metrics *metrics;
    struct listener *listeners;
    int n_listeners;
    struct names allowed_hosts, admins;
    struct user_names user_names;
    uint32_t boot; /* random; part of request ids and entity tags */
    atomic_uint n_requests;
};
