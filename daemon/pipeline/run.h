// SPDX-License-Identifier: Apache-2.0
/* One run of a job: what its phases share. Private to the pipeline; the thread of the backend. */
#pragma once

#include "daemon/model/arch/forward.h"
#include "daemon/model/weights.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/job.h"
#include "daemon/pipeline/methods/method.h"
#include "daemon/pipeline/progress.h"
#include "daemon/pipeline/windows/windows.h"

#include <errno.h>

struct eval_set {
    const char *name; /* borrowed from the parameters */
    struct windows *windows;
    json_t *result; /* {value, stderr, tokens, windows, sha256}; NULL until measured */
    /*
     * {nll: [mean NLL of each window]}, and, compared with the original, {difference, baseline:
     * the original's perplexity}; NULL until measured.
     */
    json_t *details;
};

struct original; /* evaluate/original.h */
struct rest;     /* export/rest.h */

struct run {
    const struct pipeline_job *job;
    const struct params *params;
    struct backend *b;
    struct failure *failure;

    struct checkpoint *checkpoint;
    struct fingerprint *hashing;        /* of the weights of the model; owned */
    char fingerprint[SHA256_TEXT_SIZE]; /* of the model; "": not known yet */
    struct tokenizer *tokenizer;
    struct windows *calibration; /* NULL: none is needed */
    struct eval_set evals[PARAMS_EVALS_MAX];
    int n_evals;
    int seqlen;
    int batch; /* windows that go through a layer at once */

    bool quantizes;                          /* wbits is not 16 */
    bool exports;                            /* the job leaves a checkpoint */
    struct quantization_config quantization; /* of the layers that are evaluated */
    struct safetensors **shards;             /* [layers]: quantized layers; NULL: not yet */
    json_t **reports;                        /* [layers]: what layer.finished reported */
    int n_finished;                          /* layers that are in work/ */

    struct original *original; /* that the evaluated model is compared with; owned; NULL: none */
    char no_original[256];     /* why there is none, of a quantized model; "": there is no reason */
    double original_seconds;   /* that its passes took */
    int original_cached;       /* windows whose states an earlier job had computed */
    bool original_on_host;     /* where its hidden states are kept; false: on the device */
    struct params planned;     /* params with the rules of a plan; its rules are owned */
    json_t *plan;              /* of target_bits, as plan.finished has it; NULL: none */

    json_t *made;               /* of an export job: quantd.json of the job whose codes it has */
    struct params *made_params; /* of that job, with the format that is asked for; owned */

    struct rest *rest; /* the last shard, on its way; owned; NULL: not begun */

    char *work_dir;     /* DIR/work */
    char *artifact_dir; /* DIR/artifact */
    char *codes_dir;    /* DIR/codes: kept when the checkpoint does not hold them */
    struct progress progress;
};

/*
 * run_check_model() - is every file of the model what it was when the job began? Return: 0, or
 * -ESTALE (model_changed).
 */
int run_check_model(const struct run *run);

/* run_cancelled() - 0, or -ECANCELED when the job shall stop. */
static inline int run_cancelled(const struct run *run) {
    const struct pipeline_observer *o = run->job->observer;

    return o->cancelled(o->ctx) ? -ECANCELED : 0;
}

/* run_event() - report to the observer; takes @data. Return: 0 or -errno. */
int run_event(const struct run *run, const char *kind, json_t *data);

/* run_layers() - L. */
static inline int run_layers(const struct run *run) {
    return run->checkpoint->config.num_hidden_layers;
}

/* run_window_bytes() - the hidden states of one window: [seqlen, d] act. */
static inline size_t run_window_bytes(const struct run *run) {
    return (size_t)run->seqlen * run->checkpoint->config.hidden_size * dtype_size(run->b->ops->act);
}

/* run_sides() - the models that calibration windows go through: 2 when drift is corrected. */
static inline int run_sides(const struct run *run) {
    return run->calibration && run->params->drift > 0 ? 2 : 1;
}

/* run_source() - the weights as they are to be evaluated, and to be continued from. */
struct weights_source run_source(const struct run *run);

/* run_format_context() - what the job's format is given, in the thread of the backend. */
static inline struct format_context run_format_context(const struct run *run) {
    return (struct format_context){run->b,       &run->checkpoint->config, &run->quantization,
                                   run->failure, job_model_root(run->job), run->job->model_dir};
}

/* run_rounds_ends() - are embedding and head saved, and so measured, in fewer bits? */
static inline bool run_rounds_ends(const struct run *run) {
    return run->quantizes && run->quantization.q8_0_ends;
}

/* run_work_format() - in what the layers in work/ are: a lossless one. */
static inline const struct format_ops *run_work_format(const struct run *run) {
    return run->params->format->reader ? run->params->format : &format_neutral;
}

/* run_host_memory() - bytes that layers on their way to the disk may hold, unless a single one is
 * larger. Any thread. */
size_t run_host_memory(void);

/* run_keeps_codes() - the job's checkpoint does not hold the codes that it has computed. */
static inline bool run_keeps_codes(const struct run *run) {
    return run->quantizes && !run->params->format->reader;
}

/*
 * choose_batch() - set run->batch: what the plan of an earlier attempt says (@planned, 0: none),
 * or the parameters, or the largest that fits into the memory that the device has. -ENOMEM with
 * what is needed when the memory that is free now is less than that (batch.c).
 */
int choose_batch(struct run *run, int planned);

/*
 * plan_batch() - set run->batch likewise for a device of @memory_total bytes, of which only the
 * ops are looked at: run->b need not be open. Return: bytes that the job takes at most at a time.
 */
size_t plan_batch(struct run *run, int planned, size_t memory_total);

/* batch_fits() - do @size bytes fit into a device's @memory, less what stays free? */
bool batch_fits(size_t size, size_t memory);

/* Bytes of device memory that a phase takes with run->batch; SIZE_MAX when they do not fit. */
size_t quantize_size(const struct run *run); /* quantize.c */
/* quantize_more_size() - what it takes beside, to be faster, where there is room: some, or all. */
size_t quantize_more_size(const struct run *run, bool all);
size_t evaluate_size(const struct run *run); /* evaluate/ */
/* evaluate_more_size() - what larger turns take beside, where there is room. */
size_t evaluate_more_size(const struct run *run, bool compares);
/*
 * comparison_size() - bytes that comparing with the original takes beside evaluate_size() where the
 * device has them (evaluate/); @own: the original is another model than the run's.
 */
size_t comparison_size(const struct run *run, bool own);
size_t bits_size(const struct run *run); /* bits/ */
/* bits_work() - units of progress that a plan of bits still takes; bits/. */
double bits_work(const struct run *run);

/* The phases, each with its own file. 0 or -errno. */
int reexport_open(struct run *run);       /* export/: what an export job has instead of inputs */
int reexport_check_read(struct run *run); /* export/: and whether what it read was whole */
int load_inputs(struct run *run);         /* load.c: checkpoint, tokenizer, windows; checks them */
int load_report_facts(struct run *run);   /* load.c: what is known of the model, as an event */
int work_open(struct run *run);           /* work.c: the folder, and what an earlier attempt left */
int bits_look(struct run *run);           /* bits/: whether an earlier job has measured the same */
int bits_plan(struct run *run);           /* bits/: target_bits, which becomes rules of the run */
int quantize_layers(struct run *run);     /* quantize.c */
int evaluate_sets(struct run *run);       /* evaluate/ */
int export_checkpoint(struct run *run, json_t **ret_artifacts); /* export/ */

/* rest_begin() - begin to write the last shard of the checkpoint, beside all else; export/. */
int rest_begin(struct run *run);
/* rest_poll() - has it failed? Never waits. Return: 0 or -errno with the failure. */
int rest_poll(struct run *run);
void rest_done(struct run *run); /* waits for it */

/*
 * manifest_check() - once the weights are hashed: has each file that was read of another job the
 * hash that this job listed? Codes without such a list are a warning; a model that is no job is
 * fine. Return: 0; -EBADMSG (folder_damaged); or another -errno with the failure. export/
 */
int manifest_check(struct run *run);

/* load_model_facts() - what clients see of a model; the caller owns it; NULL: no memory. load.c */
json_t *load_model_facts(const struct model_config *config, const char *fingerprint);

/*
 * original_open() - open what the model is to be compared with, if that is wanted and known; one
 * that cannot be opened is a reason in run->no_original (evaluate/). Return: 0 or -errno.
 */
int original_open(struct run *run);
void original_close(struct run *run);

/*
 * work_learn_fingerprint() - set run->fingerprint and report it (PIPELINE_FACTS), once all of the
 * model is hashed: wait for that, or, with @wait false, only look. Return: 0 or -errno.
 */
int work_learn_fingerprint(struct run *run, bool wait);

/* What there is of a layer in work/: the extensions of its files. */
#define WORK_LAYER "safetensors"           /* in run_work_format() */
#define WORK_WEIGHTS "weights.safetensors" /* beside it, in a format of_weights */
#define WORK_RECORD "json"

/* work_layer_path() - where a file of layer @layer is; owned by the caller; NULL: no memory */
char *work_layer_path(const struct run *run, int layer, const char *extension);

/*
 * work_keep_layer() - report @layer, whose files are on disk; takes @report, the record, whose
 * "file" {sha256, bytes}, if it is there, is of the one in the job's format, and whose "codes_file"
 * of the neutral one.
 */
int work_keep_layer(struct run *run, int layer, json_t *report);

/* work_keep_eval() - record the result of set @i, and report it. */
int work_keep_eval(struct run *run, int i);

/* embed_windows() - x [n * seqlen, d] act = embedding of @ids [n, seqlen], on the host. */
int embed_windows(struct run *run, struct span x, const struct outer_weights *ends,
                  const int32_t *ids, int n, int seqlen);
