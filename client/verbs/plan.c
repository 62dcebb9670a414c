// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/macros.h"
#include "client/job/request.h"
#include "client/job/submit.h"

/* Those of quantize that matter before anything is quantized. */
static const struct arg_option options[] = {
    {"target-bits", "F", "the mean bits whose choice is shown, 3 by default", "target_bits",
     ARG_REAL},
    {"groupsize", "N",
     "input features that share a scale and a zero; -1 (the default): a whole row", "groupsize",
     ARG_INT},
    {"sym", NULL, "grids symmetric around zero", "sym"},
    {"nsamples", "N", "calibration windows to draw from; 128 by default", "nsamples", ARG_INT},
    {"seqlen", "N", "tokens of a window; by default 2048, or as many as the model takes", "seqlen",
     ARG_INT},
    {"batch", "N", "windows at a time; by default as many as the device's memory allows", "batch",
     ARG_INT},
    {"seed", "N", "chooses the calibration windows; 0 by default", "seed", ARG_INT},
    {"format", "gptq|compressed-tensors|dense|gguf|pt",
     "whose matrices must be alike: in gguf, dense and pt each kind by itself", "format"},
    {"for", "vllm|llama.cpp|transformers|gptqmodel",
     "refuse what this program would not read, or read wrongly", "for"},
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL;
    int r = request_new(client, args, "quantize", &request, failure);

    if (r)
        return r;
    if (json_object_set_new(request, "plan_only", json_true()))
        return failure_oom(failure);
    return submit_run(client, args, SUBMIT_PATH, request, request, failure);
}

const struct verb verb_plan = {
    .name = "plan",
    .usage = "MODEL DATASET",
    .summary = "what each size of a model would cost",
    .details = "Measures how much each part of the model minds fewer bits, and shows for each\n"
               "size the least divergence from the original, before anything is quantized.\n"
               "quantize --target-bits F makes the checkpoint of a size.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 2,
    .most = 2,
    .run = run,
};
