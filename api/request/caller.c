// SPDX-License-Identifier: Apache-2.0
#include "api/request/caller.h"

#include "api/request/api.h"
#include "api/request/request.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define AUTHORIZATION_MAX 512 /* bytes of the header */
#define TOKEN_HINT                                                                                 \
    "'quantctl token create NAME' on the machine of quantd makes one; send it as 'Authorization: " \
    "Bearer TOKEN', quantctl takes it from QUANTD_TOKEN"

static bool is_owner(const char *name, const char *owner) {
    return str_equal(name, owner);
}

static bool is_admin(struct api *api, uid_t uid, const char *owner) {
    return uid == 0 || uid == geteuid() || names_any(&api->admins, is_owner, owner);
}

static int find_peer(const struct request *request, struct caller *caller,
                     struct failure *failure) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer = {};
    socklen_t size = sizeof(peer);

    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        return failure_errno(failure, -EIO, "cannot find the user of", "unix socket");
    user_names_find(&request->api->user_names, peer.uid, caller->owner);
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
                        "a request over TCP needs a token");
    if (r == 0)
        *ret_caller = caller;
    return r;
}

/* FNV-1a of the owner. Two that are alike matter only to one who sends the other's entity tag. */
uint32_t caller_scope(const struct caller *caller) {
    uint32_t hash = 2166136261u;

    if (caller->role >= ROLE_ADMIN)
        return 0;
    for (const char *s = caller->owner; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 16777619u;
    return hash;
}
