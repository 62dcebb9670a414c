// SPDX-License-Identifier: Apache-2.0
#include "api/request/route.h"

const char *route_method_name(enum route_method method) {
    static const char *const names[] = {
        [ROUTE_GET] = "GET",
        [ROUTE_POST] = "POST",
        [ROUTE_DELETE] = "DELETE",
    };

    return names[method];
}
