// SPDX-License-Identifier: Apache-2.0
/*
 * A job as its events tell of it, for people who follow it: on a terminal one block that is drawn
 * in place (view_lines.c), elsewhere a line for each thing that happens. What the events hold is
 * not trusted. One thread.
 */
#pragma once

#include "client/job.h"
#include "client/screen/block.h"

#include <jansson.h>

#define VIEW_EVALS_MAX 16
#define VIEW_NAME_SIZE 96

/* In the order in which a job goes through them. */
enum view_phase {
    VIEW_PULL,
    VIEW_LOAD,
    VIEW_CALIBRATE,
    VIEW_QUANTIZE,
    VIEW_EVALUATE,
    VIEW_EXPORT,
    N_VIEW_PHASES,
};

enum phase_state { PHASE_NONE, PHASE_AHEAD, PHASE_NOW, PHASE_DONE };

/* A matrix of those with the largest error so far. */
struct view_matrix {
    int64_t layer;
    char name[VIEW_NAME_SIZE]; /* without its layer */
    double error;
    int64_t tokens; /* that it saw; -1: not known */
    bool nearest;   /* GPTQ was asked for and could not be done */
};

struct view_eval {
    char set[VIEW_NAME_SIZE];
    double value, error, baseline; /* NAN: not known */
};

struct view {
    struct block block;
    int64_t id;
    char title[256], name[128], step[96];   /* step: what goes on outside of the phases */
    bool gptq;                              /* calibrated: nearest is a fallback */
    double percdamp;                        /* asked for; more is worth a word */
    int64_t hidden_size, intermediate_size; /* input features of the matrices; 0: not known */
    struct {
        enum phase_state state;
        double began_at; /* daemon's clock, seconds since 1970; NAN: not known */
        double seconds;
    } phases[N_VIEW_PHASES];
    int phase;                            /* the one that goes on, -1: none */
    char device[32], device_name[64];     /* "cuda:0", "NVIDIA H200"; may be empty */
    json_t *devices;                      /* as they were answered, owned; NULL: not known */
    double fraction, eta_seconds, eta_at; /* NAN: not known; clock_monotonic() */
    double tokens_per_second;             /* NAN: not known */
    int64_t layer, n_layers;              /* being worked on, from 0; of all, 0: not known */
    char detail[VIEW_NAME_SIZE], file[VIEW_NAME_SIZE]; /* the newest of a phase; may be empty */
    struct view_matrix worst[JOB_WORST_MAX];           /* the largest error first */
    int n_worst;
    int64_t n_matrices, n_nearest;
    struct view_eval evals[VIEW_EVALS_MAX];
    int n_evals;
    char notice[256];  /* what people should know; may be empty */
    char trouble[256]; /* as long as the connection is lost; else empty */
    int n_warnings;
    double begun_at;     /* clock_monotonic() */
    double clock_offset; /* of the daemon's clock to clock_monotonic(); NAN: not known */
    double drawn_at;
};

/* view_begin() - the view of @job, as it was answered; nothing is drawn yet. */
void view_begin(struct view *view, struct terminal *terminal, const json_t *job);

/* view_job() - take over the job object as it is now. */
void view_job(struct view *view, const json_t *job);

/* view_devices() - take over the answer of GET /v1/devices, for the name of the device. */
void view_devices(struct view *view, json_t *devices);

/*
 * view_event() - take over an event, its envelope {type, at, data}. Return: true: no event of the
 * job follows.
 */
bool view_event(struct view *view, const json_t *envelope);

/* view_trouble() - the connection is lost (what to say), or NULL: it stands again. */
void view_trouble(struct view *view, const char *text);

/* view_lacks_facts() - would the job object, asked for again, say more about the model? */
bool view_lacks_facts(const struct view *view);

/* view_draw() - show the block as it is now; not more often than an eye can see but for @now. */
void view_draw(struct view *view, bool now);

/* view_lines() - what the block shows, at most @most lines. Return: how many. */
int view_lines(const struct view *view, struct line *lines, int most);

/* view_end() - take the block away, and what the view holds. */
void view_end(struct view *view);

/* view_phase_name() - "quantize". */
const char *view_phase_name(enum view_phase phase);
