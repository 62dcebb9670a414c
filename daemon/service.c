// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include "base/json.h"
#include "base/log/log.h"
#include "daemon/access/access.h"
#include "daemon/inventory.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/queue/groups/groups.h"
#include "daemon/queue/job_json.h"
#include "daemon/status.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LIST_MAX 500
#define EVENTS_MAX 10000

/* Takes over @data. */
static int make_list(json_t *data, json_t **ret_list, struct failure *failure) {
    json_t *list = json_pack("{ss so sb}", "object", "list", "data", data, "has_more", 0);

    if (!list)
        return failure_oom(failure);
    *ret_list = list;
    return 0;
}

/* There is a job to claim, or files to fetch for one. */
static void wake_all(struct daemon *daemon) {
    executors_poll(daemon->executors);
    puller_wake(daemon->puller);
}

static int submit(void *ctx, const struct caller *caller, const char *key, const json_t *request,
                  json_t **ret_job, bool *ret_created, struct failure *failure) {
    struct daemon *daemon = ctx;
    int r = jobs_submit(&daemon->jobs, caller, key, request, ret_job, ret_created, failure);

    if (!r)
        wake_all(daemon);
    return r;
}

static int estimate(void *ctx, const struct caller *caller, const json_t *request,
                    json_t **ret_estimate, struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(json_decrefp) json_t *devices = executors_describe(daemon->executors);

    if (!devices)
        return failure_oom(failure);
    return estimate_answer(&daemon->jobs, daemon->counts, devices, caller, request, ret_estimate,
                           failure);
}

static int submit_group(void *ctx, const struct caller *caller, const char *key,
                        const json_t *request, json_t **ret_group, bool *ret_created,
                        struct failure *failure) {
    struct daemon *daemon = ctx;
    int r = groups_submit(&daemon->jobs, caller, key, request, ret_group, ret_created, failure);

    if (!r)
        wake_all(daemon);
    return r;
}

static int estimate_group(void *ctx, const struct caller *caller, const json_t *request,
                          json_t **ret_estimate, struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(json_decrefp) json_t *devices = executors_describe(daemon->executors);

    if (!devices)
        return failure_oom(failure);
    return estimate_group_answer(&daemon->jobs, daemon->counts, devices, caller, request,
                                 ret_estimate, failure);
}

static int get_group(void *ctx, const struct caller *caller, int64_t id, uint64_t known,
                     json_t **ret_group, uint64_t *ret_version, struct failure *failure) {
    struct daemon *daemon = ctx;

    return groups_object(&daemon->jobs, caller, id, known, ret_group, ret_version, failure);
}

static int check_limit(int limit, struct failure *failure) {
    if (limit >= 1 && limit <= LIST_MAX)
        return 0;
    return failure_field(failure, "limit", NULL, "must be from 1 to %d", LIST_MAX);
}

static int list_groups(void *ctx, const struct caller *caller, const struct groups_filter *filter,
                       json_t **ret_list, struct failure *failure) {
    struct daemon *daemon = ctx;
    int r = check_limit(filter->limit, failure);

    return r ? r : groups_list(&daemon->jobs, caller, filter, ret_list, failure);
}

static int cancel_group(void *ctx, const struct caller *caller, int64_t id, json_t **ret_group,
                        struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(json_decrefp) json_t *ids = NULL;
    uint64_t version;
    const char *job;
    json_t *gone;
    int r = groups_cancel(&daemon->jobs, caller, id, &ids, failure);

    json_object_foreach(ids, job, gone) {
        executors_cancel(daemon->executors, strtoll(job, NULL, 10));
        puller_cancel(daemon->puller, strtoll(job, NULL, 10));
    }
    return r ? r : groups_object(&daemon->jobs, caller, id, 0, ret_group, &version, failure);
}

static int order_group(void *ctx, const struct caller *caller, int64_t id,
                       const struct job_order *order, json_t **ret_group, struct failure *failure) {
    struct daemon *daemon = ctx;
    uint64_t version;
    int r = groups_order(&daemon->jobs, caller, id, order, failure);

    if (r)
        return r;
    r = groups_object(&daemon->jobs, caller, id, 0, ret_group, &version, failure);
    wake_all(daemon); /* after the look: the answer shows what was asked for */
    return r;
}

static int get_job(void *ctx, const struct caller *caller, int64_t id, uint64_t known,
                   json_t **ret_job, uint64_t *ret_version, struct failure *failure) {
    struct daemon *daemon = ctx;

    return jobs_object(&daemon->jobs, caller, id, known, ret_job, ret_version, failure);
}

static int list_jobs(void *ctx, const struct caller *caller, const struct job_filter *filter,
                     uint64_t known, json_t **ret_list, uint64_t *ret_version,
                     struct failure *failure) {
    struct daemon *daemon = ctx;
    int r = check_limit(filter->limit, failure);

    if (r)
        return r;
    if (filter->method && !method_find(filter->method))
        return failure_field(failure, "method", "/openapi.json lists the methods in JobRequest",
                             "'%s' is not a method", filter->method);
    return jobs_list(&daemon->jobs, caller, filter, known, ret_list, ret_version, failure);
}

static int cancel(void *ctx, const struct caller *caller, int64_t id, json_t **ret_job,
                  struct failure *failure) {
    struct daemon *daemon = ctx;
    uint64_t version;
    int r = jobs_cancel(&daemon->jobs, caller, id, failure);

    if (r)
        return r;
    executors_cancel(daemon->executors, id);
    puller_cancel(daemon->puller, id);
    return jobs_object(&daemon->jobs, caller, id, 0, ret_job, &version, failure);
}

static int order(void *ctx, const struct caller *caller, int64_t id, const struct job_order *order,
                 json_t **ret_job, struct failure *failure) {
    struct daemon *daemon = ctx;
    uint64_t version;
    int r = jobs_order(&daemon->jobs, caller, id, order, failure);

    if (r)
        return r;
    r = jobs_object(&daemon->jobs, caller, id, 0, ret_job, &version, failure);
    wake_all(daemon);
    return r;
}

static int retry(void *ctx, const struct caller *caller, const char *key, int64_t id,
                 json_t **ret_job, struct failure *failure) {
    struct daemon *daemon = ctx;
    int r = jobs_retry(&daemon->jobs, caller, key, id, ret_job, failure);

    if (!r)
        wake_all(daemon);
    return r;
}

static int remove_job(void *ctx, const struct caller *caller, int64_t id, struct failure *failure) {
    struct daemon *daemon = ctx;

    return jobs_delete(&daemon->jobs, caller, id, failure);
}

static int list_events(void *ctx, const struct caller *caller, int64_t id, uint64_t after,
                       int limit, json_t **ret_events, bool *ret_ended, struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    json_t *events = NULL;
    int r;

    if (limit < 1 || limit > EVENTS_MAX)
        return failure_field(failure, "limit", NULL, "must be from 1 to %d", EVENTS_MAX);
    /* The status first: what ends between the two reads is seen to have ended the next time. */
    r = id ? jobs_see(&daemon->jobs, caller, id, &cached, failure) : 0;
    if (!r)
        r = store_begin(daemon->store, STORE_READ, failure);
    if (r)
        return r;
    r = store_list_events(daemon->store, id, access_viewer(caller), after, limit, &events);
    if (r == -ENOMEM)
        failure_oom(failure);
    r = store_end(daemon->store, r, failure);
    if (r) {
        json_decref(events);
        return r;
    }
    *ret_ended =
        cached && job_status_ended(cached->row->status) && (int)json_array_size(events) < limit;
    *ret_events = events;
    return 0;
}

static uint64_t last_seq(void *ctx) {
    struct daemon *daemon = ctx;

    return store_last_seq(daemon->store);
}

static int list_layers(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                       struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    json_t *layers = NULL;
    int r = jobs_see(&daemon->jobs, caller, id, &cached, failure);

    if (!r)
        r = store_begin(daemon->store, STORE_READ, failure);
    if (r)
        return r;
    r = store_list_layers(daemon->store, id, &layers);
    if (r == -ENOMEM)
        failure_oom(failure);
    r = store_end(daemon->store, r, failure);
    if (r) {
        json_decref(layers);
        return r;
    }
    return make_list(layers, ret_list, failure);
}

static int list_windows(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                        struct failure *failure) {
    struct daemon *daemon = ctx;
    json_t *sets = NULL;
    int r = jobs_windows(&daemon->jobs, caller, id, &sets, failure);

    return r ? r : make_list(sets, ret_list, failure);
}

static int list_artifacts(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                          struct failure *failure) {
    struct daemon *daemon = ctx;
    cleanup(cached_job_freep) struct cached_job *cached = NULL;
    int r = jobs_see(&daemon->jobs, caller, id, &cached, failure);

    return r ? r
             : make_list(json_clone(json_object_get(cached->object, "artifacts")), ret_list,
                         failure);
}

static int artifact_open(void *ctx, const struct caller *caller, int64_t id, const char *name,
                         struct artifact *ret_artifact, struct failure *failure) {
    struct daemon *daemon = ctx;

    return jobs_open_artifact(&daemon->jobs, caller, id, name, ret_artifact, failure);
}

static int list_devices(void *ctx, json_t **ret_list, struct failure *failure) {
    struct daemon *daemon = ctx;
    json_t *data = executors_describe(daemon->executors);

    return data ? make_list(data, ret_list, failure) : failure_oom(failure);
}

static int get_status(void *ctx, json_t **ret_status, struct failure *failure) {
    return status_describe(ctx, ret_status, failure);
}

static int list_models(void *ctx, json_t **ret_list, struct failure *failure) {
    return inventory_models(ctx, ret_list, failure);
}

static int list_datasets(void *ctx, json_t **ret_list, struct failure *failure) {
    return inventory_datasets(ctx, ret_list, failure);
}

static int remove_model(void *ctx, const struct caller *caller, const char *org, const char *name,
                        json_t **ret_removed, struct failure *failure) {
    struct daemon *daemon = ctx;
    char id[HUB_ID_MAX * 2];
    uint64_t bytes = 0;
    int r;

    snprintf(id, sizeof(id), "%s/%s", org, name);
    r = hub_remove_model(daemon->hub, id, &bytes, failure);
    if (r)
        return r;
    log_info("model '%s' removed by '%s'", id, caller->owner);
    *ret_removed = json_pack("{ss ss sb sI}", "id", id, "object", "model", "deleted", 1, "bytes",
                             (json_int_t)bytes);
    return *ret_removed ? 0 : failure_oom(failure);
}

static bool has_tokens(void *ctx) {
    struct daemon *daemon = ctx;

    return tokens_exist(daemon->tokens);
}

static int find_token(void *ctx, const char *text, struct caller *ret_caller) {
    struct daemon *daemon = ctx;

    return tokens_find(daemon->tokens, text, ret_caller);
}

static bool is_current(void *ctx, const struct caller *caller) {
    struct daemon *daemon = ctx;

    if (caller->auth == AUTH_TOKEN)
        return tokens_hold(daemon->tokens, caller->token);
    return caller->auth == AUTH_PEER || !tokens_exist(daemon->tokens);
}

static int list_tokens(void *ctx, json_t **ret_list, struct failure *failure) {
    struct daemon *daemon = ctx;

    return tokens_list(daemon->tokens, ret_list, failure);
}

static int create_token(void *ctx, const struct caller *caller, const json_t *request,
                        json_t **ret_token, struct failure *failure) {
    struct daemon *daemon = ctx;

    return tokens_create(daemon->tokens, caller, request, ret_token, failure);
}

static int revoke_token(void *ctx, const struct caller *caller, const char *name,
                        struct failure *failure) {
    struct daemon *daemon = ctx;

    return tokens_revoke(daemon->tokens, caller, name, failure);
}

static int begin_backup(void *ctx, const struct caller *caller, json_t **ret_state,
                        struct failure *failure) {
    struct daemon *daemon = ctx;

    return backup_begin(&daemon->backup, caller->owner, ret_state, failure);
}

static int get_backup(void *ctx, json_t **ret_state, struct failure *failure) {
    struct daemon *daemon = ctx;

    return backup_state(&daemon->backup, ret_state, failure);
}

static int open_backup(void *ctx, const char *name, struct artifact *ret_file,
                       struct failure *failure) {
    struct daemon *daemon = ctx;

    return backup_open(&daemon->backup, name, ret_file, failure);
}

static int list_orphans(void *ctx, int64_t after, int limit, json_t **ret_list,
                        struct failure *failure) {
    struct daemon *daemon = ctx;

    return orphans_list(&daemon->jobs, after, limit, ret_list, failure);
}

static int adopt(void *ctx, const struct caller *caller, int64_t id, const json_t *request,
                 json_t **ret_state, bool *ret_adopted, struct failure *failure) {
    struct daemon *daemon = ctx;

    return adoption_ask(&daemon->adoption, caller, id, request, ret_state, ret_adopted, failure);
}

static int health(void *ctx, json_t **ret_health, struct failure *failure) {
    return status_health(ctx, ret_health, failure);
}

static int ready(void *ctx, json_t **ret_ready, struct failure *failure) {
    return status_ready(ctx, ret_ready, failure);
}

static int read_stats(void *ctx, struct service_stats *ret_stats, struct failure *failure) {
    return status_stats(ctx, ret_stats, failure);
}

static void subscribe(void *ctx, void (*wake)(void *wake_ctx), void *wake_ctx) {
    struct daemon *daemon = ctx;

    events_subscribe(daemon->events, wake, wake_ctx);
}

void service_init(struct service *service, struct daemon *daemon) {
    *service = (struct service){
        .ctx = daemon,
        .submit = submit,
        .estimate = estimate,
        .submit_group = submit_group,
        .estimate_group = estimate_group,
        .group = get_group,
        .groups = list_groups,
        .cancel_group = cancel_group,
        .order_group = order_group,
        .job = get_job,
        .jobs = list_jobs,
        .cancel = cancel,
        .order = order,
        .retry = retry,
        .remove = remove_job,
        .events = list_events,
        .last_seq = last_seq,
        .layers = list_layers,
        .windows = list_windows,
        .artifacts = list_artifacts,
        .artifact_open = artifact_open,
        .devices = list_devices,
        .status = get_status,
        .models = list_models,
        .datasets = list_datasets,
        .remove_model = remove_model,
        .has_tokens = has_tokens,
        .find_token = find_token,
        .is_current = is_current,
        .tokens = list_tokens,
        .create_token = create_token,
        .revoke_token = revoke_token,
        .backup = begin_backup,
        .backup_state = get_backup,
        .backup_open = open_backup,
        .orphans = list_orphans,
        .adopt = adopt,
        .health = health,
        .ready = ready,
        .stats = read_stats,
        .subscribe = subscribe,
    };
}
