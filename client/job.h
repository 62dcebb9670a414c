// SPDX-License-Identifier: Apache-2.0
/*
 * Reading what the daemon says about a job. It is not trusted: a member that is missing or of
 * another type reads as empty. Any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* job_text() - the string member @key, "" when there is none; borrowed, not cleaned. */
const char *job_text(const json_t *object, const char *key);

/* job_number() - the number @key, NAN when there is none. */
double job_number(const json_t *object, const char *key);

/* job_int() - the integer @key, @fallback when there is none. */
int64_t job_int(const json_t *object, const char *key, int64_t fallback);

int64_t job_id(const json_t *job); /* 0: not a job */

/* job_has_ended() - is its status one that never changes? */
bool job_has_ended(const json_t *job);

/* job_exit_status() - what quantctl exits with after a job that ended like this. */
int job_exit_status(const json_t *job);

/*
 * job_title() - what the job does: "quantize olmoe-demo to 4 bits, groups of 128, act-order".
 * Cleaned, owned by the caller; NULL when out of memory.
 */
char *job_title(const json_t *job);

/* job_model() - the model's name, without the folders of a path; cleaned, owned by the caller. */
char *job_model(const json_t *job);

/* job_time() - the RFC 3339 time @key in seconds since 1970, NAN when there is none. */
double job_time(const json_t *job, const char *key);

/* job_matrix_name() - the part of a matrix's name that follows its layer; borrowed. */
const char *job_matrix_name(const char *name);

/* What the layers of a job tell together. Strings are borrowed from the layers. */
struct job_matrix {
    int64_t layer;
    const char *name, *method;
    double error;   /* relative error of its output */
    int64_t tokens; /* that it saw in calibration; -1: not known */
};

#define JOB_WORST_MAX 5
#define JOB_REASONS_MAX 8

struct job_layers {
    int64_t n_layers, n_matrices, n_nearest, n_raised;
    double error_sum, damping_most;
    struct job_matrix worst[JOB_WORST_MAX]; /* by error, the largest first */
    int n_worst;
    struct {
        const char *reason;
        int64_t n;
    } reasons[JOB_REASONS_MAX]; /* why matrices fell back to nearest */
    int n_reasons;
};

/*
 * job_layers_add() - take over one layer's report {layer, seconds, matrices}.
 * @percdamp: the damping that was asked for; more counts as raised
 */
void job_layers_add(struct job_layers *sum, const json_t *layer, double percdamp);

/*
 * job_layer_line() - what one layer's report, summed up in @sum, tells in a line: "layer 3: 52
 * matrices in 0.9 s, worst error 0.011 in mlp.experts.6.down_proj". Not cleaned, owned by the
 * caller.
 */
char *job_layer_line(const json_t *layer, const struct job_layers *sum);
