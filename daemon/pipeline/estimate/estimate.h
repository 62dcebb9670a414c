// SPDX-License-Identifier: Apache-2.0
/*
 * What a job will take, without running it: by the plans that a run makes of its memory, by what
 * its format counts, and by the units of its progress. Any thread; no device is opened.
 */
#pragma once

#include "daemon/pipeline/estimate/counts.h"
#include "daemon/pipeline/params/params.h"

/* What is asked; all borrowed. The job has passed check_job(). */
struct checkpoint;
struct estimate_request {
    enum job_kind kind;
    const struct params *params;
    const char *root, *dir; /* of the model, as for check_job() */
    const struct corpora *corpora;
    struct counts *counts;
    const struct backend_ops *ops; /* of the device, which need not be open; NULL: none */
    size_t memory_total;           /* of the device, bytes */
};

/* What sizes a job, also one that is over: see work_of(). */
struct work_shape {
    int layers, hidden_size;
    double parameters; /* of the model */
    int seqlen;
    double calibration; /* windows; 0: it does not calibrate */
    double evaluation;  /* windows of all sets */
    bool drift;         /* the original model goes along in calibration */
    bool quantizes;
    bool compares; /* with the original, on these windows */
    const struct method_ops *method;
    int refine; /* sweeps */
};

/* Units of progress times what a unit is in tokens and weights: seconds grow with them. */
struct work {
    double quantize, evaluate;
    double rest; /* reads and writes the model */
};

struct estimate {
    struct work_shape shape;
    int batch;
    int n_evals, windows[PARAMS_EVALS_MAX]; /* of each set; -1: its text is not here */
    bool all_windows;                       /* none is -1 */
    size_t device;                          /* bytes at most at a time; 0: not known */
    bool fits;                              /* into the device */
    size_t host;                            /* bytes, without the model's files; 0: not known */
    size_t disk;                            /* bytes at most at a time */
    size_t size;            /* bytes of the checkpoint's tensors; 0: there is none */
    double bits_per_weight; /* 0: none is packed */
};

/* work_of() - of a job of @shape. */
struct work work_of(const struct work_shape *shape);

/*
 * estimate_make() - Return: 0; -EINVAL with the field, when a set is of no use; or -errno.
 */
int estimate_make(const struct estimate_request *request, struct estimate *ret_estimate,
                  struct failure *failure);

/* estimate_size() - bytes of the tensors of the model @checkpoint in @format, quantized as @q. */
size_t estimate_size(const struct format_ops *format, const struct checkpoint *checkpoint,
                     const struct quantization_config *q);
