// SPDX-License-Identifier: Apache-2.0
/*
 * DIR/work/plan.json: what the bytes of a job's layers depend on. An attempt that finds the plan
 * of an earlier one goes on with its layers only when the two agree. The thread of the run.
 */
#pragma once

#include "daemon/pipeline/run.h"

struct plan {
    json_t *settings; /* {version, device, library, layout, params, seqlen, calibration}; owned */
    json_t *files;    /* [[device, inode, size, mtime_ns, ctime_ns]] of the model; owned */
    int batch;        /* windows at a time; 0: not chosen yet */
    char model[SHA256_TEXT_SIZE]; /* fingerprint; "": was not known yet */
};

void plan_done(struct plan *plan);

/* plan_make() - of this attempt, as far as it is known. Return: 0 or -ENOMEM. */
int plan_make(const struct run *run, struct plan *ret_plan);

/* plan_read() - of an earlier attempt; zeroed when there is none or it is damaged. 0 or -ENOMEM. */
int plan_read(const struct run *run, struct plan *ret_plan);

/* plan_write() - durably; the folder is there. Return: 0 or -errno with the failure. */
int plan_write(struct run *run, const struct plan *plan);

/*
 * plan_difference() - the first setting in which the plans differ, as a sentence for people, owned
 * by the caller. *ret_text is NULL when they agree. Return: 0 or -ENOMEM.
 */
int plan_difference(const struct plan *then, const struct plan *now, char **ret_text);
