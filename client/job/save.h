// SPDX-License-Identifier: Apache-2.0
/* Downloading what a job made. One thread. */
#pragma once

#include "client/client.h"

/*
 * save_check() - can the files of a job be put into @dir? It may be missing; without @force one
 * that holds files already is refused, so that two checkpoints never mix. Return: 0, -EEXIST or
 * another -errno.
 */
int save_check(const char *dir, bool force, struct failure *failure);

/*
 * save_job() - download all artifacts of a job into @dir: first into DIR/.part, where an earlier
 * try goes on, each checked by size and SHA-256; then all are renamed. A file that is there
 * already and the same is kept; another one is refused unless @force.
 */
int save_job(struct client *client, int64_t id, const char *dir, bool force,
             struct failure *failure);
