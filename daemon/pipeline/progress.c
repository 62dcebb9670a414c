// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/progress.h"

#include "api/wire.h"
#include "base/clock.h"
#include "daemon/pipeline/run.h"

#define TELL_SECONDS 0.2

const char *const phase_names[N_PHASES] = {WIRE_PHASE_LOAD, WIRE_PHASE_CALIBRATE,
                                           WIRE_PHASE_QUANTIZE, WIRE_PHASE_EVALUATE,
                                           WIRE_PHASE_EXPORT};

/*
 * Tokens that have gone through the whole model in this phase, a second; null before there are any.
 * A layer of the calibration windows costs what progress_plan() says.
 */
static json_t *tokens_per_second(const struct run *run, double now) {
    const struct progress *p = &run->progress;
    double seconds = now - p->phase_started, units = p->done - p->phase_done, tokens;
    double windows = run->calibration ? run->calibration->n : 0;

    if (!(seconds > 0 && units > 0))
        return json_null();
    if (p->phase == PHASE_EVALUATE)
        tokens = units / (run_layers(run) + 1) * run->seqlen;
    else if (p->phase == PHASE_QUANTIZE && windows > 0)
        tokens = units / (2 * windows + 64) * windows * run->seqlen / run_layers(run);
    else
        return json_null();
    return json_real(tokens / seconds);
}

static int tell(struct run *run) {
    struct progress *p = &run->progress;
    double now = clock_monotonic(), fraction = p->total > 0 ? p->done / p->total : 0;
    double fresh = p->done - p->resumed;
    json_t *eta = json_null();

    /* The first units tell little of the rest. */
    if (fresh > 0 && now - p->started > 1)
        eta = json_real((now - p->started) / fresh * (p->total - p->done));
    p->told = now;
    p->told_done = p->done;
    return run_event(run, WIRE_EVENT_PROGRESS,
                     json_pack("{s:s s:i s:i s:f s:o s:o}", "phase", phase_names[p->phase], "layer",
                               p->layer, "layers_total", run->checkpoint ? run_layers(run) : 0,
                               "fraction", fraction, "eta_seconds", eta, "tokens_per_second",
                               tokens_per_second(run, now)));
}

int progress_end(struct run *run) {
    struct progress *p = &run->progress;
    int r = p->done > p->told_done ? tell(run) : 0;
    double now = clock_monotonic();

    if (p->phase_started > 0)
        p->seconds[p->phase] += now - p->phase_started;
    p->phase_started = now;
    return r;
}

int progress_phase(struct run *run, enum phase phase) {
    struct progress *p = &run->progress;
    int r = progress_end(run);

    if (r)
        return r;
    p->phase = phase;
    p->layer = 0;
    p->phase_done = p->done;
    r = run_event(run, WIRE_EVENT_PHASE_STARTED, json_pack("{s:s}", "phase", phase_names[phase]));
    return r ? r : tell(run);
}

/*
 * A window costs one unit a layer and pass. A layer that is quantized takes two passes, and its
 * solver about as long as half a pass over 128 windows; a finished one only the second pass,
 * and none when all are finished. The head of the model counts as one more layer.
 */
void progress_plan(struct run *run) {
    struct progress *p = &run->progress;
    double windows = run->calibration ? run->calibration->n : 0;
    int layers = run_layers(run), left = run->quantizes ? layers - run->n_finished : 0;

    p->started = clock_monotonic();
    p->total = run->quantizes ? layers * (2 * windows + 64) : 0;
    p->done = run->quantizes ? run->n_finished * (windows + 64) : 0;
    if (left == 0)
        p->done = p->total;
    for (int i = 0; i < run->n_evals; i++) {
        double units = (double)run->evals[i].windows->n * (layers + 1);

        p->total += units;
        p->done += run->evals[i].result ? units : 0;
    }
    p->resumed = p->done;
}

int progress_add(struct run *run, double units) {
    struct progress *p = &run->progress;

    p->done += units;
    return clock_monotonic() - p->told < TELL_SECONDS ? 0 : tell(run);
}
