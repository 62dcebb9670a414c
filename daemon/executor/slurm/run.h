// SPDX-License-Identifier: Apache-2.0
/*
 * One run of a job on the cluster. Its folder is the truth, and what Slurm says a rumour: the
 * events in the folder go to the sink as they come, and how the run ended follows from its last
 * line, or, when there is none, from what Slurm says for a while. All by the executor's thread.
 */
#pragma once

#include "daemon/executor/sink.h"
#include "daemon/executor/slurm/answer.h"
#include "daemon/store/runs.h"

enum slurm_step {
    SLURM_READY, /* sbatch was not called */
    SLURM_ASKED, /* it was, and whether the job is there is not known */
    SLURM_THERE, /* it is, or was */
};

struct slurm_run {
    struct run_row row;  /* as in the ledger */
    struct job_row *job; /* owned */
    char *dir;           /* of the job; owned */
    char name[SLURM_NAME_MAX];
    enum slurm_step step;
    char
        avoid[256]; /* a node that failed under the run before, which sbatch leaves out; "": none */

    /* Its events. */
    struct sink sink;
    struct run_mark mark;
    atomic_bool cancel; /* the job shall end */
    bool started;       /* it reported something */
    double heard_at;    /* monotonic: the last time */
    bool ended;         /* its last line came, ... */
    struct run_end end; /* ... and says this */
    bool broken;        /* its events are no good, ... */
    struct failure why; /* ... because of this */
    bool hung;          /* it is stopped because it was silent for too long */
    bool warned_silent, warned_held;

    /* What Slurm says. */
    bool listed; /* by the list that is being read: */
    struct slurm_job as_listed;
    char refused[256];    /* what sbatch said; "": nothing, or it may have taken the job */
    char hopeless[160];   /* why it would wait for ever; "": it may start */
    bool requeued;        /* it ran, and Slurm has put it back: it is stopped */
    bool starved;         /* no node but the one to avoid may be free: it is stopped */
    double over_since;    /* monotonic: it is over; 0: it is not */
    double missing_since; /* monotonic: it is in no list; 0: it is in one */
    bool missing_long;    /* and was not for so long that it will be in none */
    double stopped_at;    /* monotonic: when scancel was last called; 0: it was not */
};

/* How long things may take; seconds. */
struct slurm_patience {
    double settle;  /* until what a dead run wrote is seen here, and a late job in a list */
    double avoid;   /* for a node, while one that failed is left out */
    double silence; /* of a run, until it is reported */
    double hang;    /* of a run, until it is stopped */
};

/*
 * slurm_run_new() - the open run @row of the ledger, of its job @job, which is taken over. @stop
 * and @alive: as in struct sink. The caller owns *ret_run. Return: 0 or -ENOMEM.
 */
int slurm_run_new(struct jobs *jobs, const struct run_row *row, struct job_row *job,
                  const atomic_bool *stop, void (*alive)(void *ctx), void *ctx,
                  struct slurm_run **ret_run);
void slurm_run_free(struct slurm_run *run); /* NULL is fine */

/* slurm_run_read() - take the events that are new. */
void slurm_run_read(struct slurm_run *run);

/*
 * slurm_run_note() - a good list of all jobs of the cluster was read, which was asked for at
 * @asked_at (monotonic): run->listed, as_listed. Return: true when that is news.
 */
bool slurm_run_note(struct slurm_run *run, double asked_at, const struct slurm_patience *patience);

/* slurm_run_submitted() - sbatch has taken the job as number @id. */
void slurm_run_submitted(struct slurm_run *run, int64_t id);

/* slurm_run_to_stop() - is scancel to be called for it now? */
bool slurm_run_to_stop(const struct slurm_run *run);

enum slurm_fate {
    SLURM_GOES_ON,
    SLURM_AGAIN,  /* it never was on the cluster: it is to be submitted with a new nonce */
    SLURM_CLOSED, /* what became of the job is recorded */
};

/* slurm_run_judge() - has it ended, and how? Then that is recorded. */
enum slurm_fate slurm_run_judge(struct slurm_run *run, const struct slurm_patience *patience);
