// SPDX-License-Identifier: Apache-2.0
#include "client/job/job.h"

#include "base/cleanup.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

int64_t job_id(const json_t *job) {
    int64_t id = answer_int(job, "id", 0);

    return id > 0 ? id : 0;
}

bool job_has_ended(const json_t *job) {
    const char *status = answer_text(job, "status");

    return str_equal(status, "succeeded") || str_equal(status, "failed") ||
           str_equal(status, "cancelled");
}

bool job_waits_on_cluster(const json_t *job) {
    return str_equal(answer_text(job, "status"), "running") &&
           str_equal(answer_text(json_object_get(job, "engine"), "state"), "PENDING");
}

int job_exit_status(const json_t *job) {
    const char *status = answer_text(job, "status");

    if (str_equal(status, "succeeded"))
        return EXIT_OK;
    return str_equal(status, "cancelled") ? EXIT_JOB_CANCELLED : EXIT_JOB_FAILED;
}

bool job_makes_checkpoint(const json_t *params) {
    bool has_bits = json_is_string(json_object_get(params, "preset")) ||
                    json_is_string(json_object_get(params, "gguf_type"));
    bool quantizes = answer_int(params, "wbits", has_bits ? 0 : 16) < 16 ||
                     answer_number(params, "target_bits") > 0;

    return (quantizes && !json_is_true(json_object_get(params, "plan_only"))) ||
           str_equal(answer_text(params, "kind"), "export");
}

char *job_model(const json_t *job) {
    char *model = strdup(answer_text(json_object_get(job, "params"), "model"));
    char *slash;

    if (!model)
        return NULL;
    text_clean(model);
    slash = strrchr(model, '/');
    if (model[0] == '/' && slash[1])
        memmove(model, slash + 1, strlen(slash));
    return model;
}

/* What is done, and to how many bits. */
static void put_bits(struct strbuf *title, const json_t *params, const char *model) {
    double target = answer_number(params, "target_bits");

    if (json_is_true(json_object_get(params, "plan_only")))
        strbuf_printf(title, "plan the bits of %s", model);
    else if (target > 0)
        strbuf_printf(title, "quantize %s to %g bits on average", model, target);
    else
        strbuf_printf(title, "quantize %s to %lld bits", model,
                      (long long)answer_int(params, "wbits", 16));
}

char *job_title(const json_t *job) {
    static const struct {
        const char *field, *text;
    } switches[] = {
        {"act_order", ", act-order"},
        {"sym", ", sym"},
        {"true_sequential", ", true-sequential"},
        {"static_groups", ", static groups"},
    };
    const json_t *params = json_object_get(job, "params");
    const char *method = answer_text(params, "method"), *grid = answer_text(params, "grid");
    const char *gguf_type = answer_text(params, "gguf_type");
    cleanup(freep) char *model = job_model(job);
    int64_t wbits = answer_int(params, "wbits", 16);
    int64_t groupsize = answer_int(params, "groupsize", -1);
    double drift = json_number_value(json_object_get(params, "drift"));
    int64_t refine = answer_int(params, "refine", 0);
    size_t n_rules = json_array_size(json_object_get(params, "rules"));
    struct strbuf title = {};
    char *result;

    if (!model)
        return NULL;
    if (str_equal(answer_text(job, "kind"), "export")) {
        strbuf_printf(&title, "export %s as %s", model, answer_text(params, "format"));
    } else if (str_equal(answer_text(job, "kind"), "eval") || wbits >= 16) {
        strbuf_printf(&title, "evaluate %s", model);
    } else {
        put_bits(&title, params, model);
        if (method[0])
            strbuf_printf(&title, " by %s", method);
        if (grid[0])
            strbuf_printf(&title, ", %s", grid);
        if (gguf_type[0])
            strbuf_printf(&title, ", grids of %s", gguf_type);
        else if (groupsize > 0)
            strbuf_printf(&title, ", groups of %lld", (long long)groupsize);
        for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
            if (json_is_true(json_object_get(params, switches[i].field)))
                strbuf_puts(&title, switches[i].text);
        if (drift > 0)
            strbuf_printf(&title, ", drift %g", drift);
        if (refine > 0)
            strbuf_printf(&title, ", refine %lld", (long long)refine);
        if (n_rules > 0)
            strbuf_printf(&title, ", %zu rule%s", n_rules, n_rules == 1 ? "" : "s");
    }
    result = strbuf_steal(&title);
    if (result)
        text_clean(result);
    return result;
}
