// SPDX-License-Identifier: Apache-2.0
/* Where notifications may go: to hosts that the configuration allows, and not inside. Any thread.
 */
#pragma once

#include "base/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define TARGET_URL_MAX 1000 /* bytes */

struct target_policy {
    char *const *hosts; /* "HOST" for its usual port, or "HOST:PORT"; borrowed */
    int n_hosts;
    bool private;    /* private addresses too, and http:// */
    const char *key; /* that signs; NULL: there is none, and so no webhook; borrowed */
};

/*
 * target_check() - may notifications go to @url? It is https://HOST[:PORT][/PATH] of plain
 * characters, without a user. Return: 0, or -EINVAL with the field "notify".
 */
int target_check(const struct target_policy *policy, const char *url, struct failure *failure);

/*
 * target_shown() - @url without what is secret in it: "https://hooks.example.org/...". Owned by the
 * caller; NULL when out of memory.
 */
char *target_shown(const char *url);

/* target_check_host() - is @host, an entry of the list, HOST or HOST:PORT? */
bool target_check_host(const char *host);

/* target_is_private() - is @address one of this machine, of a private network, or of no one? */
bool target_is_private(const struct sockaddr *address);
