// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/run.h"

#include "daemon/pipeline/plan.h"

int run_event(const struct run *run, const char *kind, json_t *data) {
    return pipeline_report(run->job->observer, kind, data, run->failure);
}

/* So that a later attempt need not find it out again before it goes on. */
static int note_fingerprint(struct run *run) {
    cleanup(plan_done) struct plan plan = {};

    if (run->batch == 0) /* there is no plan yet */
        return 0;
    return plan_make(run, &plan) ? failure_oom(run->failure) : plan_write(run, &plan);
}

int run_learn_fingerprint(struct run *run, bool wait) {
    int r;

    if (run->fingerprint[0] || (!wait && !fingerprint_is_known(run->hashing)))
        return 0;
    if (fingerprint_wait(run->hashing, run->fingerprint))
        return failure_oom(run->failure);
    r = note_fingerprint(run);
    return r ? r : load_report_facts(run);
}

int run_check_model(const struct run *run) {
    return watch_check(&run->checkpoint->watch, run->failure);
}

struct weights_source run_source(const struct run *run) {
    return (struct weights_source){
        .checkpoint = run->checkpoint,
        .quantization = run->quantizes ? &run->quantization : &run->checkpoint->config.quantization,
        .layers = run->quantizes ? run->shards : NULL,
    };
}

int embed_windows(struct run *run, struct span x, const struct outer_weights *ends,
                  const int32_t *ids, int n, int seqlen) {
    const struct model_config *c = &run->checkpoint->config;
    size_t window = run_window_bytes(run);
    struct backend *b = run->b;
    struct span device_ids = {};
    int r;

    r = b->ops->alloc(b, (size_t)n * seqlen * sizeof(int32_t), &device_ids);
    if (r)
        return r;
    r = b->ops->upload(b, span_slice(device_ids, 0, (size_t)n * seqlen * sizeof(int32_t)), ids);
    for (int i = 0; i < n && !r; i++)
        r = b->ops->embed(
            b, span_slice(x, i * window, window), ends->embedding,
            span_slice(device_ids, (size_t)i * seqlen * sizeof(int32_t), seqlen * sizeof(int32_t)),
            seqlen, c->hidden_size, c->vocab_size);
    if (!r)
        r = b->ops->sync(b);
    b->ops->free(b, &device_ids);
    return r;
}
