// SPDX-License-Identifier: Apache-2.0
#include "client/screen/view.h"

#include "api/wire.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define DRAW_SECONDS 0.1
#define WARNINGS_SHOWN 5 /* a model has thousands of matrices; the report counts them all */

static const char *const phase_names[N_VIEW_PHASES] = {WIRE_PHASE_PULL,      WIRE_PHASE_LOAD,
                                                       WIRE_PHASE_CALIBRATE, WIRE_PHASE_QUANTIZE,
                                                       WIRE_PHASE_EVALUATE,  WIRE_PHASE_EXPORT};

const char *view_phase_name(enum view_phase phase) {
    return phase_names[phase];
}

static bool plain(const struct view *view) {
    return !view->block.terminal->redraw;
}

/* The daemon's clock now, NAN when it is not known. */
static double daemon_now(const struct view *view) {
    return clock_monotonic() + view->clock_offset;
}

static void set_phase_state(struct view *view, int phase, bool planned) {
    if (view->phases[phase].state == PHASE_NONE && planned)
        view->phases[phase].state = PHASE_AHEAD;
}

/* What the job will go through, as far as its parameters tell. */
static void plan_phases(struct view *view, const json_t *job) {
    const json_t *params = json_object_get(job, "params");
    bool quantizes =
        str_equal(job_text(job, "kind"), "quantize") && job_int(params, "wbits", 16) < 16;

    view->gptq = quantizes && !json_is_true(json_object_get(params, "nearest"));
    set_phase_state(view, VIEW_LOAD, true);
    set_phase_state(view, VIEW_CALIBRATE, view->gptq);
    set_phase_state(view, VIEW_QUANTIZE, quantizes);
    set_phase_state(view, VIEW_EVALUATE, json_array_size(json_object_get(params, "eval")) > 0);
    set_phase_state(view, VIEW_EXPORT, quantizes);
}

static void end_phase(struct view *view, enum phase_state state, double at) {
    int phase = view->phase;

    if (phase < 0)
        return;
    if (at > view->phases[phase].began_at)
        view->phases[phase].seconds += at - view->phases[phase].began_at;
    view->phases[phase].state = state;
    view->phase = -1;
}

/* @at: daemon's clock */
static void enter_phase(struct view *view, const char *name, double at) {
    for (int i = 0; i < N_VIEW_PHASES; i++) {
        if (!str_equal(name, phase_names[i]) || view->phase == i)
            continue;
        end_phase(view, PHASE_DONE, at);
        view->phase = i;
        view->phases[i].state = PHASE_NOW;
        view->phases[i].began_at = at;
        for (int k = 0; k < i; k++) /* one that an earlier attempt has finished is left out */
            if (view->phases[k].state == PHASE_AHEAD)
                view->phases[k].state = PHASE_DONE;
        view->step[0] = view->detail[0] = view->file[0] = '\0';
        view->tokens_per_second = NAN;
        if (plain(view))
            block_say(&view->block, STYLE_PLAIN, "%s", name);
    }
}

/* A job that starts goes through its phases from the first; the times of all attempts add up. */
static void start_anew(struct view *view, double at) {
    end_phase(view, PHASE_DONE, at);
    for (int i = VIEW_LOAD; i < N_VIEW_PHASES; i++)
        if (view->phases[i].state != PHASE_NONE)
            view->phases[i].state = PHASE_AHEAD;
}

static void set_fraction(struct view *view, double fraction, double eta_seconds) {
    view->fraction = fraction >= 0 && fraction <= 1 ? fraction : NAN;
    view->eta_seconds = eta_seconds >= 0 ? eta_seconds : NAN;
    view->eta_at = clock_monotonic();
}

/* What a job waits for: its files. */
static void set_pull(struct view *view, const json_t *data) {
    char bytes[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE];
    bool sized = job_number(data, "bytes_total") > 0, moves = job_number(data, "rate") > 0;
    int n;

    bytes_text(job_number(data, "bytes"), bytes);
    bytes_text(job_number(data, "bytes_total"), total);
    bytes_text(job_number(data, "rate"), rate);
    if (sized)
        n = snprintf(view->detail, sizeof(view->detail), "%s of %s", bytes, total);
    else
        n = snprintf(view->detail, sizeof(view->detail), "%s", bytes);
    if (moves && n > 0 && n < (int)sizeof(view->detail))
        snprintf(view->detail + n, sizeof(view->detail) - n, ", %s/s", rate);
    snprintf(view->file, sizeof(view->file), "%s", job_text(data, "file"));
}

static void set_progress(struct view *view, const json_t *data, double at) {
    if (!json_is_object(data))
        return;
    enter_phase(view, job_text(data, "phase"), at);
    view->layer = job_int(data, "layer", -1);
    view->n_layers = job_int(data, "layers_total", 0);
    if (view->phase == VIEW_PULL)
        set_pull(view, data);
    if (job_number(data, "tokens_per_second") > 0)
        view->tokens_per_second = job_number(data, "tokens_per_second");
    set_fraction(view, job_number(data, "fraction"), job_number(data, "eta_seconds"));
}

static void set_queued(struct view *view, const json_t *job) {
    int64_t ahead = job_int(job, "queue_position", 0) - 1;
    const json_t *paused = json_object_get(job, "paused");

    if (str_equal(job_text(json_object_get(job, "progress"), "phase"), WIRE_PHASE_PULL)) {
        set_progress(view, json_object_get(job, "progress"), daemon_now(view));
        return;
    }
    end_phase(view, PHASE_AHEAD, NAN);
    set_fraction(view, NAN, NAN);
    view->detail[0] = view->file[0] = '\0';
    if (json_is_object(paused))
        snprintf(view->step, sizeof(view->step), "paused: %.80s", job_text(paused, "detail"));
    else if (ahead > 0)
        snprintf(view->step, sizeof(view->step), "queued, %" PRId64 " ahead", ahead);
    else
        snprintf(view->step, sizeof(view->step), "queued, next in line");
}

void view_job(struct view *view, const json_t *job) {
    const json_t *model = json_object_get(job, "model");
    const char *status = job_text(job, "status");

    view->hidden_size = job_int(model, "hidden_size", view->hidden_size);
    view->intermediate_size = job_int(model, "intermediate_size", view->intermediate_size);
    if (str_equal(status, "queued"))
        set_queued(view, job);
    else if (str_equal(status, "cancelling"))
        snprintf(view->step, sizeof(view->step), "cancelling");
    else if (str_equal(status, "running")) /* the events tell in which phase it is */
        set_fraction(view, job_number(json_object_get(job, "progress"), "fraction"),
                     job_number(json_object_get(job, "progress"), "eta_seconds"));
}

void view_begin(struct view *view, struct terminal *terminal, const json_t *job) {
    cleanup(freep) char *what = job_title(job);

    *view = (struct view){
        .id = job_id(job),
        .percdamp = fmax(job_number(json_object_get(job, "params"), "percdamp"), 0),
        .phase = -1,
        .fraction = NAN,
        .eta_seconds = NAN,
        .tokens_per_second = NAN,
        .begun_at = clock_monotonic(),
        .clock_offset = NAN,
        .drawn_at = -1,
    };
    block_begin(&view->block, terminal);
    snprintf(view->title, sizeof(view->title), "%s", what ? what : "");
    snprintf(view->name, sizeof(view->name), "%s", job_text(job, "name"));
    plan_phases(view, job);
    if (plain(view))
        block_say(&view->block, STYLE_PLAIN, "job %" PRId64 ": %s", view->id, view->title);
    view_job(view, job);
}

static void name_device(struct view *view) {
    const json_t *device;
    size_t i;

    view->device_name[0] = '\0';
    json_array_foreach(json_object_get(view->devices, "data"), i, device) {
        if (view->device[0] && str_equal(job_text(device, "id"), view->device))
            snprintf(view->device_name, sizeof(view->device_name), "%s", job_text(device, "name"));
    }
}

void view_devices(struct view *view, json_t *devices) {
    json_decref(view->devices);
    view->devices = json_incref(devices);
    name_device(view);
}

bool view_lacks_facts(const struct view *view) {
    return view->n_matrices > 0 && view->hidden_size == 0;
}

void view_trouble(struct view *view, const char *text) {
    bool news = (text && text[0]) != (view->trouble[0] != '\0');

    snprintf(view->trouble, sizeof(view->trouble), "%s", text ? text : "");
    if (news && plain(view))
        block_say(&view->block, STYLE_PLAIN, "%s", text ? text : "connected again");
    else if (news && !text)
        snprintf(view->notice, sizeof(view->notice), "connected again");
}

/* ---- events ---- */

static void say(struct view *view, const char *text) {
    if (plain(view))
        block_say(&view->block, STYLE_PLAIN, "%s", text);
    else
        snprintf(view->notice, sizeof(view->notice), "%s", text);
}

static void on_job_started(struct view *view, const json_t *data, double at) {
    start_anew(view, at);
    snprintf(view->step, sizeof(view->step), "started");
    snprintf(view->device, sizeof(view->device), "%s", job_text(data, "device"));
    name_device(view);
}

static void on_phase(struct view *view, const json_t *data, double at) {
    enter_phase(view, job_text(data, "phase"), at);
}

static void add_worst(struct view *view, const struct view_matrix *matrix) {
    int at;

    /* A job that begins anew reports its layers again. */
    for (at = 0; at < view->n_worst; at++)
        if (view->worst[at].layer == matrix->layer &&
            str_equal(view->worst[at].name, matrix->name)) {
            memmove(&view->worst[at], &view->worst[at + 1],
                    sizeof(*matrix) * (size_t)(--view->n_worst - at));
            break;
        }
    at = view->n_worst;
    while (at > 0 && view->worst[at - 1].error < matrix->error)
        at--;
    if (at == JOB_WORST_MAX)
        return;
    if (view->n_worst < JOB_WORST_MAX)
        view->n_worst++;
    memmove(&view->worst[at + 1], &view->worst[at],
            sizeof(*matrix) * (size_t)(view->n_worst - 1 - at));
    view->worst[at] = *matrix;
}

static void on_layer(struct view *view, const json_t *data, double at) {
    const json_t *entry;
    struct job_layers sum = {};
    size_t i;

    (void)at;
    job_layers_add(&sum, data, view->percdamp);
    view->n_matrices += sum.n_matrices;
    view->n_nearest += view->gptq ? sum.n_nearest : 0;
    json_array_foreach(json_object_get(data, "matrices"), i, entry) {
        struct view_matrix matrix = {
            .layer = job_int(data, "layer", 0),
            .error = job_number(entry, "error"),
            .tokens = job_int(entry, "tokens", -1),
            .nearest = view->gptq && str_equal(job_text(entry, "method"), "rtn"),
        };

        snprintf(matrix.name, sizeof(matrix.name), "%s", job_matrix_name(job_text(entry, "name")));
        if (isfinite(matrix.error))
            add_worst(view, &matrix);
    }
    if (plain(view)) {
        cleanup(freep) char *line = job_layer_line(data, &sum);

        block_say(&view->block, STYLE_PLAIN, "%s", line ? line : "");
    }
}

static void on_eval_progress(struct view *view, const json_t *data, double at) {
    enter_phase(view, phase_names[VIEW_EVALUATE], at);
    snprintf(view->detail, sizeof(view->detail), "%.40s, window %" PRId64 "/%" PRId64,
             job_text(data, "set"), job_int(data, "window", 0), job_int(data, "windows", 0));
}

static void on_eval(struct view *view, const json_t *data, double at) {
    struct view_eval eval = {
        .value = job_number(data, "perplexity"),
        .error = job_number(data, "stderr"),
        .baseline = job_number(data, "baseline"),
    };
    char value[TEXT_SIZE];
    int i;

    (void)at;
    snprintf(eval.set, sizeof(eval.set), "%s", job_text(data, "set"));
    for (i = 0; i < view->n_evals; i++)
        if (str_equal(view->evals[i].set, eval.set))
            break;
    if (i < VIEW_EVALS_MAX)
        view->evals[i] = eval;
    view->n_evals = MIN(MAX(view->n_evals, i + 1), VIEW_EVALS_MAX);
    view->detail[0] = '\0';
    if (!plain(view))
        return;
    text_perplexity(eval.value, value);
    if (eval.baseline > 0)
        block_say(&view->block, STYLE_PLAIN, "perplexity of %s: %s, %+.2f %% of the unquantized",
                  eval.set, value, (eval.value / eval.baseline - 1) * 100);
    else
        block_say(&view->block, STYLE_PLAIN, "perplexity of %s: %s", eval.set, value);
}

static void on_resumed(struct view *view, const json_t *data, double at) {
    char text[96];

    (void)at;
    if (json_object_get(data, "layer"))
        snprintf(text, sizeof(text), "resumed at layer %" PRId64, job_int(data, "layer", 0));
    else
        snprintf(text, sizeof(text), "resumed");
    say(view, text);
}

static void on_paused(struct view *view, const json_t *data, double at) {
    char text[256];

    end_phase(view, PHASE_AHEAD, at);
    set_fraction(view, NAN, NAN);
    view->detail[0] = view->file[0] = '\0';
    snprintf(view->step, sizeof(view->step), "paused");
    snprintf(text, sizeof(text), "paused: %s", job_text(data, "detail"));
    say(view, text);
}

static void on_warning(struct view *view, const json_t *data, double at) {
    (void)at;
    view->n_warnings++;
    if (!plain(view))
        snprintf(view->notice, sizeof(view->notice), "%d warning%s, the newest: %s",
                 view->n_warnings, view->n_warnings == 1 ? "" : "s", job_text(data, "detail"));
    else if (view->n_warnings <= WARNINGS_SHOWN)
        block_say(&view->block, STYLE_PLAIN, "warning: %s", job_text(data, "detail"));
    else if (view->n_warnings == WARNINGS_SHOWN + 1)
        block_say(&view->block, STYLE_PLAIN, "more warnings are counted at the end");
}

static void on_interrupted(struct view *view, const json_t *data, double at) {
    char text[256];

    end_phase(view, PHASE_AHEAD, at);
    set_fraction(view, NAN, NAN);
    snprintf(view->step, sizeof(view->step), "queued again");
    snprintf(text, sizeof(text), "interrupted: %s; queued again", job_text(data, "reason"));
    say(view, text);
}

static void on_end(struct view *view, const json_t *data, double at) {
    (void)data;
    end_phase(view, PHASE_DONE, at);
}

static const struct {
    const char *type;
    void (*take)(struct view *view, const json_t *data, double at);
    bool last; /* no event of the job follows */
} event_kinds[] = {
    {WIRE_EVENT_PROGRESS, set_progress, false},
    {WIRE_EVENT_JOB_STARTED, on_job_started, false},
    {WIRE_EVENT_JOB_RESUMED, on_resumed, false},
    {WIRE_EVENT_JOB_PAUSED, on_paused, false},
    {WIRE_EVENT_JOB_INTERRUPTED, on_interrupted, false},
    {WIRE_EVENT_JOB_WARNING, on_warning, false},
    {WIRE_EVENT_PHASE_STARTED, on_phase, false},
    {WIRE_EVENT_LAYER_FINISHED, on_layer, false},
    {WIRE_EVENT_EVAL_PROGRESS, on_eval_progress, false},
    {WIRE_EVENT_EVAL_FINISHED, on_eval, false},
    {WIRE_EVENT_JOB_SUCCEEDED, on_end, true},
    {WIRE_EVENT_JOB_FAILED, on_end, true},
    {WIRE_EVENT_JOB_CANCELLED, on_end, true},
};

bool view_event(struct view *view, const json_t *envelope) {
    const json_t *data = json_object_get(envelope, "data");
    double at = job_time(envelope, "at"), offset = at - clock_monotonic();

    /* What is told again from the past came late: the newest is the nearest to the clock. */
    if (isfinite(at) && !(view->clock_offset >= offset))
        view->clock_offset = offset;
    for (size_t i = 0; i < ARRAY_SIZE(event_kinds); i++) {
        if (!str_equal(event_kinds[i].type, job_text(envelope, "type")))
            continue;
        event_kinds[i].take(view, data, at);
        return event_kinds[i].last;
    }
    return false;
}

void view_draw(struct view *view, bool now) {
    struct line lines[BLOCK_LINES_MAX] = {};
    double at = clock_monotonic();
    int n;

    if (plain(view) || (!now && at - view->drawn_at < DRAW_SECONDS))
        return;
    view->drawn_at = at;
    terminal_measure(view->block.terminal);
    n = view_lines(view, lines, MIN(BLOCK_LINES_MAX, view->block.terminal->height - 1));
    block_draw(&view->block, lines, n);
    for (int i = 0; i < n; i++)
        line_done(&lines[i]);
}

void view_end(struct view *view) {
    block_end(&view->block);
    json_decref(view->devices);
    view->devices = NULL;
}
