// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/progress.h"

#include "api/wire.h"
#include "base/clock.h"

#define REPORT_SECONDS 0.2

const char *const phase_names[N_PHASES] = {WIRE_PHASE_LOAD,      WIRE_PHASE_PLAN,
                                           WIRE_PHASE_CALIBRATE, WIRE_PHASE_QUANTIZE,
                                           WIRE_PHASE_EVALUATE,  WIRE_PHASE_EXPORT};

/* Tokens a second through the whole model in this phase; null: none, or no measure of it. */
static json_t *tokens_per_second(const struct progress *p, double now) {
    double seconds = now - p->phase_started;
    double tokens = (p->done - p->phase_done) * p->plan.tokens_per_unit[p->phase];

    return seconds > 0 && tokens > 0 ? json_real(tokens / seconds) : json_null();
}

static int report(struct progress *p) {
    double now = clock_monotonic(), total = p->plan.total;
    double fresh = p->done - p->plan.done;
    json_t *eta = json_null();

    /* The first units say little about the rest. */
    if (fresh > 0 && now - p->started > 1)
        eta = json_real((now - p->started) / fresh * (total - p->done));
    p->reported = now;
    p->reported_done = p->done;
    return pipeline_report(p->observer, WIRE_EVENT_PROGRESS,
                           json_pack("{s:s s:i s:i s:f s:o s:o}", "phase", phase_names[p->phase],
                                     "layer", p->layer, "layers_total", p->plan.layers, "fraction",
                                     total > 0 ? p->done / total : 0, "eta_seconds", eta,
                                     "tokens_per_second", tokens_per_second(p, now)),
                           p->failure);
}

int progress_end(struct progress *p) {
    int r = p->done > p->reported_done ? report(p) : 0;
    double now = clock_monotonic();

    if (p->phase_started > 0)
        p->seconds[p->phase] += now - p->phase_started;
    p->phase_started = now;
    return r;
}

int progress_phase(struct progress *p, enum phase phase) {
    int r = progress_end(p);

    if (r)
        return r;
    p->phase = phase;
    p->layer = 0;
    p->phase_done = p->done;
    r = pipeline_report(p->observer, WIRE_EVENT_PHASE_STARTED,
                        json_pack("{s:s}", "phase", phase_names[phase]), p->failure);
    return r ? r : report(p);
}

void progress_begin(struct progress *p, const struct progress_plan *plan) {
    p->plan = *plan;
    p->started = clock_monotonic();
    p->done = plan->done;
}

int progress_add(struct progress *p, double units) {
    p->done += units;
    return clock_monotonic() - p->reported < REPORT_SECONDS ? 0 : report(p);
}
