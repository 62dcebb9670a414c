// SPDX-License-Identifier: Apache-2.0
/*
 * Which run may write in a job's folder. JOBDIR/run holds the nonce of that run: who begins a run
 * sets it first, and a run that reads another one in it ends itself. JOBDIR/lock is locked while a
 * run works, so that the next one begins after the last write of the one before. Both work over a
 * file system that several machines share.
 */
#pragma once

#include "base/failure.h"

#include <stdbool.h>

#define FENCE_NONCE_MAX 64 /* bytes */

/* Of a job's folder, with a nonce: that run was begun a second time, and left the folder alone. */
#define FENCE_AGAIN "again.%s"

/* fence_is_nonce() - may @text be a nonce? 1 to FENCE_NONCE_MAX of [0-9A-Za-z._-]. Any thread. */
bool fence_is_nonce(const char *text);

/*
 * fence_set() - from now on only the run @nonce may write in the folder @dir. It is on disk on
 * return. Return: 0 or -errno with the failure. Any thread.
 */
int fence_set(const char *dir, const char *nonce, struct failure *failure);

enum fence {
    FENCE_OPEN,  /* there is none */
    FENCE_MINE,  /* the nonce is its, or it cannot be read now */
    FENCE_OTHER, /* another run's */
};

/* fence_look() - what does the fence of @dir say to the run @nonce? Any thread. */
enum fence fence_look(const char *dir, const char *nonce);

/*
 * fence_lock() - lock the folder @dir until *ret_fd, the caller's, is closed or the process ends.
 * Return: 0; -EBUSY (job_folder_busy): another run holds it; or -errno. Any thread.
 */
int fence_lock(const char *dir, int *ret_fd, struct failure *failure);
