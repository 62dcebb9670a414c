// SPDX-License-Identifier: Apache-2.0
/*
 * Copies of the database, made while the daemon works: one at a time, by a thread of its own, in
 * steps between which others use the store. A copy is checked and fsynced before it gets its name,
 * STATE/backups/quantd-TIME.db; the newest few stay. The files of jobs are not in it.
 */
#pragma once

#include "api/service.h"
#include "base/hash.h"
#include "base/task.h"
#include "daemon/files/disk.h"
#include "daemon/store/store.h"

#define BACKUPS_KEPT 3

struct backup {
    struct store *store; /* all borrowed */
    struct disk *disk;
    const char *state_dir;
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards all below, which is of the newest backup */
    struct task task;
    char name[48];  /* "": none was asked for yet */
    int64_t at;     /* ms since 1970 */
    bool running;   /* else it is done, or failed */
    uint64_t bytes; /* 0: not done */
    char sha256[SHA256_TEXT_SIZE];
    struct failure failure;
};

/* backup_init() - all are borrowed. Removes what a crash left of an unfinished one. */
void backup_init(struct backup *backup, struct store *store, struct disk *disk,
                 const char *state_dir);

/* backup_done() - stop a backup that runs; zeroed is fine. Nobody may use it any more. */
void backup_done(struct backup *backup);

/*
 * backup_begin() - as struct service's backup; @owner asks. Return: 0; -EBUSY (backup_running);
 * -ENOSPC (disk_full); or another -errno. Any thread.
 */
int backup_begin(struct backup *backup, const char *owner, json_t **ret_state,
                 struct failure *failure);

/* backup_state() - as struct service's backup_state. Any thread. */
int backup_state(struct backup *backup, json_t **ret_state, struct failure *failure);

/* backup_open() - as struct service's backup_open. Any thread. */
int backup_open(struct backup *backup, const char *name, struct artifact *ret_file,
                struct failure *failure);
