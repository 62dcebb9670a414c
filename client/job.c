// SPDX-License-Identifier: Apache-2.0
#include "client/job.h"

#include "base/cleanup.h"
#include "client/client.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

const char *job_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

double job_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

int64_t job_int(const json_t *object, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

int64_t job_id(const json_t *job) {
    int64_t id = job_int(job, "id", 0);

    return id > 0 ? id : 0;
}

bool job_has_ended(const json_t *job) {
    const char *status = job_text(job, "status");

    return str_equal(status, "succeeded") || str_equal(status, "failed") ||
           str_equal(status, "cancelled");
}

int job_exit_status(const json_t *job) {
    const char *status = job_text(job, "status");

    if (str_equal(status, "succeeded"))
        return EXIT_OK;
    return str_equal(status, "cancelled") ? EXIT_JOB_CANCELLED : EXIT_JOB_FAILED;
}

char *job_model(const json_t *job) {
    char *model = strdup(job_text(json_object_get(job, "params"), "model"));
    char *slash;

    if (!model)
        return NULL;
    text_clean(model);
    slash = strrchr(model, '/');
    if (model[0] == '/' && slash[1])
        memmove(model, slash + 1, strlen(slash));
    return model;
}

char *job_title(const json_t *job) {
    static const struct {
        const char *field, *text;
    } switches[] = {
        {"act_order", ", act-order"},
        {"sym", ", sym"},
        {"true_sequential", ", true-sequential"},
        {"static_groups", ", static groups"},
        {"mse", ", mse"},
        {"nearest", ", to nearest"},
    };
    const json_t *params = json_object_get(job, "params");
    cleanup(freep) char *model = job_model(job);
    int64_t wbits = job_int(params, "wbits", 16);
    int64_t groupsize = job_int(params, "groupsize", -1);
    struct strbuf title = {};
    char *result;

    if (!model)
        return NULL;
    if (str_equal(job_text(job, "kind"), "eval") || wbits >= 16) {
        strbuf_printf(&title, "evaluate %s", model);
    } else {
        strbuf_printf(&title, "quantize %s to %lld bits", model, (long long)wbits);
        if (groupsize > 0)
            strbuf_printf(&title, ", groups of %lld", (long long)groupsize);
        for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
            if (json_is_true(json_object_get(params, switches[i].field)))
                strbuf_puts(&title, switches[i].text);
    }
    result = strbuf_steal(&title);
    if (result)
        text_clean(result);
    return result;
}

double job_time(const json_t *job, const char *key) {
    const char *text = job_text(job, key), *rest;
    struct tm tm = {};

    rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return NAN;
    return (double)timegm(&tm) + (rest[0] == '.' ? strtod(rest, NULL) : 0);
}

const char *job_matrix_name(const char *name) {
    static const char prefix[] = "model.layers.";
    const char *rest = name;

    if (!str_has_prefix(name, prefix))
        return name;
    rest += strlen(prefix);
    rest += strspn(rest, "0123456789");
    return rest[0] == '.' && rest[1] ? rest + 1 : name;
}

static void add_reason(struct job_layers *sum, const char *reason) {
    for (int i = 0; i < sum->n_reasons; i++)
        if (str_equal(sum->reasons[i].reason, reason)) {
            sum->reasons[i].n++;
            return;
        }
    if (sum->n_reasons == JOB_REASONS_MAX)
        return;
    sum->reasons[sum->n_reasons].reason = reason;
    sum->reasons[sum->n_reasons++].n = 1;
}

static void add_worst(struct job_layers *sum, const struct job_matrix *matrix) {
    int at = sum->n_worst;

    while (at > 0 && sum->worst[at - 1].error < matrix->error)
        at--;
    if (at == JOB_WORST_MAX)
        return;
    if (sum->n_worst < JOB_WORST_MAX)
        sum->n_worst++;
    memmove(&sum->worst[at + 1], &sum->worst[at],
            sizeof(*matrix) * (size_t)(sum->n_worst - 1 - at));
    sum->worst[at] = *matrix;
}

void job_layers_add(struct job_layers *sum, const json_t *layer, double percdamp) {
    const json_t *matrices = json_object_get(layer, "matrices"), *entry;
    size_t i;

    sum->n_layers++;
    json_array_foreach(matrices, i, entry) {
        struct job_matrix matrix = {
            .layer = job_int(layer, "layer", 0),
            .name = job_text(entry, "name"),
            .method = job_text(entry, "method"),
            .error = job_number(entry, "error"),
            .tokens = job_int(entry, "tokens", -1),
        };
        double damping = job_number(entry, "damping");

        sum->n_matrices++;
        if (str_equal(matrix.method, "rtn")) {
            const char *reason = job_text(entry, "reason");

            sum->n_nearest++;
            add_reason(sum, reason[0] ? reason : "no reason given");
        } else if (damping > percdamp * 1.000001) {
            sum->n_raised++;
            sum->damping_most = MAX(sum->damping_most, damping);
        }
        if (isfinite(matrix.error)) {
            sum->error_sum += matrix.error;
            add_worst(sum, &matrix);
        }
    }
}

char *job_layer_line(const json_t *layer, const struct job_layers *sum) {
    struct strbuf line = {};
    char seconds[TEXT_SIZE];

    text_duration(job_number(layer, "seconds"), seconds);
    strbuf_printf(&line, "layer %" PRId64 ": %" PRId64 " matrices in %s",
                  job_int(layer, "layer", 0), sum->n_matrices, seconds);
    if (sum->n_worst)
        strbuf_printf(&line, ", worst error %.3g in %s", sum->worst[0].error,
                      job_matrix_name(sum->worst[0].name));
    if (sum->n_nearest && sum->n_nearest < sum->n_matrices)
        strbuf_printf(&line, ", %" PRId64 " to nearest", sum->n_nearest);
    if (sum->n_raised)
        strbuf_printf(&line, ", damping raised for %" PRId64, sum->n_raised);
    return strbuf_steal(&line);
}
