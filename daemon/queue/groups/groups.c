// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/groups/groups.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "daemon/access/access.h"
#include "daemon/queue/groups/group_json.h"
#include "daemon/queue/groups/group_request.h"

#include <errno.h>
#include <inttypes.h>

/* The row of group @id, to be freed, as @caller may look at it. */
static int find(struct jobs *jobs, const struct caller *caller, int64_t id,
                struct group_row **ret_row, struct failure *failure) {
    cleanup(group_row_freep) struct group_row *row = NULL;
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_get_group(jobs->store, id, &row);
    if (r == -ENOENT)
        failure_set(failure, r, "group_not_found", "list the groups to see their ids",
                    "no group '%" PRId64 "'", id);
    r = store_end(jobs->store, r, failure);
    if (!r)
        r = access_see_group(caller, row, failure);
    if (!r)
        *ret_row = steal_ptr(row);
    return r;
}

/* -------- reading -------- */

static int reversed(json_t *list, json_t **ret_list) {
    json_t *copy = json_array();

    for (size_t i = json_array_size(list); i > 0; i--) {
        if (json_array_append(copy, json_array_get(list, i - 1))) {
            json_decref(copy);
            return -ENOMEM;
        }
    }
    *ret_list = copy;
    return copy ? 0 : -ENOMEM;
}

int groups_object(struct jobs *jobs, const struct caller *caller, int64_t id, uint64_t known,
                  json_t **ret_group, uint64_t *ret_version, struct failure *failure) {
    const struct job_filter filter = {.group = id, .limit = JOBS_OF_GROUP_MAX};
    cleanup(group_row_freep) struct group_row *row = NULL;
    cleanup(json_decrefp) json_t *list = NULL, *members = NULL;
    json_t *group = NULL;
    int r = find(jobs, caller, id, &row, failure);

    if (!r)
        r = jobs_list(jobs, caller, &filter, known, &list, ret_version, failure);
    if (r)
        return r;
    if (list) {
        if (!reversed(json_object_get(list, "data"), &members))
            group = group_to_json(row, members);
        if (!group)
            return failure_oom(failure);
    }
    *ret_group = group;
    return 0;
}

struct listing {
    json_t *data;
    int limit;
    bool has_more;
};

static int add_to_list(void *ctx, const struct group_row *row) {
    struct listing *listing = ctx;

    if ((int)json_array_size(listing->data) == listing->limit) {
        listing->has_more = true;
        return 0;
    }
    return json_array_append_new(listing->data, group_summary(row)) ? -ENOMEM : 0;
}

int groups_list(struct jobs *jobs, const struct caller *caller, const struct groups_filter *filter,
                json_t **ret_list, struct failure *failure) {
    cleanup(json_decrefp) json_t *data = json_array();
    struct listing listing = {.data = data, .limit = filter->limit};
    int r;

    if (!data)
        return failure_oom(failure);
    r = store_begin(jobs->store, STORE_READ, failure);
    if (r)
        return r;
    /* One more shows whether there are more. */
    r = store_list_groups(jobs->store, filter->owner, access_viewer(caller), filter->after,
                          filter->limit + 1, add_to_list, &listing);
    r = store_end(jobs->store, r, failure);
    if (r)
        return r;
    *ret_list =
        json_pack("{ss sO sb}", "object", "list", "data", data, "has_more", listing.has_more);
    return *ret_list ? 0 : failure_oom(failure);
}

/* -------- submitting -------- */

/* The group of the job that the batch began with, with the warnings of this submission. */
static int answer(struct jobs *jobs, const struct caller *caller, int64_t first,
                  const json_t *warnings, json_t **ret_group, struct failure *failure) {
    cleanup(json_decrefp) json_t *group = NULL;
    json_t *warning;
    uint64_t version;
    int64_t id = 0;
    size_t i;
    int r = store_begin(jobs->store, STORE_READ, failure);

    if (r)
        return r;
    r = store_end(jobs->store, store_find_group(jobs->store, first, &id), failure);
    if (!r)
        r = groups_object(jobs, caller, id, 0, &group, &version, failure);
    if (r)
        return r;
    json_array_foreach(warnings, i, warning) {
        json_t *member = json_array_get(json_object_get(group, "members"), i);

        if (json_string_length(warning) && json_object_set(member, "warning", warning))
            return failure_oom(failure);
    }
    *ret_group = steal_ptr(group);
    return 0;
}

int groups_submit(struct jobs *jobs, const struct caller *caller, const char *key,
                  const json_t *body, json_t **ret_group, bool *ret_created,
                  struct failure *failure) {
    cleanup(group_request_done) struct group_request request = {};
    /* A key stands for this body as a group, which is no job of the same body. */
    cleanup(json_decrefp) json_t *named = json_pack("{sO}", "group", body);
    cleanup(json_decrefp) json_t *warnings = json_array();
    struct group_row row = {.owner = (char *)caller->owner, .created_at = clock_wall_ms()};
    struct batch batch = {.body = named, .group = &row};
    int64_t first = 0;
    int r;

    if (!named || !warnings)
        return failure_oom(failure);
    r = group_request_parse(body, &request, failure);
    if (r)
        return r;
    row.name = request.name;
    row.varies = request.varies;
    row.private = json_is_true(json_object_get(json_object_get(body, "job"), "private"));
    batch.requests = request.requests;
    batch.labels = request.labels;
    r = jobs_submit_batch(jobs, caller, key, &batch, &first, ret_created, warnings, failure);
    if (!r)
        r = answer(jobs, caller, first, warnings, ret_group, failure);
    if (!r && *ret_created)
        log_info("group %" JSON_INTEGER_FORMAT " of '%s': %zu jobs from %" PRId64 " on",
                 json_integer_value(json_object_get(*ret_group, "id")), caller->owner,
                 json_array_size(request.requests), first);
    return r;
}

/* -------- changing all of its jobs -------- */

static int check_change(struct jobs *jobs, const struct caller *caller, int64_t id,
                        const char *verb, struct failure *failure) {
    cleanup(group_row_freep) struct group_row *row = NULL;
    int r = find(jobs, caller, id, &row, failure);

    return r ? r : access_change_group(caller, row, verb, failure);
}

int groups_cancel(struct jobs *jobs, const struct caller *caller, int64_t id, json_t **ret_ids,
                  struct failure *failure) {
    int r = check_change(jobs, caller, id, "cancel", failure);

    return r ? r : jobs_cancel_group(jobs, caller, id, ret_ids, failure);
}

int groups_order(struct jobs *jobs, const struct caller *caller, int64_t id,
                 const struct job_order *order, struct failure *failure) {
    int r = check_change(jobs, caller, id, "reorder", failure);

    return r ? r : jobs_order_group(jobs, caller, id, order, failure);
}
