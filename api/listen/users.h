// SPDX-License-Identifier: Apache-2.0
/*
 * How many connections each user has to a unix socket, so that one user's leave room for others'.
 * Any thread.
 */
#pragma once

#include <sys/types.h>

struct users;
struct user; /* one user */

/* users_new() - at most @max connections of one user. NULL: out of memory. */
struct users *users_new(int max);
void users_free(struct users *users); /* all connections are closed; NULL is fine */

/*
 * users_add() - count a connection of the user at the other end of @fd, until users_remove(). NULL:
 * it is one too many, or nobody can say whose it is.
 */
struct user *users_add(struct users *users, int fd);
void users_remove(struct users *users, struct user *user);
