// SPDX-License-Identifier: Apache-2.0
#include "daemon/adoption.h"

#include "base/clock.h"
#include "base/log/log.h"
#include "base/str.h"
#include "daemon/access/tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define REPORT_SECONDS 300 /* so long an end waits for who asked */

void adoption_init(struct adoption_task *adoption, struct jobs *jobs) {
    *adoption = (struct adoption_task){.jobs = jobs};
    pthread_mutex_init(&adoption->mutex, NULL);
}

void adoption_stop(struct adoption_task *adoption) {
    if (!adoption->jobs)
        return;
    adoption->stop = true;
    task_finish(&adoption->task);
    pthread_mutex_destroy(&adoption->mutex);
    adoption->jobs = NULL;
}

/* A refusal says which folder it is about. */
static void name_folder(struct failure *failure, int64_t id) {
    char detail[sizeof(failure->detail)];

    snprintf(detail, sizeof(detail), "%s", failure->detail);
    snprintf(failure->detail, sizeof(failure->detail), "folder %" PRId64 ": %.400s", id, detail);
    str_make_printable(failure->detail); /* what was cut may end inside a character */
}

/* In its own thread; id and owner stay as they are while it runs. */
static int run(void *ctx) {
    struct adoption_task *adoption = ctx;
    struct failure failure = {};
    int r = orphan_adopt(adoption->jobs, adoption->id, adoption->owner, &adoption->stop, &failure);

    if (r) {
        name_folder(&failure, adoption->id);
        log_warning("a folder cannot be adopted: %s", failure.detail);
    }
    pthread_mutex_lock(&adoption->mutex);
    adoption->r = r;
    adoption->failure = failure;
    adoption->running = false;
    adoption->ended_at = clock_monotonic();
    pthread_mutex_unlock(&adoption->mutex);
    return r;
}

/* Under the mutex, when none runs. */
static int begin(struct adoption_task *adoption, int64_t id, const char *owner,
                 struct failure *failure) {
    int r;

    task_finish(&adoption->task); /* of the one before, which has ended */
    adoption->id = id;
    snprintf(adoption->owner, sizeof(adoption->owner), "%s", owner);
    adoption->running = true;
    adoption->task = (struct task){};
    r = task_start(&adoption->task, run, adoption);
    if (!r)
        return 0;
    adoption->running = false;
    adoption->id = 0;
    return failure_errno(failure, r, "cannot start the thread of", "the adoption");
}

/* How far an adoption is. */
enum stage { STAGE_NONE, STAGE_RUNNING, STAGE_ENDED };

/* Under the mutex. That of @id; an end is reported once, and is then none. */
static int find(struct adoption_task *adoption, int64_t id, enum stage *ret_stage,
                struct failure *failure) {
    *ret_stage = STAGE_NONE;
    if (adoption->running && adoption->id != id)
        return failure_set(failure, -EBUSY, "adoption_running", "ask again when it is done",
                           "the folder of job %" PRId64 " is being adopted", adoption->id);
    if (!adoption->running && clock_monotonic() - adoption->ended_at > REPORT_SECONDS)
        adoption->id = 0;
    if (adoption->id != id)
        return 0;
    *ret_stage = adoption->running ? STAGE_RUNNING : STAGE_ENDED;
    if (adoption->running)
        return 0;
    adoption->id = 0;
    if (adoption->r)
        *failure = adoption->failure;
    return adoption->r;
}

static int find_or_begin(struct adoption_task *adoption, int64_t id, const char *owner,
                         bool may_begin, enum stage *ret_stage, struct failure *failure) {
    int r;

    pthread_mutex_lock(&adoption->mutex);
    r = find(adoption, id, ret_stage, failure);
    if (!r && *ret_stage == STAGE_NONE && may_begin)
        r = begin(adoption, id, owner, failure);
    pthread_mutex_unlock(&adoption->mutex);
    return r;
}

static int read_owner(const struct caller *caller, const json_t *request, const char **ret_owner,
                      struct failure *failure) {
    const json_t *value = json_object_get(request, "owner");
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)request, key, member) {
        if (!str_equal(key, "owner"))
            return failure_field(failure, key, "known is owner", "unknown field");
    }
    *ret_owner = caller->owner;
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return failure_field(failure, "owner", NULL, "must be a string");
    *ret_owner = json_string_value(value);
    return owner_check(*ret_owner, failure);
}

/* Is the folder fit for adoption, as far as can be known without reading all of it? */
static int check(struct adoption_task *adoption, int64_t id, struct failure *failure) {
    cleanup(orphan_done) struct orphan orphan = {};
    int r = orphan_look(adoption->jobs, id, &orphan, failure);

    if (r || orphan.state == ORPHAN_FINISHED)
        return r;
    *failure = orphan.why;
    name_folder(failure, id);
    return -EBUSY;
}

int adoption_ask(struct adoption_task *adoption, const struct caller *caller, int64_t id,
                 const json_t *request, json_t **ret_state, bool *ret_adopted,
                 struct failure *failure) {
    enum stage stage = STAGE_NONE;
    const char *owner = NULL;
    uint64_t version;
    int r = read_owner(caller, request, &owner, failure);

    if (!r)
        r = find_or_begin(adoption, id, owner, false, &stage, failure);
    if (!r && stage == STAGE_NONE) {
        r = check(adoption, id, failure);
        if (!r)
            r = find_or_begin(adoption, id, owner, true, &stage, failure);
    }
    if (r)
        return r;
    *ret_adopted = stage == STAGE_ENDED;
    if (*ret_adopted)
        return jobs_object(adoption->jobs, caller, id, 0, ret_state, &version, failure);
    *ret_state =
        json_pack("{ss sI ss}", "object", "adoption", "id", (json_int_t)id, "status", "running");
    return *ret_state ? 0 : failure_oom(failure);
}
