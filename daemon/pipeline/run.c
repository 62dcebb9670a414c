// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/run.h"

#include <unistd.h>

#define HOST_MEMORY_MAX ((size_t)4 << 30)
#define HOST_MEMORY_SHARE 16 /* nor more than this part of the machine's memory */

int run_event(const struct run *run, const char *kind, json_t *data) {
    return pipeline_report(run->job->observer, kind, data, run->failure);
}

int run_check_model(const struct run *run) {
    return watch_check(&run->checkpoint->watch, run->failure);
}

size_t run_host_memory(void) {
    size_t machine = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);

    return MIN(HOST_MEMORY_MAX, machine / HOST_MEMORY_SHARE);
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
