// SPDX-License-Identifier: Apache-2.0
#include "client/job/display.h"

#include "api/wire.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/job/job.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WARNINGS_SHOWN 5 /* a model has thousands of matrices; the report has the count */

static const char *const phase_names[N_DISPLAY_PHASES] = {
    WIRE_PHASE_PULL,     WIRE_PHASE_LOAD,     WIRE_PHASE_PLAN,   WIRE_PHASE_CALIBRATE,
    WIRE_PHASE_QUANTIZE, WIRE_PHASE_EVALUATE, WIRE_PHASE_EXPORT,
};

const char *display_phase_name(enum display_phase phase) {
    return phase_names[phase];
}

static bool plain(const struct display *display) {
    return !display->block.terminal->redraw;
}

/* The daemon's clock now, NAN when it is not known. */
static double daemon_now(const struct display *display) {
    return clock_monotonic() + display->clock_offset;
}

static void set_phase_state(struct display *display, int phase, bool planned) {
    if (display->phases[phase].state == PHASE_NONE && planned)
        display->phases[phase].state = PHASE_AHEAD;
}

/* The phases of the job, as far as its parameters show them. */
static void plan_phases(struct display *display, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    bool exports = str_equal(answer_text(job, "kind"), "export");
    bool quantizes = !exports && job_makes_checkpoint(params);

    set_phase_state(display, DISPLAY_LOAD, true);
    set_phase_state(display, DISPLAY_PLAN, answer_number(params, "target_bits") > 0);
    set_phase_state(display, DISPLAY_CALIBRATE,
                    quantizes && json_is_string(json_object_get(params, "dataset")));
    set_phase_state(display, DISPLAY_QUANTIZE, quantizes);
    set_phase_state(display, DISPLAY_EVALUATE,
                    !exports && json_array_size(json_object_get(params, "eval")) > 0);
    set_phase_state(display, DISPLAY_EXPORT, quantizes || exports);
}

static void end_phase(struct display *display, enum phase_state state, double at) {
    int phase = display->phase;

    if (phase < 0)
        return;
    if (at > display->phases[phase].began_at)
        display->phases[phase].seconds += at - display->phases[phase].began_at;
    display->phases[phase].state = state;
    display->phase = -1;
}

/* @at: daemon's clock */
static void enter_phase(struct display *display, const char *name, double at) {
    for (int i = 0; i < N_DISPLAY_PHASES; i++) {
        if (!str_equal(name, phase_names[i]) || display->phase == i)
            continue;
        end_phase(display, PHASE_DONE, at);
        display->phase = i;
        display->phases[i].state = PHASE_NOW;
        display->phases[i].began_at = at;
        for (int k = 0; k < i; k++) /* one that an earlier attempt has finished */
            if (display->phases[k].state == PHASE_AHEAD)
                display->phases[k].state = PHASE_DONE;
        display->step[0] = display->detail[0] = display->file[0] = '\0';
        display->tokens_per_second = NAN;
        if (plain(display))
            block_say(&display->block, STYLE_PLAIN, "%s", name);
    }
}

/* Each attempt begins with the first phase; the times of all attempts are added up. */
static void start_anew(struct display *display, double at) {
    end_phase(display, PHASE_DONE, at);
    for (int i = DISPLAY_LOAD; i < N_DISPLAY_PHASES; i++)
        if (display->phases[i].state != PHASE_NONE)
            display->phases[i].state = PHASE_AHEAD;
}

static void set_fraction(struct display *display, double fraction, double eta_seconds) {
    display->fraction = fraction >= 0 && fraction <= 1 ? fraction : NAN;
    display->eta_seconds = eta_seconds >= 0 ? eta_seconds : NAN;
    display->eta_at = clock_monotonic();
}

/* The files that a job waits for. */
static void set_pull(struct display *display, const json_t *data) {
    char bytes[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE];
    bool sized = answer_number(data, "bytes_total") > 0, moves = answer_number(data, "rate") > 0;
    int n;

    bytes_text(answer_number(data, "bytes"), bytes);
    bytes_text(answer_number(data, "bytes_total"), total);
    bytes_text(answer_number(data, "rate"), rate);
    if (sized)
        n = snprintf(display->detail, sizeof(display->detail), "%s of %s", bytes, total);
    else
        n = snprintf(display->detail, sizeof(display->detail), "%s", bytes);
    if (moves && n > 0 && n < (int)sizeof(display->detail))
        snprintf(display->detail + n, sizeof(display->detail) - n, ", %s/s", rate);
    snprintf(display->file, sizeof(display->file), "%s", answer_text(data, "file"));
}

static void set_progress(struct display *display, const json_t *data, double at) {
    if (!json_is_object(data))
        return;
    enter_phase(display, answer_text(data, "phase"), at);
    display->layer = answer_int(data, "layer", -1);
    display->n_layers = answer_int(data, "layers_total", 0);
    if (display->phase == DISPLAY_PULL)
        set_pull(display, data);
    if (answer_number(data, "tokens_per_second") > 0)
        display->tokens_per_second = answer_number(data, "tokens_per_second");
    set_fraction(display, answer_number(data, "fraction"), answer_number(data, "eta_seconds"));
}

static void set_queued(struct display *display, const json_t *job) {
    int64_t ahead = answer_int(job, "queue_position", 0) - 1;
    const json_t *paused = json_object_get(job, "paused");

    if (str_equal(answer_text(json_object_get(job, "progress"), "phase"), WIRE_PHASE_PULL)) {
        set_progress(display, json_object_get(job, "progress"), daemon_now(display));
        return;
    }
    end_phase(display, PHASE_AHEAD, NAN);
    set_fraction(display, NAN, NAN);
    display->detail[0] = display->file[0] = '\0';
    if (json_is_object(paused))
        snprintf(display->step, sizeof(display->step), "paused: %.80s",
                 answer_text(paused, "detail"));
    else if (ahead > 0)
        snprintf(display->step, sizeof(display->step), "queued, %" PRId64 " ahead", ahead);
    else
        snprintf(display->step, sizeof(display->step), "queued, next in line");
}

void display_job(struct display *display, const json_t *job) {
    const json_t *model = json_object_get(job, "model");
    const char *status = answer_text(job, "status");

    display->hidden_size = answer_int(model, "hidden_size", display->hidden_size);
    display->intermediate_size = answer_int(model, "intermediate_size", display->intermediate_size);
    if (str_equal(status, "queued"))
        set_queued(display, job);
    else if (str_equal(status, "cancelling"))
        snprintf(display->step, sizeof(display->step), "cancelling");
    else if (str_equal(status, "running")) /* its phase comes with the events */
        set_fraction(display, answer_number(json_object_get(job, "progress"), "fraction"),
                     answer_number(json_object_get(job, "progress"), "eta_seconds"));
}

void display_begin(struct display *display, struct terminal *terminal, const json_t *job) {
    cleanup(freep) char *what = job_title(job);

    *display = (struct display){
        .id = job_id(job),
        .percdamp = fmax(answer_number(json_object_get(job, "params"), "percdamp"), 0),
        .phase = -1,
        .fraction = NAN,
        .eta_seconds = NAN,
        .tokens_per_second = NAN,
        .begun_at = clock_monotonic(),
        .clock_offset = NAN,
        .drawn_at = -1,
    };
    block_begin(&display->block, terminal);
    snprintf(display->title, sizeof(display->title), "%s", what ? what : "");
    snprintf(display->name, sizeof(display->name), "%s", answer_text(job, "name"));
    plan_phases(display, job);
    if (plain(display))
        block_say(&display->block, STYLE_PLAIN, "job %" PRId64 ": %s", display->id, display->title);
    display_job(display, job);
}

static void name_device(struct display *display) {
    const json_t *device;
    size_t i;

    display->device_name[0] = '\0';
    json_array_foreach(json_object_get(display->devices, "data"), i, device) {
        if (display->device[0] && str_equal(answer_text(device, "id"), display->device))
            snprintf(display->device_name, sizeof(display->device_name), "%s",
                     answer_text(device, "name"));
    }
}

void display_devices(struct display *display, json_t *devices) {
    json_decref(display->devices);
    display->devices = json_incref(devices);
    name_device(display);
}

bool display_lacks_facts(const struct display *display) {
    return display->n_matrices > 0 && display->hidden_size == 0;
}

void display_trouble(struct display *display, const char *text) {
    bool news = (text && text[0]) != (display->trouble[0] != '\0');

    snprintf(display->trouble, sizeof(display->trouble), "%s", text ? text : "");
    if (news && plain(display))
        block_say(&display->block, STYLE_PLAIN, "%s", text ? text : "connected again");
    else if (news && !text)
        snprintf(display->notice, sizeof(display->notice), "connected again");
}

/* ---- events ---- */

static void say(struct display *display, const char *text) {
    if (plain(display))
        block_say(&display->block, STYLE_PLAIN, "%s", text);
    else
        snprintf(display->notice, sizeof(display->notice), "%s", text);
}

static void on_job_started(struct display *display, const json_t *data, double at) {
    start_anew(display, at);
    snprintf(display->step, sizeof(display->step), "started");
    snprintf(display->device, sizeof(display->device), "%s", answer_text(data, "device"));
    name_device(display);
}

static void on_phase(struct display *display, const json_t *data, double at) {
    enter_phase(display, answer_text(data, "phase"), at);
}

static void add_worst(struct display *display, const struct display_matrix *matrix) {
    int at;

    /* A job that starts again reports its layers again. */
    for (at = 0; at < display->n_worst; at++)
        if (display->worst[at].layer == matrix->layer &&
            str_equal(display->worst[at].name, matrix->name)) {
            memmove(&display->worst[at], &display->worst[at + 1],
                    sizeof(*matrix) * (size_t)(--display->n_worst - at));
            break;
        }
    at = display->n_worst;
    while (at > 0 && display->worst[at - 1].error < matrix->error)
        at--;
    if (at == LAYERS_WORST_MAX)
        return;
    if (display->n_worst < LAYERS_WORST_MAX)
        display->n_worst++;
    memmove(&display->worst[at + 1], &display->worst[at],
            sizeof(*matrix) * (size_t)(display->n_worst - 1 - at));
    display->worst[at] = *matrix;
}

static void on_layer(struct display *display, const json_t *data, double at) {
    const json_t *entry;
    struct layers sum = {};
    size_t i;

    (void)at;
    layers_add(&sum, data, display->percdamp);
    display->n_matrices += sum.n_matrices;
    json_array_foreach(json_object_get(data, "matrices"), i, entry) {
        struct display_matrix matrix = {
            .layer = answer_int(data, "layer", 0),
            .error = answer_number(entry, "error"),
            .tokens = answer_int(entry, "tokens", -1),
        };

        if (answer_text(entry, "reason")[0])
            snprintf(matrix.fallback, sizeof(matrix.fallback), "%s", answer_text(entry, "method"));
        snprintf(matrix.name, sizeof(matrix.name), "%s",
                 layers_matrix_name(answer_text(entry, "name")));
        if (isfinite(matrix.error))
            add_worst(display, &matrix);
    }
    if (plain(display)) {
        cleanup(freep) char *line = layers_line(data, &sum);

        block_say(&display->block, STYLE_PLAIN, "%s", line ? line : "");
    }
}

static void on_eval_progress(struct display *display, const json_t *data, double at) {
    enter_phase(display, phase_names[DISPLAY_EVALUATE], at);
    snprintf(display->detail, sizeof(display->detail), "%.40s, window %" PRId64 "/%" PRId64,
             answer_text(data, "set"), answer_int(data, "window", 0),
             answer_int(data, "windows", 0));
}

static void on_eval(struct display *display, const json_t *data, double at) {
    struct display_eval eval = {
        .value = answer_number(data, "perplexity"),
        .error = answer_number(data, "stderr"),
        .baseline = answer_number(data, "baseline"),
    };
    char value[TEXT_SIZE];
    int i;

    (void)at;
    snprintf(eval.set, sizeof(eval.set), "%s", answer_text(data, "set"));
    for (i = 0; i < display->n_evals; i++)
        if (str_equal(display->evals[i].set, eval.set))
            break;
    if (i < DISPLAY_EVALS_MAX)
        display->evals[i] = eval;
    display->n_evals = MIN(MAX(display->n_evals, i + 1), DISPLAY_EVALS_MAX);
    display->detail[0] = '\0';
    if (!plain(display))
        return;
    text_perplexity(eval.value, value);
    if (eval.baseline > 0)
        block_say(&display->block, STYLE_PLAIN, "perplexity of %s: %s, %+.2f %% of the unquantized",
                  eval.set, value, (eval.value / eval.baseline - 1) * 100);
    else
        block_say(&display->block, STYLE_PLAIN, "perplexity of %s: %s", eval.set, value);
}

static void on_resumed(struct display *display, const json_t *data, double at) {
    char text[96];

    (void)at;
    if (json_object_get(data, "layer"))
        snprintf(text, sizeof(text), "resumed at layer %" PRId64, answer_int(data, "layer", 0));
    else
        snprintf(text, sizeof(text), "resumed");
    say(display, text);
}

static void on_paused(struct display *display, const json_t *data, double at) {
    char text[256];

    end_phase(display, PHASE_AHEAD, at);
    set_fraction(display, NAN, NAN);
    display->detail[0] = display->file[0] = '\0';
    snprintf(display->step, sizeof(display->step), "paused");
    snprintf(text, sizeof(text), "paused: %s", answer_text(data, "detail"));
    say(display, text);
}

static void on_warning(struct display *display, const json_t *data, double at) {
    (void)at;
    display->n_warnings++;
    if (!plain(display))
        snprintf(display->notice, sizeof(display->notice), "%d warning%s, the newest: %s",
                 display->n_warnings, display->n_warnings == 1 ? "" : "s",
                 answer_text(data, "detail"));
    else if (display->n_warnings <= WARNINGS_SHOWN)
        block_say(&display->block, STYLE_PLAIN, "warning: %s", answer_text(data, "detail"));
    else if (display->n_warnings == WARNINGS_SHOWN + 1)
        block_say(&display->block, STYLE_PLAIN, "more warnings are counted at the end");
}

static void on_plan(struct display *display, const json_t *data, double at) {
    const json_t *chosen = json_object_get(data, "chosen");
    char text[128];

    (void)at;
    snprintf(text, sizeof(text), "plan: %.2f bits on average, predicted KL divergence %.4f",
             answer_number(chosen, "bits"), answer_number(chosen, "kl"));
    say(display, text);
}

static void on_interrupted(struct display *display, const json_t *data, double at) {
    char text[256];

    end_phase(display, PHASE_AHEAD, at);
    set_fraction(display, NAN, NAN);
    snprintf(display->step, sizeof(display->step), "queued again");
    snprintf(text, sizeof(text), "interrupted: %s; queued again", answer_text(data, "reason"));
    say(display, text);
}

static void on_end(struct display *display, const json_t *data, double at) {
    (void)data;
    end_phase(display, PHASE_DONE, at);
}

static const struct {
    const char *type;
    void (*take)(struct display *display, const json_t *data, double at);
    bool last; /* no event of the job follows */
} event_kinds[] = {
    {WIRE_EVENT_PROGRESS, set_progress, false},
    {WIRE_EVENT_JOB_STARTED, on_job_started, false},
    {WIRE_EVENT_JOB_RESUMED, on_resumed, false},
    {WIRE_EVENT_JOB_PAUSED, on_paused, false},
    {WIRE_EVENT_JOB_INTERRUPTED, on_interrupted, false},
    {WIRE_EVENT_JOB_WARNING, on_warning, false},
    {WIRE_EVENT_PHASE_STARTED, on_phase, false},
    {WIRE_EVENT_PLAN_FINISHED, on_plan, false},
    {WIRE_EVENT_LAYER_FINISHED, on_layer, false},
    {WIRE_EVENT_EVAL_PROGRESS, on_eval_progress, false},
    {WIRE_EVENT_EVAL_FINISHED, on_eval, false},
    {WIRE_EVENT_JOB_SUCCEEDED, on_end, true},
    {WIRE_EVENT_JOB_FAILED, on_end, true},
    {WIRE_EVENT_JOB_CANCELLED, on_end, true},
};

bool display_event(struct display *display, const json_t *envelope) {
    const json_t *data = json_object_get(envelope, "data");
    double at = answer_time(envelope, "at"), offset = at - clock_monotonic();

    /* Old events came late, so the smallest distance to the daemon's clock is the best. */
    if (isfinite(at) && !(display->clock_offset >= offset))
        display->clock_offset = offset;
    for (size_t i = 0; i < ARRAY_SIZE(event_kinds); i++) {
        if (!str_equal(event_kinds[i].type, answer_text(envelope, "type")))
            continue;
        event_kinds[i].take(display, data, at);
        return event_kinds[i].last;
    }
    return false;
}

void display_end(struct display *display) {
    block_end(&display->block);
    json_decref(display->devices);
    display->devices = NULL;
}
