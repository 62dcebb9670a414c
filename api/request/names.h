// SPDX-License-Identifier: Apache-2.0
/* A list of names of the configuration, which a reload may replace. Any thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct names {
    pthread_rwlock_t lock;
    char **at; /* owned */
    int n;
};

void names_init(struct names *names); /* none yet */
void names_done(struct names *names);

/* names_set() - a copy of the @n strings @at. Return: 0 or -ENOMEM: they stay as they were. */
int names_set(struct names *names, char *const *at, int n);

/* names_any() - does @fits say yes to one of them and @wanted? */
bool names_any(struct names *names, bool (*fits)(const char *name, const char *wanted),
               const char *wanted);
