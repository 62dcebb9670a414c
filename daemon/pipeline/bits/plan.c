// SPDX-License-Identifier: Apache-2.0
/*
 * target_bits: which bits for which matrices. What was measured is in work/bits.json, so that an
 * attempt that goes on chooses the same.
 */
#include "daemon/pipeline/bits/measure.h"

#include "api/wire.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "daemon/pipeline/estimate/estimate.h"
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
    struct choice_unit *measured; /* [units.n]; owned */
    struct choices *choices;      /* owned */
    uint8_t *choice;              /* [units.n]: of the last point; owned */
};

static void planning_done(struct planning *planning) {
    choices_free(planning->choices);
    free(planning->measured);
    free(planning->choice);
}

static char *measured_path(const struct run *run) {
    return str_format("%s/bits.json", run->work_dir);
}

size_t bits_size(const struct run *run) {
    return run->params->target_bits > 0 ? measure_size(run) : 0;
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

/* [[kl of each candidate] of each unit]; NULL when out of memory. */
static json_t *measured_to_json(const struct planning *planning) {
    cleanup(json_decrefp) json_t *all = json_array();

    for (int i = 0; i < planning->units.n; i++) {
        json_t *row = json_array();

        for (int c = 0; c < planning->units.n_bits; c++)
            json_array_append_new(row, json_real(planning->measured[i].kl[c]));
        if (json_array_append_new(all, row))
            return NULL;
    }
    return steal_ptr(all);
}

static bool measured_from_json(struct planning *planning, const json_t *all) {
    const struct units *units = &planning->units;

    if ((int)json_array_size(all) != units->n)
        return false;
    for (int i = 0; i < units->n; i++) {
        const json_t *row = json_array_get(all, i);

        if ((int)json_array_size(row) != units->n_bits)
            return false;
        for (int c = 0; c < units->n_bits; c++) {
            if (!json_is_real(json_array_get(row, c)))
                return false;
            planning->measured[i].kl[c] = json_real_value(json_array_get(row, c));
        }
    }
    return true;
}

static int write_measured(const struct planning *planning, const char *path) {
    cleanup(json_decrefp) json_t *all = measured_to_json(planning);
    cleanup(freep) char *text = all ? json_text(all, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    int r;

    if (!text)
        return failure_oom(planning->run->failure);
    r = file_replace(path, text, strlen(text));
    return r ? failure_errno(planning->run->failure, r, "cannot write", path) : 0;
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
        r = measure_units(run, &planning->units, planning->measured);
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

    for (int i = 0; i < planning->units.n; i++) {
        bits += planning->measured[i].weights * planning->units.bits[planning->choice[i]];
        weights += planning->measured[i].weights;
    }
    return bits / weights;
}

/*
 * The best choice for @target, unless the same bits for all are predicted to be about as good: what
 * is predicted is not known any better.
 */
static double choose_units(struct planning *planning, double target) {
    const struct units *units = &planning->units;
    double kl = choices_at(planning->choices, target, planning->choice), alike = 0;
    int most = 0;

    while (most + 1 < units->n_bits && units->bits[most + 1] <= target)
        most++;
    for (int i = 0; i < units->n; i++)
        alike += planning->measured[i].kl[most];
    if (alike > kl * (1 + GAIN_LEAST))
        return kl;
    memset(planning->choice, most, units->n);
    return alike;
}

/* The best choice for @target: {bits, bits_per_weight, size_bytes, kl}. */
static int make_point(struct planning *planning, double target, json_t **ret_point) {
    struct run *run = planning->run;
    const struct model_config *config = &run->checkpoint->config;
    const struct format_ops *format = run->params->format;
    struct params params = *run->job->params;
    struct quantization_config q = params_quantization(&params);
    cleanup(freep) struct schemes *schemes = NULL;
    double kl = choose_units(planning, target), bits;
    int r;

    params.rules = (struct rules){};
    r = choose_rules(planning, &params.rules);
    if (!r)
        r = rules_schemes(&params, config, &schemes, run->failure);
    rules_done(&params.rules);
    if (r)
        return r;
    q.schemes = schemes;
    bits = format->bits_per_weight(config, &q);
    *ret_point = json_pack("{s:f s:o s:I s:f}", "bits", mean_bits(planning), "bits_per_weight",
                           bits > 0 ? json_real(bits) : json_null(), "size_bytes",
                           (json_int_t)estimate_size(format, run->checkpoint, &q), "kl", kl);
    return *ret_point ? 0 : failure_oom(run->failure);
}

/* Points from the fewest candidate to the most, in quarters of a bit below 4. */
static int make_curve(struct planning *planning, json_t *curve) {
    const struct units *units = &planning->units;
    double most = units->bits[units->n_bits - 1];
    int r = 0;

    for (double target = units->bits[0]; target <= most && !r; target += target < 4 ? 0.25 : 1) {
        json_t *point = NULL;

        r = make_point(planning, target, &point);
        if (!r && json_array_append_new(curve, point))
            r = failure_oom(planning->run->failure);
    }
    return r;
}

/* A row a unit: {layer, modules, wbits, kl: {"2": ..., ...}}; NULL when out of memory. */
static json_t *table_of(const struct planning *planning) {
    const struct units *units = &planning->units;
    cleanup(json_decrefp) json_t *table = json_array();

    for (int i = 0; i < units->n; i++) {
        json_t *kl = json_object();
        char name[12];

        for (int c = 0; c < units->n_bits; c++) {
            snprintf(name, sizeof(name), "%d", units->bits[c]);
            json_object_set_new(kl, name, json_real(planning->measured[i].kl[c]));
        }
        if (json_array_append_new(
                table, json_pack("{s:i s:o s:i s:o}", "layer", i / units->n_kinds, "modules",
                                 unit_modules(&planning->run->checkpoint->config,
                                              &units->kinds[i % units->n_kinds]),
                                 "wbits", units->bits[planning->choice[i]], "kl", kl)))
            return NULL;
    }
    return steal_ptr(table);
}

/* ---- the plan ---- */

/* Chooses for the target; the run goes on with the rules of that. */
static int choose(struct planning *planning) {
    struct run *run = planning->run;
    cleanup(json_decrefp) json_t *curve = json_array(), *point = NULL;
    int r = make_curve(planning, curve);

    if (!r)
        r = make_point(planning, run->params->target_bits, &point);
    run->planned = *run->job->params;
    run->planned.rules = (struct rules){};
    if (!r)
        r = choose_rules(planning, &run->planned.rules);
    if (r)
        return r;
    run->params = &run->planned;
    run->plan =
        json_pack("{s:f s:O s:i s:o s:o s:O}", "target_bits", run->params->target_bits, "chosen",
                  point, "tokens", measure_windows(run) * run->seqlen, "rules",
                  rules_to_json(&run->planned.rules), "units", table_of(planning), "curve", curve);
    if (!run->plan)
        return failure_oom(run->failure);
    free(run->quantization.schemes);
    run->quantization.schemes = NULL;
    return rules_schemes(run->params, &run->checkpoint->config, &run->quantization.schemes,
                         run->failure);
}

static int planning_init(struct planning *planning, struct run *run) {
    struct units *units = &planning->units;
    int r = units_make(run->params, &run->checkpoint->config, units, run->failure);

    planning->run = run;
    if (r)
        return r;
    planning->measured = calloc(units->n, sizeof(*planning->measured));
    planning->choice = calloc(units->n, sizeof(*planning->choice));
    if (!planning->measured || !planning->choice)
        return failure_oom(run->failure);
    for (int i = 0; i < units->n; i++)
        planning->measured[i].weights = units->kinds[i % units->n_kinds].weights;
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
    if (r)
        return r;
    if (choices_make(planning.measured, planning.units.n, planning.units.bits,
                     planning.units.n_bits, &planning.choices))
        return failure_oom(run->failure);
    r = choose(&planning);
    if (r || run->n_finished > 0)
        return r;
    return run_event(run, WIRE_EVENT_PLAN_FINISHED, json_incref(run->plan));
}
