// SPDX-License-Identifier: Apache-2.0
/* A service in memory, for tests of the API. Any thread. */
#pragma once

#include "api/service.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_JOBS 1024
#define FAKE_FILE_SIZE 100000
#define FAKE_TOKENS 8

struct fake_event {
    int64_t job;
    char type[32];
    char *text; /* owned */
};

struct fake {
    struct service service;
    pthread_mutex_t mutex;
    struct {
        char owner[80], status[16], key[160];
        uint64_t version;
        int layer;
        bool private;
    } jobs[FAKE_JOBS + 1]; /* by id */
    int n_jobs;
    struct {
        char text[64], name[32]; /* "": free */
        struct caller caller;
    } tokens[FAKE_TOKENS];
    uint64_t version;
    struct fake_event *events; /* seq is the index + 1 */
    size_t n_events, capacity;
    atomic_int submit_error, events_error; /* what these functions return, when not 0 */
    atomic_bool sick, backup_runs, adoption_runs;
    atomic_int n_event_queries;
    char folder[64]; /* of the artifacts */

    pthread_mutex_t wake_mutex;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

/* fake_backup_init() - the functions of @service that are about backups. */
void fake_backup_init(struct service *service);

/* fake_system_init() - those about devices, models and estimates. */
void fake_system_init(struct service *service);

/* fake_orphans_init() - the functions of @service that are about orphans. */
void fake_orphans_init(struct service *service);

/* fake_groups_init() - those about groups of jobs. */
void fake_groups_init(struct service *service);

struct fake *fake_new(void);
void fake_free(struct fake *fake);

/* fake_job() - a new job of "local", which runs, with its first event. Return: its id. */
int64_t fake_job(struct fake *fake);
/* fake_event() - store an event whose data holds @text, and wake. */
void fake_event(struct fake *fake, int64_t job, const char *type, const char *text);
/* fake_progress() - change the job's progress without a row, and wake. */
void fake_progress(struct fake *fake, int64_t job, int layer);
/* fake_set_status() - without an event; "": there is no such job any more. */
void fake_set_status(struct fake *fake, int64_t job, const char *status);
/* fake_give() - make it a job of @owner, @private or not. */
void fake_give(struct fake *fake, int64_t job, const char *owner, bool private);
/* fake_token() - from now on the token "NAME-token" is @owner's, with @role. */
void fake_token(struct fake *fake, const char *name, const char *owner, enum role role);
/* fake_revoke() - the token is none any more. */
void fake_revoke(struct fake *fake, const char *name);
/* fake_tokens_init() - the functions of @service that are about tokens. */
void fake_tokens_init(struct service *service);
/* fake_end() - the job succeeds. */
void fake_end(struct fake *fake, int64_t job);
void fake_wake(struct fake *fake);

/* Byte @i of the artifact model.safetensors. */
static inline unsigned char fake_byte(size_t i) {
    return (unsigned char)(i * 7 + i / 251);
}
