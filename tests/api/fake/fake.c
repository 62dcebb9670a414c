// SPDX-License-Identifier: Apache-2.0
#include "tests/api/fake/fake.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_over(const char *status) {
    return str_equal(status, "succeeded") || str_equal(status, "failed") ||
           str_equal(status, "cancelled");
}

/* Under the mutex, as are the others with this prefix. */
static json_t *locked_job(struct fake *fake, int64_t id) {
    return json_pack("{s:I, s:s, s:s, s:s, s:{s:s, s:i}}", "id", (json_int_t)id, "kind", "quantize",
                     "status", fake->jobs[id].status, "owner", fake->jobs[id].owner, "progress",
                     "phase", "quantize", "layer", fake->jobs[id].layer);
}

static int not_found(struct failure *failure, int64_t id) {
    return failure_set(failure, -ENOENT, "job_not_found", NULL, "no job %" PRId64, id);
}

static bool locked_has(struct fake *fake, int64_t id) {
    return id >= 1 && id <= fake->n_jobs && fake->jobs[id].status[0];
}

static bool locked_sees(struct fake *fake, const struct caller *caller, int64_t id) {
    return caller->role == ROLE_ADMIN || !fake->jobs[id].private ||
           str_equal(fake->jobs[id].owner, caller->owner);
}

/* May @caller see the job, and with @change change it too? */
static int locked_check(struct fake *fake, const struct caller *caller, int64_t id, bool change,
                        struct failure *failure) {
    if (!locked_has(fake, id))
        return not_found(failure, id);
    if (locked_sees(fake, caller, id) &&
        (!change || caller->role == ROLE_ADMIN || str_equal(fake->jobs[id].owner, caller->owner)))
        return 0;
    return failure_set(failure, -EPERM, "forbidden", NULL, "job %" PRId64 " is another's", id);
}

static void locked_event(struct fake *fake, int64_t job, const char *type, const char *text) {
    if (fake->n_events == fake->capacity) {
        fake->capacity = fake->capacity * 2 + 64;
        fake->events = realloc(fake->events, fake->capacity * sizeof(*fake->events));
        if (!fake->events)
            abort();
    }
    fake->events[fake->n_events] = (struct fake_event){.job = job, .text = strdup(text)};
    snprintf(fake->events[fake->n_events++].type, sizeof(fake->events->type), "%s", type);
    fake->jobs[job].version = ++fake->version;
}

static int64_t locked_add(struct fake *fake, const char *owner, const char *status) {
    int64_t id;

    if (fake->n_jobs == FAKE_JOBS)
        abort();
    id = ++fake->n_jobs;
    snprintf(fake->jobs[id].owner, sizeof(fake->jobs[id].owner), "%s", owner);
    snprintf(fake->jobs[id].status, sizeof(fake->jobs[id].status), "%s", status);
    locked_event(fake, id, "job.queued", "");
    return id;
}

void fake_wake(struct fake *fake) {
    pthread_mutex_lock(&fake->wake_mutex);
    if (fake->wake)
        fake->wake(fake->wake_ctx);
    pthread_mutex_unlock(&fake->wake_mutex);
}

static void locked_set_status(struct fake *fake, int64_t id, const char *status) {
    snprintf(fake->jobs[id].status, sizeof(fake->jobs[id].status), "%s", status);
    fake->jobs[id].version = ++fake->version;
}

static int submit(void *ctx, const struct caller *caller, const char *key, const json_t *request,
                  json_t **ret_job, bool *ret_created, struct failure *failure) {
    struct fake *fake = ctx;
    int64_t id = 0;

    if (fake->submit_error)
        return failure_set(failure, fake->submit_error, "from_service", "a hint",
                           "secret detail /var/lib/secret");
    if (!json_is_string(json_object_get(request, "model")))
        return failure_field(failure, "model", "name a model", "must be a string");
    pthread_mutex_lock(&fake->mutex);
    for (int i = 1; key && i <= fake->n_jobs; i++)
        if (str_equal(fake->jobs[i].key, key))
            id = i;
    *ret_created = id == 0;
    if (id == 0)
        id = locked_add(fake, caller->owner, "queued");
    snprintf(fake->jobs[id].key, sizeof(fake->jobs[id].key), "%s", key ? key : "");
    *ret_job = locked_job(fake, id);
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
    return 0;
}

static int get_job(void *ctx, const struct caller *caller, int64_t id, uint64_t known,
                   json_t **ret_job, uint64_t *ret_version, struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, false, failure);
    if (r == 0) {
        *ret_version = fake->jobs[id].version;
        *ret_job = known == *ret_version ? NULL : locked_job(fake, id);
    }
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static int get_jobs(void *ctx, const struct caller *caller, const struct job_filter *filter,
                    uint64_t known, json_t **ret_list, uint64_t *ret_version,
                    struct failure *failure) {
    struct fake *fake = ctx;
    int64_t newest;
    json_t *data = json_array();
    bool has_more = false;

    (void)failure;
    pthread_mutex_lock(&fake->mutex);
    newest = fake->n_jobs;
    if (filter->after)
        newest = MIN(filter->after - 1, newest);
    for (int64_t id = newest; id >= 1; id--) {
        if (!locked_has(fake, id) || !locked_sees(fake, caller, id) ||
            (filter->status && !strstr(filter->status, fake->jobs[id].status)) ||
            (filter->kind && !str_equal(filter->kind, "quantize")) ||
            (filter->text && atoll(filter->text) != id) ||
            (filter->owner && !str_equal(filter->owner, fake->jobs[id].owner)) ||
            (filter->label && !str_equal(filter->label, "run=1")) || filter->sort)
            continue;
        if ((has_more = json_array_size(data) == (size_t)filter->limit))
            break;
        json_array_append_new(data, locked_job(fake, id));
    }
    *ret_version = fake->version;
    pthread_mutex_unlock(&fake->mutex);
    if (known == *ret_version) {
        json_decref(data);
        *ret_list = NULL;
        return 0;
    }
    *ret_list = json_pack("{s:s, s:o, s:b}", "object", "list", "data", data, "has_more", has_more);
    return 0;
}

static int cancel(void *ctx, const struct caller *caller, int64_t id, json_t **ret_job,
                  struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, true, failure);
    if (r == 0 && is_over(fake->jobs[id].status)) {
        r = failure_set(failure, -EBUSY, "job_ended", NULL, "job %" PRId64 " has ended", id);
    } else if (r == 0) {
        locked_set_status(fake, id, "cancelling");
        *ret_job = locked_job(fake, id);
    }
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
    return r;
}

static int order(void *ctx, const struct caller *caller, int64_t id, const struct job_order *order,
                 json_t **ret_job, struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, true, failure);
    if (r == 0 && is_over(fake->jobs[id].status))
        r = failure_set(failure, -EBUSY, "job_not_queued", "a hint", "it does not wait");
    if (r == 0)
        *ret_job = locked_job(fake, id);
    if (r == 0)
        json_object_set_new(*ret_job, order->held ? "held" : "priority",
                            json_integer(order->held ? *order->held : *order->priority));
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static int retry(void *ctx, const struct caller *caller, const char *key, int64_t id,
                 json_t **ret_job, struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    (void)key;
    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, true, failure);
    if (r == 0 && !str_equal(fake->jobs[id].status, "failed"))
        r = failure_set(failure, -EBUSY, "job_not_retryable", "a hint", "it has not failed");
    else if (r == 0)
        *ret_job = locked_job(fake, locked_add(fake, caller->owner, "queued"));
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static int remove_job(void *ctx, const struct caller *caller, int64_t id, struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, true, failure);
    if (r == 0 && !is_over(fake->jobs[id].status))
        r = failure_set(failure, -EBUSY, "job_not_ended", "a hint", "it has not ended");
    else if (r == 0)
        locked_set_status(fake, id, "");
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static int get_events(void *ctx, const struct caller *caller, int64_t id, uint64_t after, int limit,
                      json_t **ret_events, bool *ret_ended, struct failure *failure) {
    struct fake *fake = ctx;
    json_t *events;
    int r = 0;

    pthread_mutex_lock(&fake->mutex);
    fake->n_event_queries++;
    if (id)
        r = locked_check(fake, caller, id, false, failure);
    if (r == 0 && fake->events_error)
        r = failure_set(failure, fake->events_error, "store_broken", NULL, "cannot read");
    if (r == 0) {
        events = json_array();
        for (size_t i = after; i < fake->n_events && json_array_size(events) < (size_t)limit; i++)
            if (id == 0 ? locked_sees(fake, caller, fake->events[i].job)
                        : fake->events[i].job == id)
                json_array_append_new(
                    events,
                    json_pack("{s:I, s:I, s:s, s:s, s:{s:s}}", "seq", (json_int_t)i + 1, "job",
                              (json_int_t)fake->events[i].job, "type", fake->events[i].type, "at",
                              "2026-11-22T09:30:00.125Z", "data", "text", fake->events[i].text));
        *ret_events = events;
        *ret_ended = id && is_over(fake->jobs[id].status);
    }
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static uint64_t last_seq(void *ctx) {
    struct fake *fake = ctx;
    uint64_t seq;

    pthread_mutex_lock(&fake->mutex);
    seq = fake->n_events;
    pthread_mutex_unlock(&fake->mutex);
    return seq;
}

static int some_list(void *ctx, const struct caller *caller, int64_t id, json_t **ret_list,
                     struct failure *failure) {
    struct fake *fake = ctx;
    int r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, false, failure);
    pthread_mutex_unlock(&fake->mutex);
    if (r)
        return r;
    *ret_list = json_pack("{s:s, s:[], s:b}", "object", "list", "data", "has_more", 0);
    return 0;
}

static int artifact_open(void *ctx, const struct caller *caller, int64_t id, const char *name,
                         struct artifact *ret_artifact, struct failure *failure) {
    struct fake *fake = ctx;
    char path[256];
    struct stat st;
    int fd, r;

    pthread_mutex_lock(&fake->mutex);
    r = locked_check(fake, caller, id, false, failure);
    pthread_mutex_unlock(&fake->mutex);
    if (r)
        return r;
    snprintf(path, sizeof(path), "%s/%s", fake->folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return failure_errno(failure, -ENOENT, "cannot open artifact", name);
    ret_artifact->fd = fd;
    ret_artifact->size = (uint64_t)st.st_size;
    return sha256_of_file(path, ret_artifact->sha256, &ret_artifact->size);
}

static int health(void *ctx, json_t **ret_health, struct failure *failure) {
    struct fake *fake = ctx;

    if (fake->sick)
        return failure_set(failure, -EAGAIN, "unhealthy", NULL, "the worker does not answer");
    *ret_health = json_pack("{s:s}", "status", "ok");
    return 0;
}

static int ready(void *ctx, json_t **ret_ready, struct failure *failure) {
    struct fake *fake = ctx;

    if (fake->sick)
        return failure_set(failure, -EAGAIN, "no_device", NULL, "no device can be opened");
    *ret_ready = json_pack("{s:s}", "status", "ok");
    return 0;
}

static void subscribe(void *ctx, void (*wake)(void *), void *wake_ctx) {
    struct fake *fake = ctx;

    pthread_mutex_lock(&fake->wake_mutex);
    fake->wake = wake;
    fake->wake_ctx = wake_ctx;
    pthread_mutex_unlock(&fake->wake_mutex);
}

static void write_files(struct fake *fake) {
    cleanup(freep) char *data = malloc(FAKE_FILE_SIZE);
    char path[128];

    snprintf(fake->folder, sizeof(fake->folder), "/tmp/test-api-XXXXXX");
    if (!data || !mkdtemp(fake->folder))
        abort();
    for (size_t i = 0; i < FAKE_FILE_SIZE; i++)
        data[i] = (char)fake_byte(i);
    snprintf(path, sizeof(path), "%s/model.safetensors", fake->folder);
    if (file_replace(path, data, FAKE_FILE_SIZE))
        abort();
    snprintf(path, sizeof(path), "%s/quantd.json", fake->folder);
    if (file_replace(path, "{}", 2))
        abort();
    snprintf(path, sizeof(path), "%s/empty", fake->folder);
    if (file_replace(path, "", 0))
        abort();
}

struct fake *fake_new(void) {
    struct fake *fake = calloc(1, sizeof(*fake));

    if (!fake)
        abort();
    fake->service = (struct service){
        .ctx = fake,
        .submit = submit,
        .job = get_job,
        .jobs = get_jobs,
        .cancel = cancel,
        .order = order,
        .retry = retry,
        .remove = remove_job,
        .events = get_events,
        .last_seq = last_seq,
        .layers = some_list,
        .windows = some_list,
        .artifacts = some_list,
        .artifact_open = artifact_open,
        .health = health,
        .ready = ready,
        .subscribe = subscribe,
    };
    fake_tokens_init(&fake->service);
    fake_backup_init(&fake->service);
    fake_system_init(&fake->service);
    fake_orphans_init(&fake->service);
    fake_groups_init(&fake->service);
    pthread_mutex_init(&fake->mutex, NULL);
    pthread_mutex_init(&fake->wake_mutex, NULL);
    write_files(fake);
    return fake;
}

void fake_free(struct fake *fake) {
    for (size_t i = 0; i < fake->n_events; i++)
        free(fake->events[i].text);
    free(fake->events);
    dir_remove(fake->folder);
    pthread_mutex_destroy(&fake->mutex);
    pthread_mutex_destroy(&fake->wake_mutex);
    free(fake);
}

int64_t fake_job(struct fake *fake) {
    int64_t id;

    pthread_mutex_lock(&fake->mutex);
    id = locked_add(fake, "local", "running");
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
    return id;
}

void fake_event(struct fake *fake, int64_t job, const char *type, const char *text) {
    pthread_mutex_lock(&fake->mutex);
    locked_event(fake, job, type, text);
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
}

void fake_progress(struct fake *fake, int64_t job, int layer) {
    pthread_mutex_lock(&fake->mutex);
    fake->jobs[job].layer = layer;
    fake->jobs[job].version = ++fake->version;
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
}

void fake_set_status(struct fake *fake, int64_t job, const char *status) {
    pthread_mutex_lock(&fake->mutex);
    locked_set_status(fake, job, status);
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
}

void fake_give(struct fake *fake, int64_t job, const char *owner, bool private) {
    pthread_mutex_lock(&fake->mutex);
    snprintf(fake->jobs[job].owner, sizeof(fake->jobs[job].owner), "%s", owner);
    fake->jobs[job].private = private;
    fake->jobs[job].version = ++fake->version;
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
}

void fake_end(struct fake *fake, int64_t job) {
    pthread_mutex_lock(&fake->mutex);
    locked_set_status(fake, job, "succeeded");
    locked_event(fake, job, "job.succeeded", "");
    pthread_mutex_unlock(&fake->mutex);
    fake_wake(fake);
}
