// SPDX-License-Identifier: Apache-2.0
#include "client/job/plan/plan.h"

#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "client/job/columns/rows.h"
#include "client/job/request.h"
#include "client/job/submit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Those of quantize that matter before anything is quantized. */
static const struct arg_option options[] = {
    {"target-bits", "LIST",
     "mean bits whose choices are shown, with commas, 3 by default; one measurement serves all",
     "plan_bits", ARG_NUMBERS},
    {"target-unit", "module|kind|expert",
     "what is treated alike: module (the default), what loaders hold in one; kind, each kind of "
     "matrix of a layer; expert, each expert, too; vLLM loads only the first",
     "target_unit"},
    {"groupsize", "N",
     "input features that share a scale and a zero; -1 (the default): a whole row", "groupsize",
     ARG_INT},
    {"sym", NULL, "grids symmetric around zero", "sym"},
    {"preset", "reference|fast|best|vllm|llama.cpp",
     "parameters by name: reference, fast, best, vllm or llama.cpp; what is given beside it wins",
     "preset"},
    {"act-order", NULL, "quantize the features that matter most first", "act_order"},
    {"static-groups", NULL, "fix the grids of all groups before the first column", "static_groups"},
    {"grid", "minmax|mse|hessian",
     "how a grid is fitted: minmax (the default) spans the weights, mse seeks the least error of "
     "the weights, hessian that of the outputs",
     "grid"},
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
    SHEET_OPTIONS,
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
};

/* The plan as a sheet on stdout; what people read goes to stderr. */
static int run_sheet(struct client *client, const struct args *args, const json_t *request,
                     enum sheet_format format, struct failure *failure) {
    cleanup(json_decrefp) json_t *job = NULL;
    int r;

    if (args_has(args, "detach"))
        return failure_set(failure, -EINVAL, "usage", "leave one of them out",
                           "option '--detach' leaves no plan to print with '--%s'",
                           format == SHEET_CSV ? "csv" : "markdown");
    terminal_init(&client->terminal, stderr);
    r = submit_followed(client, args, SUBMIT_PATH, request, request, &job, failure);
    if (r == EXIT_OK && plan_sheet(stdout, job, format))
        return failure_oom(failure);
    return r;
}

/* quantd names its own field; --target-bits is called otherwise there. */
static int as_typed(int r, struct failure *failure) {
    static const char field[] = "plan_bits: ";
    char detail[sizeof(failure->detail)];

    if (r != -EREMOTEIO || !str_has_prefix(failure->detail, field))
        return r;
    snprintf(detail, sizeof(detail), "--target-bits: %s", failure->detail + strlen(field));
    str_make_printable(detail); /* what was cut may end inside a character */
    snprintf(failure->detail, sizeof(failure->detail), "%s", detail);
    return r;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL;
    enum sheet_format format = SHEET_NONE;
    int r = rows_format(args, &format, failure);

    if (!r)
        r = request_new(client, args, "quantize", &request, failure);
    if (r)
        return r;
    if (json_object_set_new(request, "plan_only", json_true()))
        return failure_oom(failure);
    r = format != SHEET_NONE ? run_sheet(client, args, request, format, failure)
                             : submit_run(client, args, SUBMIT_PATH, request, request, failure);
    return as_typed(r, failure);
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
