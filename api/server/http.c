// SPDX-License-Identifier: Apache-2.0
#include "api/server/http.h"

#include "api/listen/intake.h"
#include "api/listen/users.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/metrics.h"
#include "api/routes/check.h"
#include "api/routes/table.h"
#include "api/stream/fanout.h"
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
#define IDLE_SECONDS 60               /* of an answer that is not taken; streams send heartbeats */
#define REQUEST_SECONDS 10            /* for a request to come */
#define CONNECTION_MEMORY (64 * 1024) /* bytes for headers and output of a connection */
#define END_STREAMS_SECONDS 2.0

static struct visitor *visitor_of(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* libmicrohttpd calls this with the first line; the result is the state of what follows. */
static void *on_first_line(void *arg, const char *uri, struct MHD_Connection *connection) {
    return request_new(arg, connection, uri);
}

/*
 * libmicrohttpd calls this with the headers, then with each piece of the body, then once more. A
 * refusal waits for the body, so that a client that only reads after writing gets it.
 */
static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **state) {
    struct visitor *visitor = visitor_of(connection);
    struct listener *listener = arg;
    struct request *request = *state;

    if (!request || !visitor)
        return MHD_NO;
    if (!request->has_head) {
        intake_head(listener->intake, visitor);
        request_begin(request, method, version);
        request_check(request, method, url);
        if (!request_must_refuse_now(request))
            return MHD_YES;
        intake_ready(listener->intake, visitor);
        return answer_refusal(request);
    }
    if (*size) {
        intake_body(listener->intake, visitor, *size);
        if (!request_take(request, data, *size))
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    intake_ready(listener->intake, visitor);
    return request->refusal ? answer_refusal(request) : request->route->handle(request);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    struct visitor *visitor = visitor_of(connection);
    struct listener *listener = arg;

    (void)code;
    request_free(*state);
    *state = NULL;
    if (visitor)
        intake_next(listener->intake, visitor);
}

/* Return: NULL: it must be shut down. */
static struct visitor *let_in(struct listener *listener, int fd) {
    struct visitor *visitor = NULL;
    struct user *user = NULL;
    bool is_over = false;

    if (listener->users) {
        user = users_add(listener->users, fd, &is_over);
        if (!user)
            return NULL;
    }
    if (!is_over || intake_make_room(listener->intake, user))
        visitor = intake_open(listener->intake, fd, user);
    if (!visitor && user)
        users_remove(listener->users, user);
    return visitor;
}

/* libmicrohttpd closes a connection that was shut down, and says so. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code) {
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct visitor *visitor = *state;
    struct listener *listener = arg;
    struct user *user;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *state = let_in(listener, fd);
        if (!*state)
            shutdown(fd, SHUT_RDWR);
        return;
    }
    if (!visitor)
        return;
    user = visitor->user;
    intake_close(listener->intake, visitor);
    if (user)
        users_remove(listener->users, user);
    *state = NULL;
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
    int of_user = listener->api->limits.user_connections, r;

    if (listener->endpoint.is_unix) {
        listener->users = users_new(of_user > 0 ? of_user : (int)limit / 4 * 3);
        if (!listener->users)
            return failure_oom(failure);
    }
    r = intake_start((struct intake_limits){.max = (int)limit / 8 * 7,
                                            .seconds = listener->api->limits.request_seconds},
                     &listener->intake, failure);
    if (r)
        return r;
    listener->daemon = MHD_start_daemon(
        MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_access, listener, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener->endpoint.fd, MHD_OPTION_THREAD_POOL_SIZE,
        (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)listener->api->limits.idle_seconds, MHD_OPTION_URI_LOG_CALLBACK, on_first_line,
        listener, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener, MHD_OPTION_END);
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
    limits.request_seconds = limits.request_seconds > 0 ? limits.request_seconds : REQUEST_SECONDS;
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
 * First no new connection is accepted, then the streams end in order, then the rest is cut off.
 * Stopping libmicrohttpd with a suspended connection would abort the process.
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
        intake_free(api->listeners[i].intake);
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
