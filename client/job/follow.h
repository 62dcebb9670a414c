// SPDX-License-Identifier: Apache-2.0
/* Following a job by its events until it ends. One thread. */
#pragma once

#include "client/client.h"

#include <jansson.h>

/*
 * follow_job() - show how far the job is until it ends; a connection that breaks is made anew and
 * resumed after the last event, for some minutes.
 * @job: the job as known; replaced by newer ones, in the end the final one
 *
 * Return: 0: it has ended; -EINTR: interrupted, the job goes on; or what http.h says.
 */
int follow_job(struct client *client, json_t **job, struct failure *failure);

/*
 * follow_to_the_end() - follow_job(), then the report of the result, for --json the job on
 * stdout; Ctrl-C detaches and says how to come back, and how to save then.
 * @save: where the checkpoint of a job that succeeded goes; NULL: nowhere
 * @force: files that are there already may be replaced
 *
 * Return: an exit status, or -errno.
 */
int follow_to_the_end(struct client *client, json_t **job, const char *save, bool force,
                      struct failure *failure);
