// SPDX-License-Identifier: Apache-2.0
/*
 * The state of a job that is followed, kept up to date by its events. On a terminal it is shown as
 * a block (display_draw.h); elsewhere a line is printed for each step. Events are not trusted. One
 * thread.
 */
#pragma once

#include "client/job/layers.h"
#include "client/screen/block.h"

#include <jansson.h>

#define DISPLAY_EVALS_MAX 16
#define DISPLAY_NAME_SIZE 96

/* In the order of a job. */
enum display_phase {
    DISPLAY_PULL,
    DISPLAY_LOAD,
    DISPLAY_PLAN,
    DISPLAY_CALIBRATE,
    DISPLAY_QUANTIZE,
    DISPLAY_EVALUATE,
    DISPLAY_EXPORT,
    N_DISPLAY_PHASES,
};

enum phase_state { PHASE_NONE, PHASE_AHEAD, PHASE_NOW, PHASE_DONE };

/* One of the matrices with the largest error so far. */
struct display_matrix {
    int64_t layer;
    char name[DISPLAY_NAME_SIZE]; /* without its layer */
    double error;
    int64_t tokens;    /* that reached it; -1: not known */
    char fallback[32]; /* the method that replaced the requested one; empty: none */
};

struct display_eval {
    char set[DISPLAY_NAME_SIZE];
    double value, error, baseline; /* NAN: not known */
};

struct display {
    struct block block;
    int64_t id;
    char title[256], name[128], step[96];   /* step: what happens outside of the phases */
    double percdamp;                        /* of the request */
    int64_t hidden_size, intermediate_size; /* input features of the matrices; 0: not known */
    struct {
        enum phase_state state;
        double began_at; /* daemon's clock, seconds since 1970; NAN: not known */
        double seconds;
    } phases[N_DISPLAY_PHASES];
    int phase;                            /* the present one, -1: none */
    char device[32], device_name[64];     /* "cuda:0", "NVIDIA H200"; may be empty */
    json_t *devices;                      /* of GET /v1/devices, owned; NULL: not known */
    double fraction, eta_seconds, eta_at; /* NAN: not known; clock_monotonic() */
    double tokens_per_second;             /* NAN: not known */
    int64_t layer, n_layers;              /* the present one, from 0; how many, 0: not known */
    char detail[DISPLAY_NAME_SIZE],
        file[DISPLAY_NAME_SIZE];                   /* the newest of a phase; may be empty */
    struct display_matrix worst[LAYERS_WORST_MAX]; /* the largest error first */
    int n_worst;
    int64_t n_matrices;
    struct display_eval evals[DISPLAY_EVALS_MAX];
    int n_evals;
    char notice[256];  /* the newest notice; may be empty */
    char trouble[256]; /* while the connection is lost; else empty */
    int n_warnings;
    double begun_at;     /* clock_monotonic() */
    double clock_offset; /* of the daemon's clock to clock_monotonic(); NAN: not known */
    double drawn_at;
};

/* display_begin() - the state of @job; nothing is drawn yet. */
void display_begin(struct display *display, struct terminal *terminal, const json_t *job);

/* display_job() - update the state from the job object. */
void display_job(struct display *display, const json_t *job);

/* display_devices() - take the name of the device from the answer of GET /v1/devices. */
void display_devices(struct display *display, json_t *devices);

/*
 * display_event() - update the state from an event {type, at, data}. Return: true: it is the last
 * event of the job.
 */
bool display_event(struct display *display, const json_t *envelope);

/* display_trouble() - the connection is lost, with @text to show; NULL: connected again. */
void display_trouble(struct display *display, const char *text);

/* display_lacks_facts() - is the size of the model unknown? A new GET of the job may have it. */
bool display_lacks_facts(const struct display *display);

/* display_end() - remove the block, and free what the state holds. */
void display_end(struct display *display);

/* display_phase_name() - "quantize". */
const char *display_phase_name(enum display_phase phase);
