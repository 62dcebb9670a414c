// SPDX-License-Identifier: Apache-2.0
/* Downloading what a job made. One thread. */
#pragma once

#include "client/client.h"

/*
 * save_job() - download all files of a job into @dir: folder.h says how. A file that is there
 * already and the same is kept. Another one of its name, or one that a reader of checkpoints would
 * take for part of it, is refused (-EEXIST) before anything is loaded, or replaced and removed with
 * @force. 0 means that @dir holds all files of the job, with their SHA-256.
 */
int save_job(struct client *client, int64_t id, const char *dir, bool force,
             struct failure *failure);
