// SPDX-License-Identifier: Apache-2.0
#include "api/peers.h"

#include "base/log/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct peer {
    uid_t uid;
    int n;
    struct peer *next;
};

struct peers {
    pthread_mutex_t mutex; /* of the list and what is in it */
    struct peer *first;    /* those that have a connection */
    int max;
};

struct peers *peers_new(int max) {
    struct peers *peers = calloc(1, sizeof(*peers));

    if (!peers)
        return NULL;
    pthread_mutex_init(&peers->mutex, NULL);
    peers->max = max;
    return peers;
}

void peers_free(struct peers *peers) {
    if (!peers)
        return;
    pthread_mutex_destroy(&peers->mutex);
    free(peers);
}

/* Under the mutex. NULL: out of memory. */
static struct peer *find_or_make(struct peers *peers, uid_t uid) {
    struct peer *peer = peers->first;

    while (peer && peer->uid != uid)
        peer = peer->next;
    if (peer)
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    *peer = (struct peer){.uid = uid, .next = peers->first};
    peers->first = peer;
    return peer;
}

struct peer *peers_add(struct peers *peers, int fd) {
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    struct peer *peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size))
        return NULL;
    pthread_mutex_lock(&peers->mutex);
    peer = find_or_make(peers, credentials.uid);
    if (peer && peer->n >= peers->max)
        peer = NULL;
    else if (peer)
        peer->n++;
    pthread_mutex_unlock(&peers->mutex);
    if (!peer)
        log_debug("a connection of user %u is one too many", (unsigned)credentials.uid);
    return peer;
}

void peers_remove(struct peers *peers, struct peer *peer) {
    struct peer **at = &peers->first;

    pthread_mutex_lock(&peers->mutex);
    if (--peer->n == 0) {
        while (*at != peer)
            at = &(*at)->next;
        *at = peer->next;
        free(peer);
    }
    pthread_mutex_unlock(&peers->mutex);
}
