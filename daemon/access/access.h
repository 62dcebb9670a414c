// SPDX-License-Identifier: Apache-2.0
/*
 * Who may do what to a job or a group. daemon/access/ may use base, the store's rows and the
 * callers of api/service.h. Any thread.
 */
#pragma once

#include "api/service.h"
#include "daemon/store/store.h"

/* access_viewer() - whose private jobs a list for @caller shows, for the store; NULL: those of all
 * owners.
 */
const char *access_viewer(const struct caller *caller);

/* access_see() - may @caller see the job? Return: 0, or -EPERM with the failure. */
int access_see(const struct caller *caller, const struct job_row *row, struct failure *failure);

/*
 * access_change() - may @caller @verb ("cancel") the job? Return: 0, or -EPERM with the failure.
 */
int access_change(const struct caller *caller, const struct job_row *row, const char *verb,
                  struct failure *failure);

/* access_see_group(), access_change_group() - the same for a group of jobs. */
int access_see_group(const struct caller *caller, const struct group_row *row,
                     struct failure *failure);
int access_change_group(const struct caller *caller, const struct group_row *row, const char *verb,
                        struct failure *failure);
