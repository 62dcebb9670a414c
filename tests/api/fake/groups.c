// SPDX-License-Identifier: Apache-2.0
/* Groups of a fake daemon: group N has one job, which is N. */
#include "tests/api/fake/fake.h"

#include <errno.h>
#include <string.h>

/* Takes over *@job. */
static int wrap(int r, json_t **job, json_t **ret_group, struct failure *failure) {
    if (r == -ENOENT)
        strcpy(failure->code, "group_not_found");
    if (!r && *job)
        *ret_group = json_pack(
            "{s:s, s:O, s:s, s:O, s:b, s:n, s:O, s:{}, s:[], s:s, s:n, s:{}, s:f, s:[o]}", "object",
            "group", "id", json_object_get(*job, "id"), "name", "", "owner",
            json_object_get(*job, "owner"), "private", 0, "model", "status",
            json_object_get(*job, "status"), "counts", "varies", "created_at",
            "2026-11-22T09:30:00.125Z", "finished_at", "urls", "seconds", 0.0, "members", *job);
    return r;
}

/* The one job of a group: what all have in common, or the body itself. */
static const json_t *job_of(const json_t *request) {
    const json_t *job = json_object_get(request, "job");

    return job ? job : request;
}

static int submit_group(void *ctx, const struct caller *caller, const char *key,
                        const json_t *request, json_t **ret_group, bool *ret_created,
                        struct failure *failure) {
    struct fake *fake = ctx;
    json_t *job = NULL;
    int r = fake->service.submit(ctx, caller, key, job_of(request), &job, ret_created, failure);

    return wrap(r, &job, ret_group, failure);
}

static int estimate_group(void *ctx, const struct caller *caller, const json_t *request,
                          json_t **ret_estimate, struct failure *failure) {
    (void)ctx;
    (void)caller;
    if (!json_object_get(job_of(request), "model"))
        return failure_field(failure, "model", NULL, "name a model");
    *ret_estimate = json_pack("{s:s, s:[], s:n}", "object", "group_estimate", "members", "seconds");
    return 0;
}

static int group(void *ctx, const struct caller *caller, int64_t id, uint64_t known,
                 json_t **ret_group, uint64_t *ret_version, struct failure *failure) {
    struct fake *fake = ctx;
    json_t *job = NULL;

    return wrap(fake->service.job(ctx, caller, id, known, &job, ret_version, failure), &job,
                ret_group, failure);
}

/* The filter, as it came. */
static int groups(void *ctx, const struct caller *caller, const struct groups_filter *filter,
                  json_t **ret_list, struct failure *failure) {
    (void)ctx;
    (void)caller;
    (void)failure;
    *ret_list = json_pack("{s:s, s:[{s:s?, s:I, s:i}], s:b}", "object", "list", "data", "owner",
                          filter->owner, "after", (json_int_t)filter->after, "limit", filter->limit,
                          "has_more", 0);
    return 0;
}

static int cancel_group(void *ctx, const struct caller *caller, int64_t id, json_t **ret_group,
                        struct failure *failure) {
    struct fake *fake = ctx;
    json_t *job = NULL;

    return wrap(fake->service.cancel(ctx, caller, id, &job, failure), &job, ret_group, failure);
}

static int order_group(void *ctx, const struct caller *caller, int64_t id,
                       const struct job_order *order, json_t **ret_group, struct failure *failure) {
    struct fake *fake = ctx;
    json_t *job = NULL;

    return wrap(fake->service.order(ctx, caller, id, order, &job, failure), &job, ret_group,
                failure);
}

void fake_groups_init(struct service *service) {
    service->submit_group = submit_group;
    service->estimate_group = estimate_group;
    service->group = group;
    service->groups = groups;
    service->cancel_group = cancel_group;
    service->order_group = order_group;
}
