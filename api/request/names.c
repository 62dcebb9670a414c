// SPDX-License-Identifier: Apache-2.0
#include "api/request/names.h"

#include "base/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void free_strings(char **at, int n) {
    for (int i = 0; i < n; i++)
        free(at[i]);
    free(at);
}

void names_init(struct names *names) {
    *names = (struct names){};
    pthread_rwlock_init(&names->lock, NULL);
}

void names_done(struct names *names) {
    free_strings(names->at, names->n);
    pthread_rwlock_destroy(&names->lock);
}

int names_set(struct names *names, char *const *at, int n) {
    char **copy = calloc((size_t)MAX(n, 1), sizeof(char *)), **old;
    int n_old;

    if (!copy)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        copy[i] = strdup(at[i]);
        if (!copy[i]) {
            free_strings(copy, i);
            return -ENOMEM;
        }
    }
    pthread_rwlock_wrlock(&names->lock);
    old = names->at;
    n_old = names->n;
    names->at = copy;
    names->n = n;
    pthread_rwlock_unlock(&names->lock);
    free_strings(old, n_old);
    return 0;
}

bool names_any(struct names *names, bool (*fits)(const char *name, const char *wanted),
               const char *wanted) {
    bool found = false;

    pthread_rwlock_rdlock(&names->lock);
    for (int i = 0; i < names->n && !found; i++)
        found = fits(names->at[i], wanted);
    pthread_rwlock_unlock(&names->lock);
    return found;
}
