// SPDX-License-Identifier: Apache-2.0
#include "api/request/user_names.h"

#include "base/clock.h"
#include "base/macros.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define PASSWD_SIZE (16 * 1024)
#define KEEP_SECONDS 30

void user_names_init(struct user_names *names) {
    *names = (struct user_names){};
    pthread_mutex_init(&names->mutex, NULL);
}

void user_names_done(struct user_names *names) {
    pthread_mutex_destroy(&names->mutex);
}

static void look_up(uid_t uid, char ret_owner[OWNER_SIZE]) {
    struct passwd entry, *found = NULL;
    char buffer[PASSWD_SIZE];

    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found &&
        strlen(entry.pw_name) < OWNER_SIZE)
        snprintf(ret_owner, OWNER_SIZE, "%s", entry.pw_name);
    else
        snprintf(ret_owner, OWNER_SIZE, "%u", (unsigned)uid);
}

void user_names_find(struct user_names *names, uid_t uid, char ret_owner[OWNER_SIZE]) {
    size_t i = uid % ARRAY_SIZE(names->at);
    double now = clock_monotonic();
    bool known;

    pthread_mutex_lock(&names->mutex);
    known = names->at[i].uid == uid && now < names->at[i].until;
    if (known)
        memcpy(ret_owner, names->at[i].owner, OWNER_SIZE);
    pthread_mutex_unlock(&names->mutex);
    if (known)
        return;
    look_up(uid, ret_owner); /* may take seconds: not under the mutex */
    pthread_mutex_lock(&names->mutex);
    names->at[i].uid = uid;
    names->at[i].until = now + KEEP_SECONDS;
    memcpy(names->at[i].owner, ret_owner, OWNER_SIZE);
    pthread_mutex_unlock(&names->mutex);
}
