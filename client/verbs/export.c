// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "client/job/request.h"
#include "client/job/submit.h"

#include <inttypes.h>
#include <string.h>

#define JOB_PREFIX "job:"

static const struct arg_option options[] = {
    {"format", "gptq|compressed-tensors|dense|gguf|pt",
     "gptq: packed weights (the default); compressed-tensors: the same in its layout; "
     "dense: 16-bit weights; gguf: packed, one file for llama.cpp; pt: 16-bit weights in one "
     "file for torch",
     "format"},
    {"gguf-embedding", "bf16|q8_0",
     "embedding and head of a GGUF file: bf16 (the default), or q8_0, which rounds them to 8.5 "
     "bits and is measured so",
     "gguf_embedding"},
    {"for", "vllm|llama.cpp|transformers|gptqmodel",
     "refuse what this program would not read, or read wrongly", "for"},
    SAVE_OPTIONS,
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
};

/* The job is not looked up among files, as a model would be. */
static int run(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *request = NULL;
    const char *word = args->positional[0];
    struct args no_words = *args;
    char model[64];
    uint64_t id;
    int r;

    if (str_has_prefix(word, JOB_PREFIX))
        word += strlen(JOB_PREFIX);
    r = args_job_id(word, &id, failure);
    if (r)
        return r;
    no_words.n_positional = 0;
    r = request_new(client, &no_words, "export", &request, failure);
    if (r)
        return r;
    snprintf(model, sizeof(model), JOB_PREFIX "%" PRIu64, id);
    if (json_object_set_new(request, "model", json_string(model)))
        return failure_oom(failure);
    return submit_run(client, args, SUBMIT_PATH, request, request, failure);
}

const struct verb verb_export = {
    .name = "export",
    .usage = "JOB",
    .summary = "write a finished job in another format",
    .details = "JOB is the id of a quantize job that succeeded. Nothing is quantized again: the\n"
               "result is that of a job that had asked for the format in the first place.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 1,
    .run = run,
};
