// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/job/estimate.h"
#include "client/job/group/group.h"
#include "client/job/job.h"
#include "client/job/request.h"
#include "client/job/submit.h"

#include <errno.h>
#include <inttypes.h>

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
    SWEEP_OPTION,
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
    ESTIMATE_OPTION,
};

/* The words of the command line, each once; those of groups are the checkpoints of their jobs. */
struct models {
    struct args args;
    char names[ARGS_POSITIONAL_MAX + 1][32]; /* "job:ID"; one more than fit */
};

static int add_model(struct models *models, const char *word, struct failure *failure) {
    for (int i = 0; i < models->args.n_positional; i++) {
        if (str_equal(models->args.positional[i], word))
            return 0;
    }
    if (models->args.n_positional == ARGS_POSITIONAL_MAX)
        return failure_set(failure, -EINVAL, "usage", "name fewer of them",
                           "these are more than %d models", ARGS_POSITIONAL_MAX);
    models->args.positional[models->args.n_positional++] = word;
    return 0;
}

static int add_group(struct client *client, struct models *models, uint64_t id,
                     struct failure *failure) {
    cleanup(json_decrefp) json_t *jobs = NULL;
    int r = group_jobs(client, id, &jobs, failure);
    bool any = false;
    json_t *job;
    size_t i;

    json_array_foreach(jobs, i, job) {
        char *name = models->names[models->args.n_positional];

        if (r || !str_equal(answer_text(job, "status"), "succeeded") ||
            !json_is_integer(json_object_get(json_object_get(job, "result"), "size_bytes")))
            continue;
        any = true;
        snprintf(name, sizeof(models->names[0]), "job:%" PRId64, job_id(job));
        r = add_model(models, name, failure);
    }
    if (!r && !any)
        return failure_set(failure, -EINVAL, "usage", "'quantctl show GROUP' shows its jobs",
                           "group '%" PRIu64 "' has no job that made a checkpoint", id);
    return r;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    struct models models = {.args = *args};
    int r = 0;

    models.args.n_positional = 0;
    for (int i = 0; i < args->n_positional && !r; i++) {
        uint64_t id;

        r = args_group_id(args->positional[i], &id)
                ? add_group(client, &models, id, failure)
                : add_model(&models, args->positional[i], failure);
    }
    return r ? r : group_run(client, &models.args, "eval", failure);
}

const struct verb verb_eval = {
    .name = "eval",
    .usage = "MODEL...",
    .summary = "measure the perplexity of models, quantized or not",
    .details = "MODEL is a hub id (org/name[@revision]), a folder or a file NAME.gguf below a\n"
               "model root of quantd, job:ID, or group:ID, the checkpoints of its jobs. Several\n"
               "models, or several values with commas between them as in --seqlen 512,2048, make\n"
               "a group of jobs, one for each combination.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = ARGS_POSITIONAL_MAX,
    .run = run,
};
