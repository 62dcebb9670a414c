// SPDX-License-Identifier: Apache-2.0
#include "api/caller.h"

#include "api/request.h"
#include "api/server.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PASSWD_SIZE (16 * 1024)

static const char *const role_names[] = {"read", "submit", "admin"};

const struct caller caller_daemon = {.owner = "", .role = ROLE_ADMIN, .auth = AUTH_NONE};

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
    name_user(peer.uid, caller->owner);
    caller->auth = AUTH_PEER;
    caller->role = is_admin(request->api, peer.uid, caller->owner) ? ROLE_ADMIN : ROLE_SUBMIT;
    return 0;
}

int caller_find(const struct request *request, struct caller *ret_caller, struct failure *failure) {
    struct caller caller = {.owner = "local", .role = ROLE_SUBMIT, .auth = AUTH_NONE};
    int r = 0;

    if (request->listener->endpoint.is_unix)
        r = find_peer(request, &caller, failure);
    if (r == 0)
        *ret_caller = caller;
    return r;
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
