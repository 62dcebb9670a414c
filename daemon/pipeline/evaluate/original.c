// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/original.h"

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void original_close(struct run *run) {
    if (!run->original)
        return;
    fingerprint_free(run->original->hashing);
    checkpoint_free(run->original->own);
    free(run->original);
    run->original = NULL;
}

void original_drop(struct run *run, const char *format, ...) {
    va_list args;

    original_close(run);
    va_start(args, format);
    vsnprintf(run->no_original, sizeof(run->no_original), format, args);
    va_end(args);
}

const struct checkpoint *original_checkpoint(const struct run *run) {
    return run->original->own ? run->original->own : run->checkpoint;
}

/* Do the two take the same memory, and the same windows? */
static bool same_shapes(const struct model_config *a, const struct model_config *b) {
    return a->arch == b->arch && a->hidden_size == b->hidden_size &&
           a->intermediate_size == b->intermediate_size &&
           a->num_hidden_layers == b->num_hidden_layers &&
           a->num_attention_heads == b->num_attention_heads &&
           a->num_key_value_heads == b->num_key_value_heads && a->num_experts == b->num_experts &&
           a->num_experts_per_tok == b->num_experts_per_tok && a->vocab_size == b->vocab_size;
}

/* Opens what the daemon found; what is wrong with it is a reason, and no failure of the job. */
static int open_found(struct run *run, const struct job_original *found) {
    struct original *original = run->original;
    struct failure why = {};
    int r =
        checkpoint_open(found->root ? found->root : found->dir, found->dir, &original->own, &why);

    if (!r && original->own->config.quantization.present)
        r = failure_set(&why, -EINVAL, "model_invalid", NULL, "it is quantized itself");
    if (!r && !same_shapes(&original->own->config, &run->checkpoint->config))
        r = failure_set(&why, -EINVAL, "model_invalid", NULL, "it has another shape");
    if (!r)
        r = checkpoint_start_hashing(original->own, run->job->hash_cache, &original->hashing, &why);
    if (r == -ENOMEM)
        return failure_oom(run->failure);
    if (r)
        original_drop(run, "the original '%s' cannot be used: %s", found->name, why.detail);
    return 0;
}

int original_open(struct run *run) {
    const struct job_original *found = run->job->original;
    bool quantized = run->quantizes || run->checkpoint->config.quantization.present || found;

    if (run->n_evals == 0 || !quantized)
        return 0;
    if (!run->params->difference) {
        original_drop(run, "not asked for");
        return 0;
    }
    if (!run->quantizes && (!found || !found->dir)) {
        original_drop(run, "%s",
                      found ? found->why : "the model's folder has no quantd.json that names it");
        return 0;
    }
    run->original = calloc(1, sizeof(*run->original));
    if (!run->original)
        return failure_oom(run->failure);
    return run->quantizes ? 0 : open_found(run, found);
}

int original_learn(struct run *run) {
    struct original *original = run->original;
    struct failure why = {};
    int r;

    if (!original || !original->own || original->fingerprint[0])
        return 0;
    r = fingerprint_wait(original->hashing, original->fingerprint, &why);
    if (r)
        original_drop(run, "the original cannot be used: %s", why.detail);
    else if (!str_equal(original->fingerprint, run->job->original->fingerprint))
        original_drop(run, "'%s' is no longer the model that this one was made from",
                      run->job->original->name);
    return r == -ENOMEM ? failure_oom(run->failure) : 0;
}

int original_check(const struct run *run) {
    return run->original && run->original->own
               ? watch_check(&run->original->own->watch, run->failure)
               : 0;
}
