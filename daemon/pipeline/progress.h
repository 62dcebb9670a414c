// SPDX-License-Identifier: Apache-2.0
/*
 * How far a run is, in units of work: one window through one layer. The thread of the run.
 */
#pragma once

#include <stdbool.h>

struct run;

enum phase { PHASE_LOAD, PHASE_CALIBRATE, PHASE_QUANTIZE, PHASE_EVALUATE, PHASE_EXPORT, N_PHASES };

extern const char *const phase_names[N_PHASES];

struct progress {
    enum phase phase;
    int layer;            /* being worked on; 0 outside of the layers */
    double done, total;   /* units */
    double resumed;       /* units that were done before this run began */
    double started;       /* when the units began, monotonic */
    double phase_started; /* monotonic */
    double phase_done;    /* units that were done when the phase began */
    double told;          /* when the observer last heard, monotonic */
    double told_done;     /* units that it heard of */
    double seconds[N_PHASES];
};

/* progress_phase() - begin a phase with its event; the one before ends. */
int progress_phase(struct run *run, enum phase phase);

/* progress_plan() - the total, once inputs are known and finished layers counted. */
void progress_plan(struct run *run);

/* progress_add() - @units are done; tells the observer at most five times a second. */
int progress_add(struct run *run, double units);

/* progress_end() - the phase is over: the observer hears of all its units, and its clock stops. */
int progress_end(struct run *run);
