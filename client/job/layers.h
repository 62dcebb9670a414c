// SPDX-License-Identifier: Apache-2.0
/* The reports of a job's layers, summed up. Any thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* layers_matrix_name() - the part of a matrix's name that follows its layer; borrowed. */
const char *layers_matrix_name(const char *name);

/* Strings are borrowed from the reports. */
struct layer_matrix {
    int64_t layer;
    const char *name, *method;
    double error;   /* relative error of its output */
    int64_t tokens; /* that reached it in calibration; -1: not known */
};

#define LAYERS_WORST_MAX 5
#define LAYERS_REASONS_MAX 8

struct layers {
    int64_t n_layers, n_matrices, n_fallbacks, n_raised;
    double error_sum, damping_most;
    struct layer_matrix worst[LAYERS_WORST_MAX]; /* by error, the largest first */
    int n_worst;
    struct {
        const char *reason;
        int64_t n;
    } reasons[LAYERS_REASONS_MAX]; /* why matrices fell back to another method */
    int n_reasons;
    const char *fallback; /* the method that replaced the requested one; NULL: none */
};

/*
 * layers_add() - add one layer's report {layer, seconds, matrices}.
 * @percdamp: the damping of the request; more counts as raised
 */
void layers_add(struct layers *sum, const json_t *layer, double percdamp);

/*
 * layers_line() - one layer's report, summed up in @sum, as a line: "layer 3: 52 matrices in 0.9 s,
 * worst error 0.011 in mlp.experts.6.down_proj". Not cleaned, owned by the caller.
 */
char *layers_line(const json_t *layer, const struct layers *sum);
