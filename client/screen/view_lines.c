// SPDX-License-Identifier: Apache-2.0
/* What the block of a job that is followed looks like. */
#include "client/screen/view.h"

#include "base/clock.h"
#include "client/screen/progress.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define NAME_WIDTH_MAX 40

/* How a phase is written: with its time, the time of the present one only, without. */
enum phase_form { ALL_TIMES, ONE_TIME, NO_TIMES, N_PHASE_FORMS };

static void put_title(const struct view *view, struct line *line) {
    line_put(line, STYLE_BOLD, "job %" PRId64 ": %s", view->id, view->title);
    if (view->name[0])
        line_put(line, STYLE_DIM, "  %s", view->name);
}

static double phase_seconds(const struct view *view, int phase) {
    double now = clock_monotonic() + view->clock_offset;

    if (phase == view->phase && now > view->phases[phase].began_at)
        return view->phases[phase].seconds + now - view->phases[phase].began_at;
    return view->phases[phase].seconds;
}

static void put_phase(const struct view *view, struct line *line, int phase, enum phase_form form) {
    static const struct {
        const char *utf8, *ascii;
        enum style style;
    } marks[] = {
        [PHASE_AHEAD] = {"○", ".", STYLE_DIM},
        [PHASE_NOW] = {"●", ">", STYLE_CYAN},
        [PHASE_DONE] = {"✓", "+", STYLE_GREEN},
    };
    enum phase_state state = view->phases[phase].state;
    bool timed = form == ALL_TIMES ? state != PHASE_AHEAD : form == ONE_TIME && state == PHASE_NOW;
    char seconds[TEXT_SIZE];

    if (line->n_pieces)
        line_put(line, STYLE_PLAIN, "  ");
    line_put(line, marks[state].style, "%s",
             view->block.terminal->utf8 ? marks[state].utf8 : marks[state].ascii);
    line_put(line,
             state == PHASE_NOW     ? STYLE_BOLD
             : state == PHASE_AHEAD ? STYLE_DIM
                                    : STYLE_PLAIN,
             " %s", view_phase_name(phase));
    text_duration(phase_seconds(view, phase), seconds);
    if (timed && phase_seconds(view, phase) > 0)
        line_put(line, STYLE_DIM, " %s", seconds);
}

/* "✓ load 0.4 s  ● quantize 12 s  ○ evaluate", with as many times as there is room for. */
static void put_phases(const struct view *view, struct line *line, int width) {
    for (int form = 0; form < N_PHASE_FORMS; form++) {
        line_done(line);
        for (int i = 0; i < N_VIEW_PHASES; i++)
            if (view->phases[i].state != PHASE_NONE)
                put_phase(view, line, i, form);
        if (line_width(line) <= width)
            return;
    }
    line_done(line);
    if (view->phase >= 0)
        put_phase(view, line, view->phase, ALL_TIMES);
}

/* A fact after the others. */
static void put_fact(struct line *line, const struct view *view, const char *text) {
    if (!text[0])
        return;
    if (line->n_pieces)
        line_put(line, STYLE_DIM, "%s", view->block.terminal->utf8 ? " · " : ", ");
    line_put(line, STYLE_PLAIN, "%s", text);
}

static void put_facts(const struct view *view, struct line *line) {
    bool in_layers = view->phase == VIEW_QUANTIZE || view->phase == VIEW_EVALUATE;
    char text[TEXT_SIZE * 5], amount[TEXT_SIZE];

    put_fact(line, view, view->step);
    if (in_layers && view->layer >= 0 && view->n_layers > 0) {
        snprintf(text, sizeof(text), "layer %" PRId64 "/%" PRId64,
                 MIN(view->layer + 1, view->n_layers), view->n_layers);
        put_fact(line, view, text);
    }
    put_fact(line, view, view->detail);
    put_fact(line, view, view->file);
    if (view->tokens_per_second > 0 && view->phase >= 0) {
        text_count(view->tokens_per_second, amount);
        snprintf(text, sizeof(text), "%s tokens/s", amount);
        put_fact(line, view, text);
    }
    if (view->device_name[0] && !str_has_prefix(view->device_name, view->device))
        snprintf(text, sizeof(text), "%s (%s)", view->device_name, view->device);
    else
        snprintf(text, sizeof(text), "%s", view->device_name[0] ? view->device_name : view->device);
    put_fact(line, view, text);
    text_duration(clock_monotonic() - view->begun_at, amount);
    snprintf(text, sizeof(text), "waiting for %s", amount);
    put_fact(line, view, view->phase < 0 && !isfinite(view->fraction) ? text : "");
}

/* Input features of a matrix; 0: not known. */
static int64_t features_of(const struct view *view, const char *name) {
    return strstr(name, "down_proj") ? view->intermediate_size : view->hidden_size;
}

static void put_matrix(const struct view *view, struct line *line, int i, int name_width) {
    const struct view_matrix *matrix = &view->worst[i];
    bool few = matrix->tokens >= 0 && matrix->tokens < features_of(view, matrix->name);
    char tokens[TEXT_SIZE];

    line_put(line, STYLE_DIM, "%s", i ? "" : "worst so far");
    line_pad(line, 14);
    line_put(line, STYLE_PLAIN, "layer %-3" PRId64 " %s", matrix->layer, matrix->name);
    line_pad(line, 14 + 10 + name_width + 1);
    line_put(line, STYLE_PLAIN, "%8.4f", matrix->error);
    text_count((double)matrix->tokens, tokens);
    if (matrix->nearest)
        line_put(line, STYLE_YELLOW, "  nearest");
    if (few)
        line_put(line, STYLE_YELLOW, "%s%s tokens", matrix->nearest ? ", " : "  ", tokens);
}

/* Columns of the longest name, within reason. */
static int name_width(const struct view *view) {
    int width = 0;

    for (int i = 0; i < view->n_worst; i++)
        width = MAX(width, text_width(view->worst[i].name));
    return MIN(width, NAME_WIDTH_MAX);
}

static void put_eval(const struct view *view, struct line *line, int i) {
    const struct view_eval *eval = &view->evals[i];
    char value[TEXT_SIZE], error[TEXT_SIZE], baseline[TEXT_SIZE];
    int width = 0;

    for (int k = 0; k < view->n_evals; k++)
        width = MAX(width, text_width(view->evals[k].set));
    text_perplexity(eval->value, value);
    text_perplexity(eval->error, error);
    text_perplexity(eval->baseline, baseline);
    line_put(line, STYLE_DIM, "%s", i ? "" : "perplexity");
    line_pad(line, 14);
    line_put(line, STYLE_PLAIN, "%s", eval->set);
    line_pad(line, 14 + MIN(width, NAME_WIDTH_MAX) + 2);
    line_put(line, STYLE_BOLD, "%7s", value);
    if (isfinite(eval->error))
        line_put(line, STYLE_DIM, " %s %s", view->block.terminal->utf8 ? "±" : "+-", error);
    if (eval->baseline > 0)
        line_put(line, STYLE_PLAIN, "  %+.2f %% of %s unquantized",
                 (eval->value / eval->baseline - 1) * 100, baseline);
}

int view_lines(const struct view *view, struct line *lines, int most) {
    int width = view->block.terminal->width - 1, names = name_width(view), n = 0;
    const char *notice = view->trouble[0] ? view->trouble : view->notice;
    bool bar = isfinite(view->fraction) && !view->trouble[0];
    /* What is there beside the worst matrices and perplexities, in the order of its worth. */
    int left = most - 1, show_facts, show_notice, show_phases, n_evals, n_worst;

    left -= bar;
    left -= show_facts = left > 0;
    left -= show_notice = left > 0 && notice[0];
    left -= show_phases = left > 0;
    left -= n_evals = MIN(view->n_evals, MAX(left, 0));
    n_worst = MIN(view->n_worst, MAX(left, 0));

    put_title(view, &lines[n++]);
    if (show_phases)
        put_phases(view, &lines[n++], width);
    if (bar && n < most)
        progress_bar(&lines[n++], view->block.terminal, width, view->fraction,
                     view->eta_seconds - (clock_monotonic() - view->eta_at));
    if (show_facts)
        put_facts(view, &lines[n++]);
    for (int i = 0; i < n_evals; i++)
        put_eval(view, &lines[n++], view->n_evals - n_evals + i);
    for (int i = 0; i < n_worst; i++)
        put_matrix(view, &lines[n++], i, names);
    if (show_notice)
        line_put(&lines[n++], STYLE_YELLOW, "%s", notice);
    return n;
}
