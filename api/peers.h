// SPDX-License-Identifier: Apache-2.0
/*
 * How many connections each user has to a unix socket, so that one user's leave room for others'.
 * Any thread.
 */
#pragma once

#include <sys/types.h>

struct peers;
struct peer; /* one user */

/* peers_new() - at most @max connections of one user. NULL: out of memory. */
struct peers *peers_new(int max);
void peers_free(struct peers *peers); /* all connections are closed; NULL is fine */

/*
 * peers_add() - count a connection of the user at the other end of @fd, until peers_remove(). NULL:
 * it is one too many, or nobody can say whose it is.
 */
struct peer *peers_add(struct peers *peers, int fd);
void peers_remove(struct peers *peers, struct peer *peer);
