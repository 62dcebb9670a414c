// SPDX-License-Identifier: Apache-2.0
/*
 * target_bits: which bits for which matrices. What was measured is in work/bits.json, so that an
 * attempt that goes on chooses the same.
 */
#include "daemon/pipeline/bits/choose.h"
#include "daemon/pipeline/bits/kept.h"
#include "daemon/pipeline/bits/measure.h"
#include "daemon/pipeline/bits/predict.h"

#include "api/wire.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/estimate/estimate.h"
#include "daemon/pipeline/params/check.h"
#include "daemon/pipeline/params/param.h"
#include "daemon/pipeline/params/schemes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEASURED_MAX (64 << 20)
#define GAIN_LEAST 0.05 /* of the divergence, by which different bits must be better than one */

struct planning {
    struct run *run;
    struct units units;
    struct measured measured; /* owned */
    struct prediction prediction;
    struct choice_unit *items; /* [units.n_items]; owned */
    struct choices *choices;   /* owned */
    uint8_t *choice;           /* [units.n_items]: of the last point; owned */
};

static void planning_done(struct planning *planning) {
    choices_free(planning->choices);
    measured_done(&planning->measured);
    free(planning->items);
    free(planning->choice);
}

static char *measured_path(const struct run *run) {
    return str_format("%s/bits.json", run->work_dir);
}

size_t bits_size(const struct run *run) {
    return run->params->target_bits > 0 ? measure_size(run) : 0;
}

int bits_look(struct run *run) {
    cleanup(freep) char *path = NULL;

    if (run->params->target_bits <= 0)
        return 0;
    path = measured_path(run);
    if (!path)
        return failure_oom(run->failure);
    return access(path, F_OK) ? kept_find(run, path) : 0;
}

double bits_work(const struct run *run) {
    cleanup(freep) char *path = measured_path(run);
    struct units units;

    if (run->params->target_bits <= 0 || (path && !access(path, F_OK)) ||
        units_make(run->params, &run->checkpoint->config, &units, NULL))
        return 0;
    return measure_work(run, &units);
}

/* ---- what was measured ---- */

/* NULL when out of memory. */
static json_t *numbers_to_json(const double *numbers, int n) {
    cleanup(json_decrefp) json_t *list = json_array();

    for (int i = 0; i < n; i++) {
        if (json_array_append_new(list, json_real(numbers[i])))
            return NULL;
    }
    return steal_ptr(list);
}

static bool numbers_from_json(const json_t *list, double *ret_numbers, int n) {
    if ((int)json_array_size(list) != n)
        return false;
    for (int i = 0; i < n; i++) {
        if (!json_is_real(json_array_get(list, i)))
            return false;
        ret_numbers[i] = json_real_value(json_array_get(list, i));
    }
    return true;
}

static json_t *measured_to_json(const struct planning *planning) {
    const struct units *units = &planning->units;
    const struct measured *m = &planning->measured;

    return json_pack("{s:o s:o s:o}", "kl", numbers_to_json(m->kl, units_trials(units)), "alike",
                     numbers_to_json(m->alike, units->n_bits), "shares",
                     numbers_to_json(m->shares, units->n_items * units->n_bits));
}

static bool measured_from_json(struct planning *planning, const json_t *all) {
    const struct units *units = &planning->units;
    struct measured *m = &planning->measured;

    return numbers_from_json(json_object_get(all, "kl"), m->kl, units_trials(units)) &&
           numbers_from_json(json_object_get(all, "alike"), m->alike, units->n_bits) &&
           numbers_from_json(json_object_get(all, "shares"), m->shares,
                             units->n_items * units->n_bits);
}

static int write_measured(const struct planning *planning, const char *path) {
    cleanup(json_decrefp) json_t *all = measured_to_json(planning);
    cleanup(freep) char *text = all ? json_text(all, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    int r;

    if (!text)
        return failure_oom(planning->run->failure);
    r = file_replace(path, text, strlen(text));
    if (r)
        return failure_errno(planning->run->failure, r, "cannot write", path);
    return kept_store(planning->run, text);
}

/* From an earlier attempt, or now. */
static int measure(struct planning *planning) {
    struct run *run = planning->run;
    cleanup(freep) char *path = measured_path(run);
    cleanup(json_decrefp) json_t *found = NULL;
    int r;

    if (!path)
        return failure_oom(run->failure);
    json_parse_file(path, MEASURED_MAX, "damaged", &found, NULL);
    if (measured_from_json(planning, found))
        return 0;
    r = progress_phase(&run->progress, PHASE_PLAN);
    if (!r)
        r = measure_units(run, &planning->units, &planning->measured);
    return r ? r : write_measured(planning, path);
}

/* ---- points of the curve ---- */

/* Sets @ret_rules, which the caller frees, to what the choice of @planning asks for. */
static int choose_rules(const struct planning *planning, struct rules *ret_rules) {
    struct run *run = planning->run;
    cleanup(json_decrefp) json_t *list = units_rules(&planning->units, &run->checkpoint->config,
                                                     planning->choice, run->job->params->wbits);

    return list ? rules_read(list, ret_rules, run->failure) : failure_oom(run->failure);
}

static double mean_bits(const struct planning *planning) {
    double bits = 0, weights = 0;

    for (int i = 0; i < planning->units.n_items; i++) {
        bits += planning->items[i].weights * planning->units.bits[planning->choice[i]];
        weights += planning->items[i].weights;
    }
    return bits / weights;
}

/*
 * The best choice for @target, unless the same bits for all are predicted to be about as good: what
 * is predicted is not known any better. Return: the predicted divergence.
 */
static double choose_items(struct planning *planning, double target) {
    const struct units *units = &planning->units;
    double sum = choices_at(planning->choices, target, planning->choice), kl, alike = 0;
    int most = 0;

    while (most + 1 < units->n_bits && units->bits[most + 1] <= target)
        most++;
    for (int i = 0; i < units->n; i++)
        alike += planning->measured.kl[i * units->n_bits + most];
    kl = prediction_at(&planning->prediction, sum);
    alike = prediction_at(&planning->prediction, alike);
    if (alike > kl * (1 + GAIN_LEAST))
        return kl;
    memset(planning->choice, most, units->n_items);
    return alike;
}

/* The best choice for @target: {bits, bits_per_weight, size_bytes, kl, rules}. */
static int make_point(struct planning *planning, double target, json_t **ret_point) {
    struct run *run = planning->run;
    const struct model_config *config = &run->checkpoint->config;
    const struct format_ops *format = run->params->format;
    struct params params = *run->job->params;
    struct quantization_config q = params_quantization(&params);
    cleanup(freep) struct schemes *schemes = NULL;
    double kl = choose_items(planning, target), bits;
    int r;

    params.rules = (struct rules){};
    r = choose_rules(planning, &params.rules);
    if (!r)
        r = rules_schemes(&params, config, &schemes, run->failure);
    q.schemes = schemes;
    bits = format->bits_per_weight(config, &q);
    if (!r)
        *ret_point = json_pack("{s:f s:o s:I s:f s:o}", "bits", mean_bits(planning),
                               "bits_per_weight", bits > 0 ? json_real(bits) : json_null(),
                               "size_bytes", (json_int_t)estimate_size(format, run->checkpoint, &q),
                               "kl", kl, "rules", rules_to_json(&params.rules));
    rules_done(&params.rules);
    return r || *ret_point ? r : failure_oom(run->failure);
}

/* Adds to @points that for @target, with the target, or without target and rules. */
static int add_point(struct planning *planning, double target, bool whole, json_t *points) {
    json_t *point = NULL;
    int r = make_point(planning, target, &point);

    if (r)
        return r;
    if (whole)
        json_object_set_new(point, "target_bits", json_real(target));
    else
        json_object_del(point, "rules");
    return json_array_append_new(points, point) ? failure_oom(planning->run->failure) : 0;
}

/* The choice for each target that was named, in the order of names. */
static int make_targets(struct planning *planning, json_t *targets) {
    const struct params *params = planning->run->params;
    bool named = false;
    int r = 0;

    for (int i = 0; i < params->plan_bits.n; i++)
        named |= params->plan_bits.list[i] == params->target_bits;
    if (!named)
        r = add_point(planning, params->target_bits, true, targets);
    for (int i = 0; i < params->plan_bits.n && !r; i++)
        r = add_point(planning, params->plan_bits.list[i], true, targets);
    return r;
}

/* Points from the fewest candidate to the most, in quarters of a bit below 4. */
static int make_curve(struct planning *planning, json_t *curve) {
    const struct units *units = &planning->units;
    double most = units->bits[units->n_bits - 1];
    int r = 0;

    for (double target = units->bits[0]; target <= most && !r; target += target < 4 ? 0.25 : 1)
        r = add_point(planning, target, false, curve);
    return r;
}

/* {"2": KL, ...}; NULL when out of memory. */
static json_t *kl_of(const struct planning *planning, int unit) {
    const struct units *units = &planning->units;
    cleanup(json_decrefp) json_t *kl = json_object();
    char name[12];

    for (int c = 0; c < units->n_bits; c++) {
        snprintf(name, sizeof(name), "%d", units->bits[c]);
        if (json_object_set_new(kl, name,
                                json_real(planning->measured.kl[unit * units->n_bits + c])))
            return NULL;
    }
    return steal_ptr(kl);
}

/* Adds to @row, of @unit: wbits, or experts {"2": how many, ...} and no wbits. */
static int add_choice(const struct planning *planning, int unit, json_t *row) {
    const struct units *units = &planning->units;
    int n = units->kinds[unit % units->n_kinds].items, counts[UNIT_BITS_MAX] = {};
    const uint8_t *choice = planning->choice + units_item(units, unit);
    cleanup(json_decrefp) json_t *experts = json_object();
    char name[12];

    for (int i = 0; i < n; i++)
        counts[choice[i]]++;
    for (int c = 0; c < units->n_bits && n > 1; c++) {
        snprintf(name, sizeof(name), "%d", units->bits[c]);
        if (json_object_set_new(experts, name, json_integer(counts[c])))
            return -ENOMEM;
    }
    if (n > 1 && json_object_set(row, "experts", experts))
        return -ENOMEM;
    return json_object_set_new(row, "wbits",
                               n > 1 ? json_null() : json_integer(units->bits[choice[0]]));
}

/* A row a unit: {layer, modules, wbits, experts, kl: {"2": ...}}; NULL when out of memory. */
static json_t *table_of(const struct planning *planning) {
    const struct units *units = &planning->units;
    cleanup(json_decrefp) json_t *table = json_array();

    for (int i = 0; i < units->n; i++) {
        json_t *row = json_pack(
            "{s:i s:o s:o}", "layer", i / units->n_kinds, "modules",
            unit_modules(&planning->run->checkpoint->config, &units->kinds[i % units->n_kinds]),
            "kl", kl_of(planning, i));

        if (json_array_append_new(table, row) || add_choice(planning, i, row))
            return NULL;
    }
    return steal_ptr(table);
}

/* ---- the plan ---- */

/* Which loaders cannot take the choice that the run goes on with; NULL: all can, or no memory. */
static json_t *warning_of(const struct run *run) {
    char text[CHECK_WARNING_SIZE] = "";

    if (!run->planned.format->reader)
        return NULL;
    check_loaders(&run->checkpoint->config, &run->quantization, text);
    return text[0] ? json_string(text) : NULL;
}

/* The run goes on with the rules of @chosen. */
static int take_choice(struct planning *planning, const json_t *chosen) {
    struct run *run = planning->run;
    int r;

    run->planned = *run->job->params;
    run->planned.rules = (struct rules){};
    r = rules_read(json_object_get(chosen, "rules"), &run->planned.rules, run->failure);
    if (r)
        return r;
    run->params = &run->planned;
    free(run->quantization.schemes);
    run->quantization.schemes = NULL;
    return rules_schemes(run->params, &run->checkpoint->config, &run->quantization.schemes,
                         run->failure);
}

/* Chooses for the targets and for the curve. */
static int choose(struct planning *planning) {
    struct run *run = planning->run;
    cleanup(json_decrefp) json_t *curve = json_array(), *targets = json_array(), *chosen = NULL;
    const struct params *params = run->params;
    int r = make_curve(planning, curve);

    if (!r)
        r = make_targets(planning, targets);
    if (!r)
        r = make_point(planning, params->target_bits, &chosen);
    if (!r)
        r = take_choice(planning, chosen);
    if (r)
        return r;
    run->plan =
        json_pack("{s:f s:O s:i s:O s:o s:o* s:O s:o s:O}", "target_bits", params->target_bits,
                  "chosen", chosen, "tokens", measure_windows(run) * run->seqlen, "rules",
                  json_object_get(chosen, "rules"), "unit",
                  param_to_json(param_find("target_unit"), params), "warning", warning_of(run),
                  "targets", targets, "units", table_of(planning), "curve", curve);
    return run->plan ? 0 : failure_oom(run->failure);
}

/* The items of what was measured, and what adding them up gets wrong. */
static int prepare(struct planning *planning) {
    const struct units *units = &planning->units;
    const struct measured *m = &planning->measured;
    double sum[UNIT_BITS_MAX] = {};

    for (int i = 0; i < units->n; i++) {
        const struct unit_kind *kind = &units->kinds[i % units->n_kinds];

        for (int j = 0; j < kind->items * units->n_bits; j++) {
            int item = units_item(units, i) + j / units->n_bits, c = j % units->n_bits;
            double share = m->shares[(size_t)item * units->n_bits + c];

            planning->items[item].weights = kind->weights / kind->items;
            planning->items[item].kl[c] = m->kl[i * units->n_bits + c] * share;
        }
        for (int c = 0; c < units->n_bits; c++)
            sum[c] += m->kl[i * units->n_bits + c];
    }
    prediction_make(sum, m->alike, units->n_bits, &planning->prediction);
    return choices_make(planning->items, units->n_items, units->bits, units->n_bits,
                        &planning->choices)
               ? failure_oom(planning->run->failure)
               : 0;
}

static int planning_init(struct planning *planning, struct run *run) {
    struct units *units = &planning->units;
    int r = units_make(run->params, &run->checkpoint->config, units, run->failure);

    planning->run = run;
    if (r)
        return r;
    planning->items = calloc(units->n_items, sizeof(*planning->items));
    planning->choice = calloc(units->n_items, sizeof(*planning->choice));
    if (measured_init(&planning->measured, units) || !planning->items || !planning->choice)
        return failure_oom(run->failure);
    return 0;
}

int bits_plan(struct run *run) {
    cleanup(planning_done) struct planning planning = {};
    int r;

    if (run->params->target_bits <= 0)
        return 0;
    r = planning_init(&planning, run);
    if (!r)
        r = measure(&planning);
    if (!r)
        r = prepare(&planning);
    if (!r)
        r = choose(&planning);
    if (r || run->n_finished > 0)
        return r;
    return run_event(run, WIRE_EVENT_PLAN_FINISHED, json_incref(run->plan));
}
