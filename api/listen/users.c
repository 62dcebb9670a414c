// SPDX-License-Identifier: Apache-2.0
#include "api/listen/users.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct user {
    uid_t uid;
    int n;
    struct user *next;
};

struct users {
    pthread_mutex_t mutex; /* of the list and what is in it */
    struct user *first;    /* those that have a connection */
    int max;
};

struct users *users_new(int max) {
    struct users *users = calloc(1, sizeof(*users));

    if (!users)
        return NULL;
    pthread_mutex_init(&users->mutex, NULL);
    users->max = max;
    return users;
}

void users_free(struct users *users) {
    if (!users)
        return;
    pthread_mutex_destroy(&users->mutex);
    free(users);
}

/* Under the mutex. NULL: out of memory. */
static struct user *find_or_make(struct users *users, uid_t uid) {
    struct user *user = users->first;

    while (user && user->uid != uid)
        user = user->next;
    if (user)
        return user;
    user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    *user = (struct user){.uid = uid, .next = users->first};
    users->first = user;
    return user;
}

struct user *users_add(struct users *users, int fd, bool *ret_is_over) {
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    struct user *user;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size))
        return NULL;
    pthread_mutex_lock(&users->mutex);
    user = find_or_make(users, credentials.uid);
    if (user)
        *ret_is_over = ++user->n > users->max;
    pthread_mutex_unlock(&users->mutex);
    return user;
}

void users_remove(struct users *users, struct user *user) {
    struct user **at = &users->first;

    pthread_mutex_lock(&users->mutex);
    if (--user->n == 0) {
        while (*at != user)
            at = &(*at)->next;
        *at = user->next;
        free(user);
    }
    pthread_mutex_unlock(&users->mutex);
}
