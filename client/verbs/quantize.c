// SPDX-License-Identifier: Apache-2.0
#include "base/macros.h"
#include "client/job/estimate.h"
#include "client/job/group/group.h"
#include "client/job/request.h"
#include "client/job/submit.h"

/* A row a parameter; tests/lint/docs.py compares them with the fields that a request may have. */
static const struct arg_option options[] = {
    {"preset", "reference|fast|best|vllm|llama.cpp",
     "parameters by name: reference, fast, best, vllm or llama.cpp; what is given beside it wins",
     "preset"},
    {"wbits", "2|3|4|8|16", "bits per weight; 16 (the default) measures the model as it is",
     "wbits", ARG_INT},
    {"groupsize", "N",
     "input features that share a scale and a zero; -1 (the default): a whole row", "groupsize",
     ARG_INT},
    {"act-order", NULL, "quantize the features that matter most first", "act_order"},
    {"sym", NULL, "grids symmetric around zero", "sym"},
    {"true-sequential", NULL,
     "within a layer, calibrate each matrix after those before it are quantized",
     "true_sequential"},
    {"static-groups", NULL, "fix the grids of all groups before the first column", "static_groups"},
    {"grid", "minmax|mse|hessian",
     "how a grid is fitted: minmax (the default) spans the weights, mse seeks the least error of "
     "the weights, hessian that of the outputs",
     "grid"},
    {"mse", NULL, "the same as --grid mse", "mse"},
    {"method", "gptq|rtn",
     "gptq (the default), or rtn: round to nearest, without calibration; needs no DATASET",
     "method"},
    {"nearest", NULL, "the same as --method rtn", "nearest"},
    {"nsamples", "N", "calibration windows; 128 by default", "nsamples", ARG_INT},
    {"seqlen", "N", "tokens of a window; by default 2048, or as many as the model takes", "seqlen",
     ARG_INT},
    {"batch", "N", "windows at a time; by default as many as the device's memory allows", "batch",
     ARG_INT},
    {"seed", "N", "chooses the calibration windows; 0 by default", "seed", ARG_INT},
    {"refine", "N",
     "sweeps that refine each matrix after gptq: two rounds of so many, each with a fit of the "
     "scales; 0 (the default): none",
     "refine", ARG_INT},
    {"percdamp", "F", "damping, as a fraction of the mean diagonal; 0.01 by default", "percdamp",
     ARG_REAL},
    {"drift", "F",
     "correct this share of how inputs drift from the original model's; 0 (the default): off",
     "drift", ARG_REAL},
    {"eval", "LIST",
     "sets to measure, with commas; by default wikitext2,ptb,c4; also ptb-new, c4-new, file:PATH, "
     "none",
     "eval", ARG_SETS},
    {"difference", "yes|no",
     "compare a quantized model with its original on these sets, token by token (the default); "
     "takes one more pass over their windows",
     "difference", ARG_YES},
    {"format", "gptq|compressed-tensors|dense|gguf|pt",
     "gptq: packed weights (the default); compressed-tensors: the same in its layout; "
     "dense: 16-bit weights; gguf: packed, one file for llama.cpp; pt: 16-bit weights in one "
     "file for torch",
     "format"},
    {"gguf-embedding", "bf16|q8_0",
     "embedding and head of a GGUF file: bf16 (the default), or q8_0, which rounds them to 8.5 "
     "bits and is measured so",
     "gguf_embedding"},
    {"gguf-type", "q2_k|q3_k|q4_k",
     "the grids of a K type of llama.cpp, q2_k, q3_k or q4_k, which imply wbits, groupsize, sym, "
     "grid, static_groups and the format gguf",
     "gguf_type"},
    {"for", "vllm|llama.cpp|transformers|gptqmodel",
     "refuse what this program would not read, or read wrongly", "for"},
    {"rule", "RULE",
     "some matrices otherwise, for example self_attn:wbits=8, or "
     "layers=0-3,15/down_proj:wbits=4,groupsize=64; may be repeated, the first that fits holds",
     "rules", ARG_LIST},
    {"target-bits", "F",
     "find the rules with the least divergence for a mean of F bits, from 2 to 8; 0.0 (the "
     "default): none",
     "target_bits", ARG_REAL},
    {"target-unit", "module|kind|expert",
     "what --target-bits treats alike: module (the default), what loaders hold in one; kind, each "
     "kind of matrix of a layer; expert, each expert, too; vLLM loads only the first",
     "target_unit"},
    {"plan-only", NULL, "end after the plan of --target-bits: what each size costs", "plan_only"},
    {"plan-bits", "LIST",
     "more mean bits whose choices the plan shows, with commas; one measurement serves all",
     "plan_bits", ARG_NUMBERS},
    SWEEP_OPTION,
    SAVE_OPTIONS,
    REQUEST_OPTIONS,
    SUBMIT_OPTIONS,
    ESTIMATE_OPTION,
};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    return group_run(client, args, "quantize", failure);
}

const struct verb verb_quantize = {
    .name = "quantize",
    .usage = "MODEL [DATASET]",
    .summary = "quantize a model, measure it, save the checkpoint",
    .details = "MODEL is a hub id (org/name[@revision]), a folder below a model root of quantd,\n"
               "or job:ID. DATASET is the calibration set: wikitext2, ptb, c4 or file:PATH;\n"
               "--method rtn and --wbits 16 need none. The job continues after Ctrl-C.\n"
               "An option that takes a number or one of several names takes several of them, as\n"
               "in --wbits 3,4 --groupsize 64,128: a group of jobs, one for each combination.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 2,
    .run = run,
};
