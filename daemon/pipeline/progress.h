// SPDX-License-Identifier: Apache-2.0
/*
 * How far a run is, in units of work: one window through one layer. The thread of the run.
 */
#pragma once

#include "daemon/pipeline/job.h"

enum phase {
    PHASE_LOAD,
    PHASE_PLAN,
    PHASE_CALIBRATE,
    PHASE_QUANTIZE,
    PHASE_EVALUATE,
    PHASE_EXPORT,
    N_PHASES
};

extern const char *const phase_names[N_PHASES];

/*
 * A window costs one unit a layer and pass. A layer that is quantized takes two passes of @windows,
 * which count twice when two models go through it, and its solver, @solve units; the head of the
 * model counts as one more layer.
 */
static inline double progress_quantize_units(int layers, double windows, double solve) {
    return layers * (2 * windows + solve);
}

/* @compares: the original's layers see the windows too. */
static inline double progress_evaluate_units(int layers, double windows, bool compares) {
    return windows * (compares ? 2 * layers + 1 : layers + 1);
}

/* How much there is to do, once the inputs are known and the finished layers are counted. */
struct progress_plan {
    int layers;
    double total, done;               /* units; done: before this run began */
    double tokens_per_unit[N_PHASES]; /* tokens through the whole model; 0: not a measure of it */
};

struct progress {
    const struct pipeline_observer *observer; /* borrowed, as is the failure */
    struct failure *failure;
    struct progress_plan plan; /* zero before progress_begin() */
    enum phase phase;
    int layer;            /* being worked on; 0 outside of the layers */
    double done;          /* units */
    double started;       /* when the units began, monotonic */
    double phase_started; /* monotonic */
    double phase_done;    /* units that were done when the phase began */
    double reported;      /* when the observer was last called, monotonic */
    double reported_done; /* units in that report */
    double seconds[N_PHASES];
};

/* progress_phase() - begin a phase with its event; the one before ends. Return: 0 or -errno. */
int progress_phase(struct progress *progress, enum phase phase);

/* progress_begin() - the units begin. */
void progress_begin(struct progress *progress, const struct progress_plan *plan);

/* progress_add() - @units are done; reported at most five times a second. Return: 0 or -errno. */
int progress_add(struct progress *progress, double units);

/*
 * progress_end() - the phase is over: its last units are reported and its clock stops.
 * Return: 0 or -errno.
 */
int progress_end(struct progress *progress);
