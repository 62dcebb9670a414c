// SPDX-License-Identifier: Apache-2.0
#include "daemon/estimate/history.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/pipeline/methods/method.h"

#include <errno.h>
#include <string.h>

/* What some jobs took for some work. */
struct rate {
    double seconds, work;
    int jobs;
};

/* The same phase of jobs with a model of the same shape, and of all others. */
struct rates {
    struct rate same, other;
};

struct sums {
    struct rates quantize, evaluate, rest;
};

static double number(const json_t *object, const char *name) {
    return json_number_value(json_object_get(object, name));
}

static bool contains(const json_t *devices, const char *id) {
    const json_t *item;
    size_t i;

    json_array_foreach(devices, i, item) {
        if (str_equal(json_string_value(item), id))
            return true;
    }
    return false;
}

/* The shape of a job that is over. Return: false when its row does not say it. */
static bool shape_of_run(const json_t *run, struct work_shape *ret_shape) {
    const json_t *params = json_object_get(run, "params"), *model = json_object_get(run, "model");
    const char *method = json_string_value(json_object_get(params, "method"));
    struct work_shape shape = {
        .layers = (int)number(model, "layers"),
        .hidden_size = (int)number(model, "hidden_size"),
        .parameters = number(model, "parameters"),
        .seqlen = (int)number(params, "seqlen"),
        .quantizes = str_equal(json_string_value(json_object_get(run, "kind")), "quantize") &&
                     number(params, "wbits") < 16,
        .compares = json_is_object(json_object_get(run, "original")),
        .method = method_find(method ? method : "gptq"),
        .refine = (int)number(params, "refine"),
    };
    const char *name;
    json_t *set;

    json_object_foreach(json_object_get(run, "perplexity"), name, set) shape.evaluation +=
        number(set, "windows");
    if (shape.quantizes && shape.method && shape.method->needs_hessians)
        shape.calibration = number(params, "nsamples");
    shape.drift = shape.calibration > 0 && number(params, "drift") > 0;
    *ret_shape = shape;
    return shape.layers > 0 && shape.parameters > 0 && shape.seqlen > 0 && shape.method;
}

static bool same_model(const struct work_shape *a, const struct work_shape *b) {
    return a->layers == b->layers && a->hidden_size == b->hidden_size &&
           a->parameters == b->parameters;
}

static void add(struct rates *rates, bool same, double seconds, double work) {
    struct rate *rate = same ? &rates->same : &rates->other;

    if (seconds <= 0 || work <= 0)
        return;
    rate->seconds += seconds;
    rate->work += work;
    rate->jobs++;
}

static void add_run(const json_t *run, const struct work_shape *wanted, struct sums *sums) {
    const json_t *seconds = json_object_get(run, "seconds");
    struct work_shape shape;
    struct work work;
    bool same;

    if (!shape_of_run(run, &shape))
        return;
    work = work_of(&shape);
    same = same_model(&shape, wanted);
    if (shape.quantizes && shape.method == wanted->method)
        add(&sums->quantize, same, number(seconds, "calibrate") + number(seconds, "quantize"),
            work.quantize);
    add(&sums->evaluate, same, number(seconds, "evaluate"), work.evaluate);
    if (shape.quantizes == wanted->quantizes)
        add(&sums->rest, same, number(seconds, "load") + number(seconds, "export"), work.rest);
}

/* Adds what @work takes to @forecast. Return: false when nothing is known. */
static bool take(const struct rates *rates, double work, struct forecast *forecast) {
    const struct rate *rate = rates->same.jobs ? &rates->same : &rates->other;

    if (work <= 0)
        return true;
    if (!rate->jobs)
        return false;
    forecast->seconds += work * rate->seconds / rate->work;
    forecast->jobs = forecast->jobs ? MIN(forecast->jobs, rate->jobs) : rate->jobs;
    forecast->same_model &= rate == &rates->same;
    return true;
}

int history_forecast(const json_t *runs, const json_t *devices, const struct work_shape *shape,
                     struct forecast *ret_forecast, const char **ret_reason) {
    struct forecast forecast = {.same_model = true};
    struct work work = work_of(shape);
    struct sums sums = {};
    const json_t *run;
    size_t i;

    json_array_foreach(runs, i, run) {
        if (contains(devices, json_string_value(json_object_get(run, "device"))))
            add_run(run, shape, &sums);
    }
    if (!take(&sums.quantize, work.quantize, &forecast)) {
        *ret_reason = "no job has quantized by this method on such a device yet";
        return -ENOENT;
    }
    if (!take(&sums.evaluate, work.evaluate, &forecast)) {
        *ret_reason = "no job has measured a model on such a device yet";
        return -ENOENT;
    }
    take(&sums.rest, work.rest, &forecast); /* little beside the others */
    *ret_forecast = forecast;
    return 0;
}
