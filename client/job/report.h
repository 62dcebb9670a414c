// SPDX-License-Identifier: Apache-2.0
/* The results of a job, as text for people. One thread. */
#pragma once

#include "client/client.h"
#include "client/job/layers.h"
#include "client/screen/text.h"

#include <jansson.h>

/*
 * report_result() - perplexities, worst matrices, size, time, files and warnings of a job; parts
 * that are missing are left out. @saves: the files are saved next, without another command.
 */
int report_result(const struct terminal *terminal, const json_t *job, const struct layers *sum,
                  bool saves, struct failure *failure);

/*
 * report_change() - the perplexity on @set against that of the original, "+2.50 %", with its
 * standard error when the two were compared token by token: "+2.50 ± 0.11 %". "": not known.
 */
void report_change(const json_t *job, const char *set, bool utf8, char ret_text[TEXT_SIZE]);

/* report_error() - why the job failed, and the hint; nothing when it did not fail. */
void report_error(const struct terminal *terminal, const json_t *job);

/*
 * report_layers() - GET the layers of the job and sum them up; *ret_list, owned by the caller,
 * holds the strings of *ret_sum.
 */
int report_layers(struct client *client, const json_t *job, struct layers *ret_sum,
                  json_t **ret_list, struct failure *failure);

/* report_job() - the whole report of a job that has ended. Return: 0 or what http.h says. */
int report_job(struct client *client, const json_t *job, bool saves, struct failure *failure);
