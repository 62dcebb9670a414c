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
#define SLURM_COLUMNS "%i|%T|%N|%S|%P|%j|%r"

#define SLURM_NAME_MAX 96

struct slurm_job {
    int64_t id;
    char state[32], node[256], reason[160];
    char name[SLURM_NAME_MAX];
    int64_t starts_at; /* ms since 1970: it started, or is expected to; 0: not known */
    bool several;      /* it may start in more than one partition */
};

/* The columns that slurm_judge_partitions() reads: partition, is it up, nodes, their state. */
#define SLURM_NODES "%P|%a|%D|%T"

enum slurm_partitions {
    SLURM_USABLE, /* at least one of them is up, and has nodes that work or wait for work */
    SLURM_UNUSABLE,
    SLURM_ABSENT, /* one of them is not there: sbatch refuses the job, whatever the others are */
};

enum slurm_phase {
    SLURM_WAITING,
    SLURM_RUNNING, /* unknown states too: they are no failures */
    SLURM_SUSPENDED,
    SLURM_OVER,
};

/* slurm_phase() - of a state as squeue's %T has it. */
enum slurm_phase slurm_phase(const char *state);

/*
 * slurm_is_hopeless() - does a job that waits for the reason of @job wait for ever? Of one with
 * several partitions Slurm keeps the reason of one that is too small while another one is busy.
 */
bool slurm_is_hopeless(const struct slurm_job *job);

/* slurm_parse_job() - a line of squeue, without its newline. Return: 0; -EINVAL: it is none. */
int slurm_parse_job(const char *line, size_t size, struct slurm_job *ret_job);

/*
 * slurm_parse_jobs() - all that squeue printed: calls @each with each job. Return: 0; -EBADMSG: it
 * is no list of jobs, as far as can be seen: not even the number of jobs is known.
 */
int slurm_parse_jobs(const char *text, size_t size,
                     void (*each)(void *ctx, const struct slurm_job *job), void *ctx);

/*
 * slurm_judge_partitions() - by what sinfo printed, of the partitions @names, as "a,b"; NULL: the
 * default one. What was found of each goes into @detail, for people.
 */
enum slurm_partitions slurm_judge_partitions(const char *text, const char *names, char *detail,
                                             size_t size);

/* slurm_parse_submitted() - the id in what sbatch --parsable printed; 0: it has none. */
int64_t slurm_parse_submitted(const char *text);

/* slurm_is_unsure() - sbatch failed with @text: may the job be there all the same? */
bool slurm_is_unsure(const char *text);

/* slurm_last_line() - the last line of @text that is not empty, of a message to people. */
void slurm_last_line(const char *text, char *line, size_t size);
