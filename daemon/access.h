// SPDX-License-Identifier: Apache-2.0
/* Who may do what to a job. Any thread. */
#pragma once

#include "api/service.h"
#include "daemon/store.h"

/* access_sees_all() - are there no jobs that are hidden from @caller? */
bool access_sees_all(const struct caller *caller);

/* access_owns() - is it a job of @caller, or @caller an admin? */
bool access_owns(const struct caller *caller, const struct job_row *row);

/*
 * access_change() - may @caller @verb ("cancel") the job, which it may see? Return: 0, or -EPERM
 * with the failure.
 */
int access_change(const struct caller *caller, const struct job_row *row, const char *verb,
                  struct failure *failure);
