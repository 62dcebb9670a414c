// SPDX-License-Identifier: Apache-2.0
#include "daemon/access/access.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

const char *access_viewer(const struct caller *caller) {
    return caller->role >= ROLE_ADMIN ? NULL : caller->owner;
}

/* Is what @owner has the caller's own, or the caller an admin? */
static bool owns(const struct caller *caller, const char *owner) {
    return caller->role >= ROLE_ADMIN || str_equal(caller->owner, owner);
}

static int see(const struct caller *caller, const char *what, int64_t id, bool private,
               const char *owner, struct failure *failure) {
    if (!private || owns(caller, owner))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", "ask its owner, or an admin of quantd",
                       "%s '%" PRId64 "' is private to '%s', and you are '%s'", what, id, owner,
                       caller->owner);
}

static int change(const struct caller *caller, const char *what, int64_t id, const char *owner,
                  const char *verb, struct failure *failure) {
    if (owns(caller, owner))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", "ask its owner, or an admin of quantd",
                       "cannot %s %s '%" PRId64 "': it is of '%s', and you are '%s'", verb, what,
                       id, owner, caller->owner);
}

int access_see(const struct caller *caller, const struct job_row *row, struct failure *failure) {
    return see(caller, "job", row->id, row->private, row->owner, failure);
}

int access_change(const struct caller *caller, const struct job_row *row, const char *verb,
                  struct failure *failure) {
    return change(caller, "job", row->id, row->owner, verb, failure);
}

int access_see_group(const struct caller *caller, const struct group_row *row,
                     struct failure *failure) {
    return see(caller, "group", row->id, row->private, row->owner, failure);
}

int access_change_group(const struct caller *caller, const struct group_row *row, const char *verb,
                        struct failure *failure) {
    return change(caller, "group", row->id, row->owner, verb, failure);
}
