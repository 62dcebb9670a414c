// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/job/estimate.h"
#include "client/job/request.h"
#include "client/job/submit.h"

static const struct arg_option options[] = {
    {"eval", "LIST",
     "sets to measure, with commas; by default wikitext2,ptb,c4; also ptb-new, c4-new, file:PATH",
     "eval", ARG_SETS},
    {"difference", "yes|no",
     "compare a quantized model with its original on these sets, token by token (the default); "
     "takes one more pass over their windows",
     "difference", ARG_YES},
    {"seqlen", "N", "tokens of a window; by default 2048, or as many as the model takes", "seqlen",
     ARG_INT},
    {"batch", "N", "windows at a time; by default as many as the device's memory allows", "batch",
     ARG_INT},
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
    ESTIMATE_OPTION,
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL;
    int r = request_new(client, args, "eval", &request, failure);

    if (!r && args_has(args, "estimate"))
        return estimate_show(client, request, failure);
    return r ? r : submit_run(client, args, SUBMIT_PATH, request, request, failure);
}

const struct verb verb_eval = {
    .name = "eval",
    .usage = "MODEL",
    .summary = "measure the perplexity of a model, quantized or not",
    .details = "MODEL is a hub id (org/name[@revision]), a folder or a file NAME.gguf below a\n"
               "model root of quantd, or job:ID.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 1,
    .run = run,
};
