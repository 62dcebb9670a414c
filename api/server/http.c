// SPDX-License-Identifier: Apache-2.0
#include "api/server/http.h"
#include "api/stream/fanout.h"

#include "api/listen/users.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/metrics.h"
#include "api/routes/check.h"
#include "api/routes/table.h"
#include "base/cleanup.h"
#include "base/log/log.h"
#include "base/macros.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENERS_MAX 16
#define THREADS 4                     /* of each listener */
#define CONNECTIONS_MAX 1024          /* of each listener */
#define FDS_RESERVED 128              /* for the rest of the daemon */
#define STREAM_EVENTS 100000          /* a long replay is done in pieces */
#define IDLE_SECONDS 60               /* of a connection without traffic; streams send heartbeats */
#define CONNECTION_MEMORY (64 * 1024) /* bytes for headers and output of a connection */
#define END_STREAMS_SECONDS 2.0

/*
 * libmicrohttpd calls this with the headers, then with each piece of the body, then once more. A
 * refusal waits for the body, so that a client that only reads after writing gets it.
 */
static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **state) {
    struct request *request = *state;

    (void)version;
    if (!request) {
        *state = request = request_new(arg, connection, method);
        if (!request)
            return MHD_NO;
        request_check(request, method, url);
        return request_must_refuse_now(request) ? answer_refusal(request) : MHD_YES;
    }
    if (*size) {
        if (!request_take(request, data, *size))
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    return request->refusal ? answer_refusal(request) : request->route->handle(request);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    (void)arg;
    (void)connection;
    (void)code;
    request_free(*state);
    *state = NULL;
}

/* libmicrohttpd closes a connection that was shut down, and tells so. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code) {
    const union MHD_ConnectionInfo *info;
    struct listener *listener = arg;

    if (!listener->users)
        return;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*state)
            users_remove(listener->users, *state);
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *state = info ? users_add(listener->users, info->connect_fd) : NULL;
    if (info && !*state)
        shutdown(info->connect_fd, SHUT_RDWR);
}

static void on_log(void *arg, const char *format, va_list args) {
    char text[512];

    (void)arg;
    vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = '\0';
    log_debug("libmicrohttpd: %s", text);
}

/* Connections of one listener, so that all together leave the daemon its file descriptors. */
static unsigned connection_limit(int n_listeners) {
    struct rlimit limit;
    rlim_t n;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return CONNECTIONS_MAX;
    n = limit.rlim_cur > FDS_RESERVED ? (limit.rlim_cur - FDS_RESERVED) / (rlim_t)n_listeners : 0;
    return (unsigned)MAX(MIN(n, CONNECTIONS_MAX), 4 * THREADS);
}

/*
 * poll, as 0.9.75 does not see a peer hang up with epoll; ITC, as without it stopping would shut
 * down an inherited socket for the next run too.
 */
static int listener_start(struct listener *listener, unsigned limit, struct failure *failure) {
    int of_user = listener->api->limits.user_connections;

    if (listener->endpoint.is_unix) {
        listener->users = users_new(of_user > 0 ? of_user : (int)limit / 4 * 3);
        if (!listener->users)
            return failure_oom(failure);
    }
    listener->daemon = MHD_start_daemon(
        MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_access, listener, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener->endpoint.fd, MHD_OPTION_THREAD_POOL_SIZE,
        (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)listener->api->limits.idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener, MHD_OPTION_END);
    if (listener->daemon)
        return 0;
    /* Whether it closed the socket depends on where it failed: rather leak it than close another.
     */
    listener->endpoint.fd = -1;
    return failure_set(failure, -EIO, "listen_failed", NULL, "cannot start the HTTP server");
}

static int open_listeners(struct api *api, const struct api_config *config,
                          struct failure *failure) {
    bool allow_remote = api->service->has_tokens(api->service->ctx);
    int n = config->n_fds ? config->n_fds : config->n_listen;

    if (n < 1 || n > LISTENERS_MAX)
        return failure_set(failure, -EINVAL, "listen_invalid", NULL,
                           "cannot listen on %d addresses: 1 to %d are possible", n, LISTENERS_MAX);
    api->listeners = calloc((size_t)n, sizeof(*api->listeners));
    if (!api->listeners)
        return failure_oom(failure);
    for (int i = 0; i < n; i++) {
        struct listener *listener = &api->listeners[i];
        int r;

        listener->api = api;
        if (config->n_fds)
            r = endpoint_adopt(config->fds[i], allow_remote, &listener->endpoint, failure);
        else
            r = endpoint_open(config->listen[i], allow_remote, &listener->endpoint, failure);
        if (r)
            return r;
        api->n_listeners++;
    }
    return 0;
}

int api_set_allowed_hosts(struct api *api, char *const *hosts, int n_hosts) {
    return names_set(&api->allowed_hosts, hosts, n_hosts);
}

int api_set_admins(struct api *api, char *const *admins, int n_admins) {
    return names_set(&api->admins, admins, n_admins);
}

/* Signals are the main thread's: those made here get none but what their own faults raise. */
static int start_threads(struct api *api, struct failure *failure) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    unsigned limit = connection_limit(api->n_listeners);
    sigset_t all, before;
    int r;

    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    /* However many streams: half of each listener's connections are left for short requests. */
    r = fanout_start(api->service, (int)limit / 2, api->limits.owner_streams, &api->fanout,
                     failure);
    for (int i = 0; r == 0 && i < api->n_listeners; i++)
        r = listener_start(&api->listeners[i], limit, failure);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static struct api_limits with_defaults(struct api_limits limits) {
    limits.stream_events = limits.stream_events > 0 ? limits.stream_events : STREAM_EVENTS;
    limits.idle_seconds = limits.idle_seconds > 0 ? limits.idle_seconds : IDLE_SECONDS;
    return limits;
}

DEFINE_CLEANUP(struct api *, api_stopp, api_stop)

int api_start(const struct api_config *config, struct service *service, struct api **ret_api,
              struct failure *failure) {
    cleanup(api_stopp) struct api *api = calloc(1, sizeof(*api));
    int r;

    if (!api)
        return failure_oom(failure);
    api->service = service;
    api->limits = with_defaults(config->limits);
    names_init(&api->allowed_hosts);
    names_init(&api->admins);
    user_names_init(&api->user_names);
    api->metrics = metrics_new(routes, n_routes);
    if (!api->metrics)
        return failure_oom(failure);
    if (getrandom(&api->boot, sizeof(api->boot), 0) != sizeof(api->boot))
        return failure_errno(failure, -EIO, "cannot read", "random numbers");
    r = api_set_allowed_hosts(api, config->allowed_hosts, config->n_allowed_hosts);
    if (r == 0)
        r = api_set_admins(api, config->admins, config->n_admins);
    if (r)
        failure_oom(failure);
    if (r == 0)
        r = open_listeners(api, config, failure);
    if (r == 0)
        r = start_threads(api, failure);
    if (r)
        return r;
    *ret_api = steal_ptr(api);
    return 0;
}

int api_port(const struct api *api) {
    for (int i = 0; i < api->n_listeners; i++)
        if (!api->listeners[i].endpoint.is_unix)
            return api->listeners[i].endpoint.port;
    return 0;
}

/*
 * First nobody new comes in, then the streams end in order, then the rest is cut off. Stopping
 * libmicrohttpd with a suspended connection would abort the process.
 */
void api_stop(struct api *api) {
    if (!api)
        return;
    for (int i = 0; i < api->n_listeners; i++) {
        struct listener *listener = &api->listeners[i];

        if (listener->daemon && MHD_quiesce_daemon(listener->daemon) == MHD_INVALID_SOCKET)
            log_warning("cannot stop accepting connections");
    }
    if (api->fanout)
        fanout_end_streams(api->fanout, END_STREAMS_SECONDS);
    for (int i = 0; i < api->n_listeners; i++) {
        if (api->listeners[i].daemon)
            MHD_stop_daemon(api->listeners[i].daemon);
        /* Only now: a thread might still be about to accept from this number. */
        endpoint_close(&api->listeners[i].endpoint);
        users_free(api->listeners[i].users);
    }
    fanout_free(api->fanout);
    metrics_free(api->metrics);
    names_done(&api->allowed_hosts);
    names_done(&api->admins);
    user_names_done(&api->user_names);
    free(api->listeners);
    free(api);
}
