// SPDX-License-Identifier: Apache-2.0
/*
 * The folders of trial jobs, jobs-dir/trial-NONCE. A check that was killed leaves its own behind.
 * Any thread.
 */
#pragma once

#include "base/failure.h"

#include <stdbool.h>

/*
 * trial_dirs_make() - a new one for the run @nonce. The caller owns *ret_dir, and removes the
 * folder by dir_remove(). Return: 0 or -errno with the failure.
 */
int trial_dirs_make(const char *jobs_dir, const char *nonce, char **ret_dir,
                    struct failure *failure);

/*
 * trial_dirs_clean() - remove those of checks that were killed: folders of this user that are older
 * than any check takes. Links are not followed. The name is the only record of the trial job: @each
 * is called with the nonce of each, and returns whether that job is cancelled and the folder may
 * go. What cannot be removed stays.
 */
void trial_dirs_clean(const char *jobs_dir, bool (*each)(void *ctx, const char *nonce), void *ctx);
