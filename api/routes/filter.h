// SPDX-License-Identifier: Apache-2.0
/* Which jobs or groups a client asks for, and in which order. */
#pragma once

#include "api/request/request.h"
#include "api/service.h"

/*
 * job_filter_take() - the filter in the query of @request, checked. What it points to is the
 * request's. Return: 0, or -EINVAL with the failure.
 */
int job_filter_take(const struct request *request, struct job_filter *ret_filter,
                    struct failure *failure);

/* groups_filter_take() - the same for groups. */
int groups_filter_take(const struct request *request, struct groups_filter *ret_filter,
                       struct failure *failure);
