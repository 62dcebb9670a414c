// SPDX-License-Identifier: Apache-2.0
/*
 * Groups of jobs: what quantctl does with jobs that were submitted together. The object is a Group
 * as the daemon sent it. One thread.
 */
#pragma once

#include "client/client.h"
#include "client/screen/sheet.h"

#include <jansson.h>

/* Where groups are submitted. */
#define GROUP_PATH "/v1/groups"

/* group_get() - GET group @id. Return: 0 or what http.h says. */
int group_get(struct client *client, uint64_t id, json_t **ret_group, struct failure *failure);

/* group_has_ended() - have all of its jobs? */
bool group_has_ended(const json_t *group);

/*
 * group_values() - what is a member's own: "bits 3, groupsize 32". Cleaned, owned by the caller;
 * NULL when out of memory.
 */
char *group_values(const json_t *member);

/* group_show() - what the group is, and its table. Return: 0, or -ENOMEM with the failure. */
int group_show(const struct client *client, const json_t *group, struct failure *failure);

/*
 * group_table() - its jobs, the smallest first: what differs, bits, size, perplexity, divergence;
 * those that no other beats in both size and loss are marked. Return: 0, or -ENOMEM with the
 * failure.
 */
int group_table(const struct client *client, const json_t *group, struct failure *failure);

/* group_jobs() - its job objects, the smallest first; owned by the caller. */
int group_jobs(struct client *client, uint64_t id, json_t **ret_jobs, struct failure *failure);

/*
 * group_ids() - the jobs that the words of the command line name, those of "group:ID" one by one,
 * the smallest first, each of them once: an array of ids, owned by the caller. Return: 0; -EINVAL
 * (code usage); or what http.h says.
 */
int group_ids(struct client *client, const struct args *args, json_t **ret_ids,
              struct failure *failure);

/*
 * group_follow() - show its jobs, a line each, until all have ended or Ctrl-C; *group is replaced
 * by its newest state. Return: 0; -EINTR; or what http.h says.
 */
int group_follow(struct client *client, json_t **group, struct failure *failure);

/*
 * group_follow_to_the_end() - the same, then the table; after Ctrl-C how to go on. Return: an exit
 * status, or -errno.
 */
int group_follow_to_the_end(struct client *client, json_t **group, struct failure *failure);

/*
 * group_run() - what quantize and eval do: submit a job of @kind, or a group of them when values
 * differ, and follow it; or --detach, or --estimate. Return: an exit status, or -errno.
 */
int group_run(struct client *client, const struct args *args, const char *kind,
              struct failure *failure);
