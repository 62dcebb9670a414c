// SPDX-License-Identifier: Apache-2.0
/*
 * A job as its events report it, for people who follow it: on a terminal one block that is drawn
 * in place (display_draw.c), elsewhere a line for each thing that happens. What the events hold is
 * not trusted. One thread.
 */
#pragma once

#include "client/job/layers.h"
#include "client/screen/block.h"

#include <jansson.h>

#define DISPLAY_EVALS_MAX 16
#define DISPLAY_NAME_SIZE 96

/* In the order in which a job goes through them. */
enum display_phase {
    DISPLAY_PULL,
    DISPLAY_LOAD,
    DISPLAY_CALIBRATE,
    DISPLAY_QUANTIZE,
    DISPLAY_EVALUATE,
    DISPLAY_EXPORT,
    N_DISPLAY_PHASES,
};

enum phase_state { PHASE_NONE, PHASE_AHEAD, PHASE_NOW, PHASE_DONE };

/* A matrix of those with the largest error so far. */
struct display_matrix {
    int64_t layer;
    char name[DISPLAY_NAME_SIZE]; /* without its layer */
    double error;
    int64_t tokens;    /* that it saw; -1: not known */
    char fallback[32]; /* the method that stood in for the one asked for; empty: none did */
};

struct display_eval {
    char set[DISPLAY_NAME_SIZE];
    double value, error, baseline; /* NAN: not known */
};

struct display {
    struct block block;
    int64_t id;
    char title[256], name[128], step[96];   /* step: what goes on outside of the phases */
    double percdamp;                        /* asked for; more is worth a word */
    int64_t hidden_size, intermediate_size; /* input features of the matrices; 0: not known */
    struct {
        enum phase_state state;
        double began_at; /* daemon's clock, seconds since 1970; NAN: not known */
        double seconds;
    } phases[N_DISPLAY_PHASES];
    int phase;                            /* the one that goes on, -1: none */
    char device[32], device_name[64];     /* "cuda:0", "NVIDIA H200"; may be empty */
    json_t *devices;                      /* as they were answered, owned; NULL: not known */
    double fraction, eta_seconds, eta_at; /* NAN: not known; clock_monotonic() */
    double tokens_per_second;             /* NAN: not known */
    int64_t layer, n_layers;              /* being worked on, from 0; of all, 0: not known */
    char detail[DISPLAY_NAME_SIZE],
        file[DISPLAY_NAME_SIZE];                   /* the newest of a phase; may be empty */
    struct display_matrix worst[LAYERS_WORST_MAX]; /* the largest error first */
    int n_worst;
    int64_t n_matrices;
    struct display_eval evals[DISPLAY_EVALS_MAX];
    int n_evals;
    char notice[256];  /* what people should know; may be empty */
    char trouble[256]; /* as long as the connection is lost; else empty */
    int n_warnings;
    double begun_at;     /* clock_monotonic() */
    double clock_offset; /* of the daemon's clock to clock_monotonic(); NAN: not known */
    double drawn_at;
};

/* display_begin() - the view of @job, as it was answered; nothing is drawn yet. */
void display_begin(struct display *display, struct terminal *terminal, const json_t *job);

/* display_job() - take over the job object as it is now. */
void display_job(struct display *display, const json_t *job);

/* display_devices() - take over the answer of GET /v1/devices, for the name of the device. */
void display_devices(struct display *display, json_t *devices);

/*
 * display_event() - take over an event, its envelope {type, at, data}. Return: true: no event of
 * the job follows.
 */
bool display_event(struct display *display, const json_t *envelope);

/* display_trouble() - the connection is lost (what to say), or NULL: it stands again. */
void display_trouble(struct display *display, const char *text);

/* display_lacks_facts() - would the job object, asked for again, say more about the model? */
bool display_lacks_facts(const struct display *display);

/* display_end() - take the block away, and what the view holds. */
void display_end(struct display *display);

/* display_phase_name() - "quantize". */
const char *display_phase_name(enum display_phase phase);
