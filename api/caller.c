// SPDX-License-Identifier: Apache-2.0
#include "api/caller.h"

#include "api/request.h"
#include "api/routes.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/messages.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PASSWD_SIZE (16 * 1024)
#define PEER_SECONDS 30
#define AUTHORIZATION_MAX 512 /* bytes of the header */
#define TOKEN_HINT                                                                                 \
    "'quantctl token create NAME' on the machine of quantd makes one; send it as 'Authorization: " \
    "Bearer TOKEN', quantctl takes it from QUANTD_TOKEN"

static const char *const role_names[] = {"read", "submit", "admin"};

const struct caller caller_daemon = {.owner = "", .role = ROLE_ADMIN, .auth = AUTH_PEER};

const char *role_name(enum role role) {
    return role_names[role];
}

int role_from_name(const char *name, enum role *ret_role) {
    for (size_t i = 0; i < ARRAY_SIZE(role_names); i++) {
        if (str_equal(name, role_names[i])) {
            *ret_role = i;
            return 0;
        }
    }
    return -EINVAL;
}

/* The name of the user, or the number of one that has none. */
static void name_user(uid_t uid, char ret_owner[OWNER_SIZE]) {
    struct passwd entry, *found = NULL;
    char buffer[PASSWD_SIZE];

    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found &&
        strlen(entry.pw_name) < OWNER_SIZE)
        snprintf(ret_owner, OWNER_SIZE, "%s", entry.pw_name);
    else
        snprintf(ret_owner, OWNER_SIZE, "%u", (unsigned)uid);
}

/* name_user(), and for PEER_SECONDS from memory. */
static void name_peer(struct peers *peers, uid_t uid, char ret_owner[OWNER_SIZE]) {
    size_t i = uid % ARRAY_SIZE(peers->at);
    double now = clock_monotonic();
    bool known;

    pthread_mutex_lock(&peers->mutex);
    known = peers->at[i].uid == uid && now < peers->at[i].until;
    if (known)
        memcpy(ret_owner, peers->at[i].owner, OWNER_SIZE);
    pthread_mutex_unlock(&peers->mutex);
    if (known)
        return;
    name_user(uid, ret_owner);
    pthread_mutex_lock(&peers->mutex);
    peers->at[i].uid = uid;
    peers->at[i].until = now + PEER_SECONDS;
    memcpy(peers->at[i].owner, ret_owner, OWNER_SIZE);
    pthread_mutex_unlock(&peers->mutex);
}

static bool is_admin(struct api *api, uid_t uid, const char *owner) {
    bool found = uid == 0 || uid == geteuid();

    pthread_rwlock_rdlock(&api->names_lock);
    for (int i = 0; i < api->admins.n && !found; i++)
        found = str_equal(api->admins.at[i], owner);
    pthread_rwlock_unlock(&api->names_lock);
    return found;
}

static int find_peer(const struct request *request, struct caller *caller,
                     struct failure *failure) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer = {};
    socklen_t size = sizeof(peer);

    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        return failure_errno(failure, -EIO, "cannot tell who is at", "unix socket");
    name_peer(&request->api->peers, peer.uid, caller->owner);
    caller->auth = AUTH_PEER;
    caller->role = is_admin(request->api, peer.uid, caller->owner) ? ROLE_ADMIN : ROLE_SUBMIT;
    return 0;
}

/* -------- the Authorization header -------- */

struct header {
    const char *value;
    size_t size;
    int n;
};

static enum MHD_Result take_authorization(void *arg, enum MHD_ValueKind kind, const char *key,
                                          size_t key_size, const char *value, size_t size) {
    struct header *header = arg;

    (void)kind;
    if (key_size == strlen(MHD_HTTP_HEADER_AUTHORIZATION) &&
        strncasecmp(key, MHD_HTTP_HEADER_AUTHORIZATION, key_size) == 0) {
        header->value = value ? value : "";
        header->size = size;
        header->n++;
    }
    return MHD_YES;
}

/* The token of "Bearer TOKEN", else NULL. */
static const char *bearer(const struct header *header) {
    static const char scheme[] = "bearer ";
    const char *text = header->value;

    if (header->n != 1 || header->size != strlen(text) || header->size > AUTHORIZATION_MAX ||
        strncasecmp(text, scheme, strlen(scheme)) != 0)
        return NULL;
    text += strlen(scheme);
    text += strspn(text, " ");
    return *text && !strchr(text, ' ') ? text : NULL;
}

static int find_holder(const struct request *request, const struct header *header,
                       struct caller *caller, struct failure *failure) {
    struct service *service = request->api->service;
    const char *token = bearer(header);
    int r;

    if (!token)
        return failure_set(failure, -EACCES, "unauthorized",
                           "send one 'Authorization: Bearer TOKEN'",
                           "the Authorization header does not hold a bearer token");
    r = service->find_token(service->ctx, token, caller);
    if (r == -ENOENT)
        return failure_set(failure, -EACCES, "unauthorized", TOKEN_HINT,
                           "the token is not known, or was revoked");
    return r ? failure_oom(failure) : 0;
}

int caller_find(const struct request *request, struct caller *ret_caller, struct failure *failure) {
    struct caller caller = {.owner = "local", .role = ROLE_SUBMIT, .auth = AUTH_NONE};
    const struct endpoint *endpoint = &request->listener->endpoint;
    struct service *service = request->api->service;
    struct header header = {};
    int r = 0;

    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, take_authorization, &header);
    if (header.n > 0)
        r = find_holder(request, &header, &caller, failure);
    else if (endpoint->is_unix)
        r = find_peer(request, &caller, failure);
    else if (endpoint->is_remote || service->has_tokens(service->ctx))
        r = failure_set(failure, -EACCES, "unauthorized", TOKEN_HINT,
                        "who asks over TCP needs a token");
    if (r == 0)
        *ret_caller = caller;
    return r;
}

/* -------- what the log says -------- */

/* Where the request came from, as a number. */
static void name_place(const struct request *request, char *ret_text, size_t size) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    socklen_t length = sizeof(struct sockaddr_in);

    if (info && info->client_addr->sa_family == AF_INET6)
        length = sizeof(struct sockaddr_in6);
    if (request->listener->endpoint.is_unix || !info ||
        getnameinfo(info->client_addr, length, ret_text, (socklen_t)size, NULL, 0, NI_NUMERICHOST))
        snprintf(ret_text, size, "the unix socket");
}

void caller_log_refusal(const struct request *request, unsigned status, const char *code) {
    const struct caller *caller = &request->caller;
    const struct route *route = request->route;
    struct log_fields fields = {.message_id = MESSAGE_REFUSED,
                                .request = request->id,
                                .code = code,
                                .job = request->job,
                                .owner = caller->owner[0] ? caller->owner : NULL};
    char who[OWNER_SIZE + 64] = "somebody", job[32] = "", place[64];

    if (caller->owner[0] && caller->auth == AUTH_TOKEN)
        snprintf(who, sizeof(who), "'%s' with the role %s by a token", caller->owner,
                 role_name(caller->role));
    else if (caller->owner[0])
        snprintf(who, sizeof(who), "'%s' with the role %s", caller->owner, role_name(caller->role));
    if (request->job)
        snprintf(job, sizeof(job), " of job %" PRId64, request->job);
    name_place(request, place, sizeof(place));
    log_record(LOG_WARNING, &fields, "request %s refused: %u %s: %s at %s asked %s %s%s",
               request->id, status, code, who, place,
               !route             ? "-"
               : route->is_post   ? "POST"
               : route->is_delete ? "DELETE"
                                  : "GET",
               route ? route->path : "-", job);
}

/* FNV-1a of the owner. Two that are alike matter only to one who sends the other's entity tag. */
uint32_t caller_view(const struct caller *caller) {
    uint32_t hash = 2166136261u;

    if (caller->role >= ROLE_ADMIN)
        return 0;
    for (const char *s = caller->owner; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 16777619u;
    return hash;
}
