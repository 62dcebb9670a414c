// SPDX-License-Identifier: Apache-2.0
/*
 * The executor of a cluster with Slurm, as its files share it. One thread for all runs: each second
 * it takes what the runs wrote into their folders; it calls one program of Slurm at a time and
 * waits for none. While Slurm does not answer nothing is concluded from that.
 */
#pragma once

#include "daemon/executor/executor.h"
#include "daemon/executor/slurm/run.h"
#include "daemon/executor/slurm/site.h"
#include "daemon/executor/slurm/waits.h"

#include <pthread.h>

#define SLURM_NAME "slurm"

enum task { TASK_NONE, TASK_LIST, TASK_PARTITION, TASK_SUBMIT, TASK_STOP };

struct slurm {
    struct executor executor;
    struct executor_config config;
    struct site site;
    struct slurm_patience patience;
    pthread_t thread;
    bool started;
    int wake_fd;
    atomic_bool stop, look;          /* look: jobs may have been cancelled */
    atomic_int n_waiting, n_running; /* runs, by Slurm's states when they were looked at last */
    atomic_int_fast64_t renewed;     /* lease_now() at the thread's last sign of life */

    pthread_mutex_t mutex; /* guards the next nine; held for no program and no transaction */
    pthread_cond_t cond;
    struct slurm_run **runs; /* [n_runs], owned; each is the thread's own */
    int n_runs;
    bool ended;
    bool answers;             /* Slurm did the last time, */
    struct failure why;       /* else this was the matter */
    struct failure partition; /* what is the matter with it; code "": nothing, or not known */
    struct waits waits;       /* of the runs that Slurm has not started, when they were looked at */
    struct config *options;   /* of the cluster; owned; replaced and changed by the thread alone */
    struct config *changed;   /* what they shall become; owned; NULL: they stay */

    /* The thread's own. */
    struct command command;
    enum task task;
    struct slurm_run *target; /* of the task; NULL: it has ended meanwhile, or the task has none */
    double list_at;           /* monotonic: the next list */
    double asked_at;          /* monotonic: when the last one was asked for */
    double partition_at;      /* monotonic: when it is looked at next */
    bool judged;              /* it was looked at with these options */
    double backoff;           /* seconds; 0: Slurm answered */
    double left_since;        /* monotonic: devices here leave a job to others; 0: they do not */
};

/* -------- runs (runs.c) -------- */

/*
 * runs_add() - the run @row of the ledger, of its job @job, which is taken over. *ret_run, when it
 * is not NULL, stays the list's. Return: 0 or -ENOMEM.
 */
int runs_add(struct slurm *slurm, const struct run_row *row, struct job_row *job,
             struct slurm_run **ret_run);

/* runs_load() - those of an earlier process that are under way. Return: 0 or -errno. */
int runs_load(struct slurm *slurm, struct failure *failure);

/* runs_look() - what they wrote, and what became of them. The thread. */
void runs_look(struct slurm *slurm);

/* runs_find_cancelled() - by the rows of their jobs. The thread. */
void runs_find_cancelled(struct slurm *slurm);

/* -------- programs (tasks.c); the thread -------- */

/* task_begin() - call one program, when one is to be called. Return: one was. */
bool task_begin(struct slurm *slurm);

/* task_end() - the program has ended with @status. */
void task_end(struct slurm *slurm, int status);

/* task_list_in() - the jobs of Slurm are to be listed in @seconds, or before. */
void task_list_in(struct slurm *slurm, double seconds);
