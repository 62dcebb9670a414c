// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "client/job/submit.h"

static const struct arg_option options[] = {
    {"wbits", "2|3|4|8|16", "bits per weight; 16 (the default) evaluates the model as it is"},
    {"groupsize", "N", "input features that share a grid; -1 (the default): a whole row"},
    {"act-order", NULL, "quantize the features that matter most first"},
    {"sym", NULL, "grids that are symmetric around zero"},
    {"true-sequential", NULL, "quantize within a layer in the order of the data"},
    {"static-groups", NULL, "fix the grids of the groups before the first column"},
    {"nearest", NULL, "round to nearest, without calibration; needs no DATASET"},
    {"nsamples", "N", "calibration windows; 128 by default"},
    {"seqlen", "N", "tokens of a window; by default 2048, or what the model can"},
    {"batch", "N", "windows at a time; by default as many as the device has room for"},
    {"seed", "N", "draws the calibration windows; 0 by default"},
    {"percdamp", "F", "damping as a fraction of the mean diagonal; 0.01 by default"},
    {"mse", NULL, "choose the grids by their squared error"},
    {"eval", "LIST",
     "sets to measure, with commas: wikitext2, ptb, c4, ptb-new, c4-new, file:PATH; or none"},
    {"format", "gptq|dense", "packed (the default), or 16-bit weights"},
    {"save", "DIR", "download the checkpoint into DIR"},
    {"force", NULL, "with --save: replace files that are in DIR"},
    SUBMIT_OPTIONS,
};

static const struct submit_field fields[] = {
    {"wbits", "wbits", FIELD_INT},
    {"groupsize", "groupsize", FIELD_INT},
    {"act-order", "act_order", FIELD_SWITCH},
    {"sym", "sym", FIELD_SWITCH},
    {"true-sequential", "true_sequential", FIELD_SWITCH},
    {"static-groups", "static_groups", FIELD_SWITCH},
    {"nearest", "nearest", FIELD_SWITCH},
    {"nsamples", "nsamples", FIELD_INT},
    {"seqlen", "seqlen", FIELD_INT},
    {"batch", "batch", FIELD_INT},
    {"seed", "seed", FIELD_INT},
    {"percdamp", "percdamp", FIELD_REAL},
    {"mse", "mse", FIELD_SWITCH},
    {"eval", "eval", FIELD_LIST},
    {"format", "format", FIELD_TEXT},
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL;
    int r = submit_request(args, "quantize", fields, ARRAY_SIZE(fields), &request, failure);

    return r ? r : submit_run(client, args, SUBMIT_PATH, request, failure);
}

const struct verb verb_quantize = {
    .name = "quantize",
    .usage = "MODEL [DATASET]",
    .summary = "quantize a model, measure it, save the checkpoint",
    .details = "MODEL is a hub id (org/name[@revision]), a folder that quantd may read, or\n"
               "job:ID.\n"
               "DATASET is the calibration set: wikitext2, ptb, c4 or file:PATH; --nearest and\n"
               "--wbits 16 need none. Ctrl-C leaves; the job goes on.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 2,
    .run = run,
};
