// SPDX-License-Identifier: Apache-2.0
/*
 * The cluster as the configuration describes it: how its programs are called, and what a job of
 * ours is called there. Nothing that a client sends becomes an option of a program.
 */
#pragma once

#include "daemon/config/config.h"
#include "daemon/data/corpus.h"
#include "daemon/executor/slurm/answer.h"
#include "daemon/executor/slurm/command.h"
#include "daemon/queue/jobs.h"

#define SITE_ENVIRONMENT_MAX 8
#define SITE_SECONDS 60 /* for each program */

/* Used by one thread. */
struct site {
    const struct config *config;                 /* borrowed; may be replaced */
    const char *bin;                             /* folder of the programs; borrowed */
    char instance[RUN_INSTANCE_SIZE];            /* of the store */
    char *environment[SITE_ENVIRONMENT_MAX + 1]; /* of the programs; owned */
    char uid[24];
};

/*
 * site_init() - check that the programs are there. @config is borrowed; @store NULL: the names of
 * jobs are no daemon's. To be freed by site_done(), also when it fails. Return: 0 or -errno with
 * the failure.
 */
int site_init(struct site *site, const struct config *config, struct store *store,
              struct failure *failure);
void site_done(struct site *site);

/* site_job_name() - what the run @nonce of job @id is called on the cluster. */
void site_job_name(const struct site *site, int64_t id, const char *nonce,
                   char name[SLURM_NAME_MAX]);

/* site_make_nonce() - a new one. Return: 0 or -errno. */
int site_make_nonce(char nonce[RUN_NONCE_SIZE]);

/*
 * site_prepare() - the folder of the job @row with its job.json, and the fence set to @nonce. The
 * caller owns *ret_dir. Return: 0 or -errno with the failure.
 */
int site_prepare(struct jobs *jobs, const struct corpora *corpora, const struct job_row *row,
                 const char *nonce, char **ret_dir, struct failure *failure);

/*
 * site_submit() - start sbatch for the run @nonce in the folder @dir, called @name; @exclude: a
 * node that it is not to run on, or "". Return: 0 or -errno with the failure: it was not started.
 */
int site_submit(const struct site *site, struct command *command, const char *dir,
                const char *nonce, const char *name, const char *exclude, struct failure *failure);

/* site_list() - start squeue for all jobs of this user, with SLURM_COLUMNS. Return: as above. */
int site_list(const struct site *site, struct command *command, struct failure *failure);

/* site_knows_partition() - may no further option of sbatch send jobs to another partition? */
bool site_knows_partition(const struct site *site);

/*
 * site_partition() - start sinfo for the partitions of our jobs, for all when none is named, with
 * SLURM_NODES. Return: as above.
 */
int site_partition(const struct site *site, struct command *command, struct failure *failure);

/* site_cancel() - start scancel for the job @name, when it has the number @id; 0: any. As above. */
int site_cancel(const struct site *site, struct command *command, const char *name, int64_t id,
                struct failure *failure);
