// SPDX-License-Identifier: Apache-2.0
/*
 * How many connections each user has to a unix socket, so that one user's leave room for others'.
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct users;
struct user; /* one user */

/* users_new() - at most @max connections of one user. NULL: out of memory. */
struct users *users_new(int max);
void users_free(struct users *users); /* all connections are closed; NULL is fine */

/*
 * users_add() - count a connection of the user at the other end of @fd, until users_remove().
 * *ret_is_over: the user has more than the allowed number now. NULL: out of memory, or it is not
 * known who the user is.
 */
struct user *users_add(struct users *users, int fd, bool *ret_is_over);
void users_remove(struct users *users, struct user *user);
