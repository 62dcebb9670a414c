// SPDX-License-Identifier: Apache-2.0
/* What came out of a job, for people. One thread. */
#pragma once

#include "client/client.h"
#include "client/job/layers.h"

#include <jansson.h>

/* report_perplexity() - a blank line, the table of the job's perplexities; nothing when there are
 * none. */
int report_perplexity(const struct terminal *terminal, const json_t *job, struct failure *failure);

/* report_size() - a line on the size of the checkpoint; nothing when there is none. */
void report_size(const struct terminal *terminal, const json_t *job);

/* report_warnings() - lines on what did not go as asked for. */
void report_warnings(const struct terminal *terminal, const json_t *job, const struct layers *sum);

/*
 * report_result() - perplexities, worst matrices, size, time, files and warnings of a job, as far
 * as there are any.
 */
int report_result(const struct terminal *terminal, const json_t *job, const struct layers *sum,
                  struct failure *failure);

/* report_error() - why the job failed, two lines; nothing when it did not. */
void report_error(const struct terminal *terminal, const json_t *job);

/*
 * report_layers() - the layers of the job summed up; *ret_list, owned by the caller, holds the
 * strings that *ret_sum points to.
 */
int report_layers(struct client *client, const json_t *job, struct layers *ret_sum,
                  json_t **ret_list, struct failure *failure);

/* report_job() - all of it, of a job that has ended. Return: 0 or what http.h says. */
int report_job(struct client *client, const json_t *job, struct failure *failure);
