// SPDX-License-Identifier: Apache-2.0
/* What a fake daemon says of itself: devices, models, estimates. */
#include "tests/api/fake/fake.h"

#include "base/str.h"

#include <errno.h>

static int estimate(void *ctx, const struct caller *caller, const json_t *request,
                    json_t **ret_estimate, struct failure *failure) {
    (void)ctx, (void)caller;
    if (!json_is_string(json_object_get(request, "model")))
        return failure_field(failure, "model", "name a model", "must be a string");
    *ret_estimate = json_pack("{ss ss sn si si si s{si sn} sb s{si} si sf s{si si} sn si sb s{ss}}",
                              "object", "estimate", "kind", "quantize", "device", "parameters", 7,
                              "seqlen", 128, "batch", 4, "memory", "device", 64, "host", "fits", 1,
                              "windows", "wikitext2", 3, "size_bytes", 12, "bits_per_weight", 4.5,
                              "disk", "needed", 12, "free", 99, "seconds", "history_jobs", 0,
                              "same_model", 0, "reasons", "seconds", "no job has run yet");
    return 0;
}

static int devices(void *ctx, json_t **ret_list, struct failure *failure) {
    (void)ctx;
    (void)failure;
    *ret_list =
        json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:s, s:i, s:i}, {s:s, s:s, s:{s:i, s:i, "
                  "s:{s:i}, s:s}, s:n}], s:b}",
                  "object", "list", "data", "id", "cpu", "kind", "cpu", "id", "a\"b\\c\nd", "kind",
                  "cuda", "memory_total", 70, "memory_free", 30, "id", "slurm", "kind", "slurm",
                  "jobs", "waiting", 2, "running", 3, "reasons", "Pri\"ority", 2, "next_start",
                  "2026-11-28T14:02:11.000Z", "error", "has_more", 0);
    return 0;
}

static int status(void *ctx, json_t **ret_status, struct failure *failure) {
    (void)ctx;
    (void)failure;
    *ret_status = json_pack("{ss ss s{ss} s{ss} s{ss si si si} s[] s{ss sb}}", "object", "status",
                            "version", "1", "state", "path", "/state", "cache", "path", "/cache",
                            "states", "path", "/states", "files", 0, "bytes", 0, "limit", 0,
                            "roots", "hub", "endpoint", "https://hub", "offline", 0);
    return 0;
}

static int models(void *ctx, json_t **ret_list, struct failure *failure) {
    (void)ctx;
    (void)failure;
    *ret_list = json_pack("{ss s[{ss ss ss sn s[] si sn sb}] sb si}", "object", "list", "data",
                          "id", "org/name", "object", "model", "source", "hub", "root", "revisions",
                          "bytes", 5, "last_used_at", "pinned", 0, "has_more", 0, "unreadable", 0);
    return 0;
}

static int datasets(void *ctx, json_t **ret_list, struct failure *failure) {
    (void)ctx;
    (void)failure;
    *ret_list =
        json_pack("{ss s[{ss ss ss ss si s{sb sb}}] sb si}", "object", "list", "data", "id",
                  "file:a.txt", "object", "dataset", "source", "root", "root", "/texts", "bytes", 5,
                  "here", "calibration", 1, "evaluation", 1, "has_more", 0, "unreadable", 0);
    return 0;
}

static int remove_model(void *ctx, const struct caller *caller, const char *org, const char *name,
                        json_t **ret_removed, struct failure *failure) {
    (void)ctx;
    (void)caller;
    if (str_equal(org, "busy"))
        return failure_set(failure, -EBUSY, "model_in_use", NULL, "a job uses '%s'", name);
    if (!str_equal(org, "org"))
        return failure_set(failure, -ENOENT, "model_not_found", NULL, "no model '%s'", name);
    *ret_removed = json_pack("{s:s, s:b, s:i}", "id", name, "deleted", 1, "bytes", 5);
    return 0;
}

static int stats(void *ctx, struct service_stats *ret_stats, struct failure *failure) {
    static const char *const statuses[] = {"queued",    "running", "cancelling",
                                           "succeeded", "failed",  "cancelled"};

    (void)ctx;
    (void)failure;
    *ret_stats = (struct service_stats){.wait = {.counts = {1, 0, 2}, .sum = 12.5},
                                        .store = {.counts = {[HISTOGRAM_BUCKETS_MAX] = 3}},
                                        .n_layers = 5};
    for (int i = 0; i < SERVICE_STATUSES; i++) {
        ret_stats->jobs[i].status = statuses[i];
        ret_stats->jobs[i].n = (uint64_t)i;
    }
    return 0;
}

void fake_system_init(struct service *service) {
    service->estimate = estimate;
    service->devices = devices;
    service->status = status;
    service->models = models;
    service->datasets = datasets;
    service->remove_model = remove_model;
    service->stats = stats;
}
