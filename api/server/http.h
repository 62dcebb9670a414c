// SPDX-License-Identifier: Apache-2.0
/* The HTTP server of the API, by libmicrohttpd. */
#pragma once

#include "api/limits.h"
#include "api/service.h"
#include "base/failure.h"

struct api;

struct api_config {
    /* Addresses: "HOST:PORT" (a numeric address or localhost; port 0: any) or "unix:PATH" */
    char *const *listen;
    int n_listen;
    /* Listening sockets that were inherited (systemd); listen is not used then. Taken over. */
    const int *fds;
    int n_fds;
    /* Host header values that are allowed beside localhost and loopback addresses, as NAME or
     * NAME:PORT; a request with another one is answered 421. */
    char *const *allowed_hosts;
    int n_allowed_hosts;
    /* Users who are admins on a unix socket, beside root and the daemon's own. */
    char *const *admins;
    int n_admins;
    struct api_limits limits;
};

/*
 * api_start() - listen and serve @service (borrowed, must outlive the api) from threads of its
 * own; the caller owns *ret_api. The caller is the user at the other end of a unix socket
 * (SO_PEERCRED), or the holder of a token; without one "local" on TCP, as long as there is no
 * token. Without a token an address that is not loopback is refused. Return: 0 or -errno with the
 * failure.
 */
int api_start(const struct api_config *config, struct service *service, struct api **ret_api,
              struct failure *failure);

/*
 * api_set_allowed_hosts() - other Host header values than those that it was started with; copied.
 * Any thread. Return: 0 or -ENOMEM: they stay as they were.
 */
int api_set_allowed_hosts(struct api *api, char *const *hosts, int n_hosts);

/* api_set_admins() - the same for the users who are admins. */
int api_set_admins(struct api *api, char *const *admins, int n_admins);

/* api_port() - the TCP port of the first TCP listener, 0 when there is none. */
int api_port(const struct api *api);

/* api_stop() - end all streams, close all sockets, join the threads; NULL is fine. */
void api_stop(struct api *api);
