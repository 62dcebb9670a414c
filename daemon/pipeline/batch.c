// SPDX-License-Identifier: Apache-2.0
/*
 * How many windows go through a layer at once. More make larger products, up to what the device
 * likes, and take more memory; the memory of every phase is added up before any is taken. The
 * number shapes the order of sums, and so the bytes of a result: it follows from the model, the
 * parameters and the device's whole memory, never from what happens to be free.
 */
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <stdio.h>

/* Left free, for the libraries of the device and for others. */
#define RESERVE ((size_t)256 << 20)

/*
 * What the whole job takes at most at a time with @batch windows; SIZE_MAX when the slots of a
 * batch cannot be counted in an int, as the ops do.
 */
static size_t job_size(struct run *run, int batch) {
    int64_t tokens = (int64_t)batch * run->seqlen;
    size_t quantize, evaluate, plan;

    run->batch = batch;
    if (tokens > INT32_MAX / run->checkpoint->config.num_experts_per_tok)
        return SIZE_MAX;
    quantize = run->quantizes ? quantize_size(run) : 0;
    evaluate = evaluate_size(run);
    plan = bits_size(run);
    return MAX(plan, MAX(quantize, evaluate));
}

/* The most windows that any phase has. */
static int most_windows(const struct run *run) {
    int most = run->calibration ? run->calibration->n : 1;

    for (int i = 0; i < run->n_evals; i++)
        most = MAX(most, run->evals[i].windows->n);
    return most;
}

static int never_fits(struct run *run, size_t size, size_t total, const char *what_to_lower) {
    char hint[200];

    snprintf(hint, sizeof(hint), "lower %s, or take a device with more memory", what_to_lower);
    failure_set(run->failure, -ENOMEM, "device_too_small", hint,
                "the job needs %zu MiB of device memory with %d windows at a time, and the device "
                "has %zu MiB for jobs in all",
                size >> 20, run->batch, total >> 20);
    run->failure->retryable = false;
    return -ENOMEM;
}

static int cannot_fit(struct run *run, size_t size, size_t available, const char *what_to_lower) {
    char hint[200];

    snprintf(hint, sizeof(hint), "lower %s, or wait until others release the device",
             what_to_lower);
    return failure_set(run->failure, -ENOMEM, "device_memory", hint,
                       "the job needs %zu MiB of device memory with %d windows at a time, and "
                       "%zu MiB are free",
                       size >> 20, run->batch, available >> 20);
}

static size_t less_reserve(size_t size) {
    return size > RESERVE ? size - RESERVE : 0;
}

size_t plan_batch(struct run *run, int planned, size_t memory_total) {
    int batch = planned > 0 ? planned : run->params->batch;

    if (batch == 0) {
        batch = MAX(1, MIN(run->b->ops->batch_tokens / run->seqlen, most_windows(run)));
        while (job_size(run, batch) > less_reserve(memory_total) && batch > 1)
            batch /= 2;
    }
    return job_size(run, batch);
}

bool batch_fits(size_t size, size_t memory) {
    return size <= less_reserve(memory);
}

int choose_batch(struct run *run, int planned) {
    size_t available, size, total;
    struct backend_info info;

    run->b->ops->info(run->b, &info);
    available = less_reserve(info.memory_free);
    total = less_reserve(info.memory_total);
    size = plan_batch(run, planned, info.memory_total);
    if (info.memory_total > 0 && size > total)
        return never_fits(run, size, total, "batch, nsamples or seqlen");
    return size <= available ? 0 : cannot_fit(run, size, available, "batch, nsamples or seqlen");
}
