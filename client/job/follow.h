// SPDX-License-Identifier: Apache-2.0
/* Following a job by its events until it ends. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/*
 * follow_job() - show the progress of a job until it ends. After a lost connection it connects
 * again, for up to ten minutes, and resumes after the last event.
 * @job: replaced by newer versions of it, in the end by the final one
 *
 * Return: 0: it has ended; -EINTR: interrupted, the job continues; or what http.h says.
 */
int follow_job(struct client *client, json_t **job, struct failure *failure);

/*
 * follow_to_the_end() - follow_job(), then the report of the result. Ctrl-C detaches, and prints
 * the commands to follow the job and to save.
 * @save: where the checkpoint of a job that succeeded goes; NULL: nowhere
 * @force: files that are there already may be replaced
 *
 * Return: an exit status, or -errno.
 */
int follow_to_the_end(struct client *client, json_t **job, const char *save, bool force,
                      struct failure *failure);
