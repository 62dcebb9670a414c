// SPDX-License-Identifier: Apache-2.0
#include "api/service.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>

static const char *const role_names[] = {
    [ROLE_READ] = "read",
    [ROLE_SUBMIT] = "submit",
    [ROLE_ADMIN] = "admin",
};

const struct caller caller_daemon = {.owner = "", .role = ROLE_ADMIN, .auth = AUTH_PEER};

const char *role_name(enum role role) {
    return role_names[role];
}

int role_from_name(const char *name, enum role *ret_role) {
    for (size_t i = 0; i < ARRAY_SIZE(role_names); i++) {
        if (str_equal(name, role_names[i])) {
            *ret_role = i;
            return 0;
        }
    }
    return -EINVAL;
}
