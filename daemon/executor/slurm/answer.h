// SPDX-License-Identifier: Apache-2.0
/*
 * What the programs of Slurm print: their words as data. All input is hostile: sites have programs
 * of their own in front, which print banners, headers and other things. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The columns that slurm_parse_job() reads; the last one may hold anything. */
#define SLURM_COLUMNS "%i|%T|%N|%S|%j|%r"

#define SLURM_NAME_MAX 96

struct slurm_job {
    int64_t id;
    char state[32], node[256], reason[160];
    char name[SLURM_NAME_MAX];
    int64_t starts_at; /* ms since 1970: it started, or is expected to; 0: not known */
};

/* The columns that slurm_parse_partition() reads: partition, whether it is up, nodes, their state.
 */
#define SLURM_NODES "%P|%a|%D|%T"

struct slurm_partition {
    char name[64];
    bool up;
    int n_nodes, n_usable; /* usable: work, or wait for work */
};

enum slurm_phase {
    SLURM_WAITING,
    SLURM_RUNNING, /* unknown states too: they are no failures */
    SLURM_SUSPENDED,
    SLURM_OVER,
};

/* slurm_phase() - of a state as squeue's %T has it. */
enum slurm_phase slurm_phase(const char *state);

/* slurm_is_hopeless() - does a job that waits for @reason wait for ever? */
bool slurm_is_hopeless(const char *reason);

/* slurm_parse_job() - a line of squeue, without its newline. Return: 0; -EINVAL: it is none. */
int slurm_parse_job(const char *line, size_t size, struct slurm_job *ret_job);

/*
 * slurm_parse_jobs() - all that squeue printed: calls @each with each job. Return: 0; -EBADMSG: it
 * is no list of jobs, as far as can be seen: not even the number of jobs is known.
 */
int slurm_parse_jobs(const char *text, size_t size,
                     void (*each)(void *ctx, const struct slurm_job *job), void *ctx);

/*
 * slurm_parse_partition() - what sinfo printed, of the default partition when several are listed;
 * n_nodes 0: it has none.
 */
void slurm_parse_partition(const char *text, struct slurm_partition *ret_partition);

/* slurm_parse_submitted() - the id in what sbatch --parsable printed; 0: it has none. */
int64_t slurm_parse_submitted(const char *text);

/* slurm_is_unsure() - sbatch failed with @text: may the job be there all the same? */
bool slurm_is_unsure(const char *text);

/* slurm_last_line() - the last line of @text that is not empty, of a message to people. */
void slurm_last_line(const char *text, char *line, size_t size);
