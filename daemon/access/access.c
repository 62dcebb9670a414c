// SPDX-License-Identifier: Apache-2.0
#include "daemon/access/access.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

const char *access_viewer(const struct caller *caller) {
    return caller->role >= ROLE_ADMIN ? NULL : caller->owner;
}

/* Is it a job of @caller, or @caller an admin? */
static bool owns(const struct caller *caller, const struct job_row *row) {
    return caller->role >= ROLE_ADMIN || str_equal(caller->owner, row->owner);
}

int access_see(const struct caller *caller, const struct job_row *row, struct failure *failure) {
    if (!row->private || owns(caller, row))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", "ask its owner, or an admin of quantd",
                       "job '%" PRId64 "' is private to '%s', and you are '%s'", row->id,
                       row->owner, caller->owner);
}

int access_change(const struct caller *caller, const struct job_row *row, const char *verb,
                  struct failure *failure) {
    if (owns(caller, row))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", "ask its owner, or an admin of quantd",
                       "cannot %s job '%" PRId64 "': it is of '%s', and you are '%s'", verb,
                       row->id, row->owner, caller->owner);
}
