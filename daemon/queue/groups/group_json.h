// SPDX-License-Identifier: Apache-2.0
/* A group as clients see it: the schemas GroupSummary and Group of api/openapi.json. Any thread. */
#pragma once

#include "daemon/store/store.h"

/* group_summary() - the group without its members; NULL when out of memory. */
json_t *group_summary(const struct group_row *row);

/*
 * group_to_json() - the group with its members, of which @jobs has the job objects in their order
 * (borrowed): status, counts and end are of these. NULL when out of memory.
 */
json_t *group_to_json(const struct group_row *row, json_t *jobs);
