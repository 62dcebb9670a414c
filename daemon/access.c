// SPDX-License-Identifier: Apache-2.0
#include "daemon/access.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

bool access_sees_all(const struct caller *caller) {
    return caller->role >= ROLE_ADMIN;
}

bool access_owns(const struct caller *caller, const struct job_row *row) {
    return caller->role >= ROLE_ADMIN || str_equal(caller->owner, row->owner);
}

int access_change(const struct caller *caller, const struct job_row *row, const char *verb,
                  struct failure *failure) {
    if (access_owns(caller, row))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", "ask its owner, or an admin of quantd",
                       "cannot %s job '%" PRId64 "': it is of '%s', not of '%s'", verb, row->id,
                       row->owner, caller->owner);
}
