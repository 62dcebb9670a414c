// SPDX-License-Identifier: Apache-2.0
#include "client/job/display_draw.h"

#include "base/clock.h"
#include "client/screen/progress.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define DRAW_SECONDS 0.1
#define ALIVE_SECONDS 15.0
#define ALIVE_WIDTH 200
#define NAME_WIDTH_MAX 40

/* The phases with all times, with the time of the present one only, or without times. */
enum phase_form { ALL_TIMES, ONE_TIME, NO_TIMES, N_PHASE_FORMS };

static void put_title(const struct display *display, struct line *line) {
    line_put(line, STYLE_BOLD, "job %" PRId64 ": %s", display->id, display->title);
    if (display->name[0])
        line_put(line, STYLE_DIM, "  %s", display->name);
}

static double phase_seconds(const struct display *display, int phase) {
    double now = clock_monotonic() + display->clock_offset;

    if (phase == display->phase && now > display->phases[phase].began_at)
        return display->phases[phase].seconds + now - display->phases[phase].began_at;
    return display->phases[phase].seconds;
}

static void put_phase(const struct display *display, struct line *line, int phase,
                      enum phase_form form) {
    static const struct {
        const char *utf8, *ascii;
        enum style style;
    } marks[] = {
        [PHASE_AHEAD] = {"○", ".", STYLE_DIM},
        [PHASE_NOW] = {"●", ">", STYLE_CYAN},
        [PHASE_DONE] = {"✓", "+", STYLE_GREEN},
    };
    enum phase_state state = display->phases[phase].state;
    bool timed = form == ALL_TIMES ? state != PHASE_AHEAD : form == ONE_TIME && state == PHASE_NOW;
    char seconds[TEXT_SIZE];

    if (line->n_pieces)
        line_put(line, STYLE_PLAIN, "  ");
    line_put(line, marks[state].style, "%s",
             display->block.terminal->utf8 ? marks[state].utf8 : marks[state].ascii);
    line_put(line,
             state == PHASE_NOW     ? STYLE_BOLD
             : state == PHASE_AHEAD ? STYLE_DIM
                                    : STYLE_PLAIN,
             " %s", display_phase_name(phase));
    text_duration(phase_seconds(display, phase), seconds);
    if (timed && phase_seconds(display, phase) > 0)
        line_put(line, STYLE_DIM, " %s", seconds);
}

/* "✓ load 0.4 s  ● quantize 12 s  ○ evaluate", with as many times as fit. */
static void put_phases(const struct display *display, struct line *line, int width) {
    for (int form = 0; form < N_PHASE_FORMS; form++) {
        line_done(line);
        for (int i = 0; i < N_DISPLAY_PHASES; i++)
            if (display->phases[i].state != PHASE_NONE)
                put_phase(display, line, i, form);
        if (line_width(line) <= width)
            return;
    }
    line_done(line);
    if (display->phase >= 0)
        put_phase(display, line, display->phase, ALL_TIMES);
}

/* Appends a fact. */
static void put_fact(struct line *line, const struct display *display, const char *text) {
    if (!text[0])
        return;
    if (line->n_pieces)
        line_put(line, STYLE_DIM, "%s", display->block.terminal->utf8 ? " · " : ", ");
    line_put(line, STYLE_PLAIN, "%s", text);
}

static void put_facts(const struct display *display, struct line *line) {
    bool in_layers = display->phase == DISPLAY_QUANTIZE || display->phase == DISPLAY_EVALUATE;
    char text[TEXT_SIZE * 5], amount[TEXT_SIZE];

    put_fact(line, display, display->step);
    if (in_layers && display->layer >= 0 && display->n_layers > 0) {
        snprintf(text, sizeof(text), "layer %" PRId64 "/%" PRId64,
                 MIN(display->layer + 1, display->n_layers), display->n_layers);
        put_fact(line, display, text);
    }
    put_fact(line, display, display->detail);
    put_fact(line, display, display->file);
    if (display->tokens_per_second > 0 && display->phase >= 0) {
        text_count(display->tokens_per_second, amount);
        snprintf(text, sizeof(text), "%s tokens/s", amount);
        put_fact(line, display, text);
    }
    if (display->device_name[0] && !str_has_prefix(display->device_name, display->device))
        snprintf(text, sizeof(text), "%s (%s)", display->device_name, display->device);
    else
        snprintf(text, sizeof(text), "%s",
                 display->device_name[0] ? display->device_name : display->device);
    put_fact(line, display, text);
    text_duration(clock_monotonic() - display->begun_at, amount);
    snprintf(text, sizeof(text), "waiting for %s", amount);
    put_fact(line, display, display->phase < 0 && !isfinite(display->fraction) ? text : "");
}

/* Input features of a matrix; 0: not known. */
static int64_t features_of(const struct display *display, const char *name) {
    return strstr(name, "down_proj") ? display->intermediate_size : display->hidden_size;
}

static void put_matrix(const struct display *display, struct line *line, int i, int name_width) {
    const struct display_matrix *matrix = &display->worst[i];
    bool few = matrix->tokens >= 0 && matrix->tokens < features_of(display, matrix->name);
    char tokens[TEXT_SIZE];

    line_put(line, STYLE_DIM, "%s", i ? "" : "worst so far");
    line_pad(line, 14);
    line_put(line, STYLE_PLAIN, "layer %-3" PRId64 " %s", matrix->layer, matrix->name);
    line_pad(line, 14 + 10 + name_width + 1);
    line_put(line, STYLE_PLAIN, "%8.4f", matrix->error);
    text_count((double)matrix->tokens, tokens);
    if (matrix->fallback[0])
        line_put(line, STYLE_YELLOW, "  %s", matrix->fallback);
    if (few)
        line_put(line, STYLE_YELLOW, "%s%s tokens", matrix->fallback[0] ? ", " : "  ", tokens);
}

/* Columns of the longest name, up to a limit. */
static int name_width(const struct display *display) {
    int width = 0;

    for (int i = 0; i < display->n_worst; i++)
        width = MAX(width, text_width(display->worst[i].name));
    return MIN(width, NAME_WIDTH_MAX);
}

static void put_eval(const struct display *display, struct line *line, int i) {
    const struct display_eval *eval = &display->evals[i];
    char value[TEXT_SIZE], error[TEXT_SIZE], baseline[TEXT_SIZE];
    int width = 0;

    for (int k = 0; k < display->n_evals; k++)
        width = MAX(width, text_width(display->evals[k].set));
    text_perplexity(eval->value, value);
    text_perplexity(eval->error, error);
    text_perplexity(eval->baseline, baseline);
    line_put(line, STYLE_DIM, "%s", i ? "" : "perplexity");
    line_pad(line, 14);
    line_put(line, STYLE_PLAIN, "%s", eval->set);
    line_pad(line, 14 + MIN(width, NAME_WIDTH_MAX) + 2);
    line_put(line, STYLE_BOLD, "%7s", value);
    if (isfinite(eval->error))
        line_put(line, STYLE_DIM, " %s %s", display->block.terminal->utf8 ? "±" : "+-", error);
    if (eval->baseline > 0)
        line_put(line, STYLE_PLAIN, "  %+.2f %% of %s unquantized",
                 (eval->value / eval->baseline - 1) * 100, baseline);
}

int display_lines(const struct display *display, struct line *lines, int most) {
    int width = display->block.terminal->width - 1, names = name_width(display), n = 0;
    const char *notice = display->trouble[0] ? display->trouble : display->notice;
    bool bar = isfinite(display->fraction) && !display->trouble[0];
    /* When lines are few, the worst matrices go first, then perplexities, phases, notice, facts. */
    int left = most - 1, show_facts, show_notice, show_phases, n_evals, n_worst;

    left -= bar;
    left -= show_facts = left > 0;
    left -= show_notice = left > 0 && notice[0];
    left -= show_phases = left > 0;
    left -= n_evals = MIN(display->n_evals, MAX(left, 0));
    n_worst = MIN(display->n_worst, MAX(left, 0));

    put_title(display, &lines[n++]);
    if (show_phases)
        put_phases(display, &lines[n++], width);
    if (bar && n < most)
        progress_bar(&lines[n++], display->block.terminal, width, display->fraction,
                     display->eta_seconds - (clock_monotonic() - display->eta_at));
    if (show_facts)
        put_facts(display, &lines[n++]);
    for (int i = 0; i < n_evals; i++)
        put_eval(display, &lines[n++], display->n_evals - n_evals + i);
    for (int i = 0; i < n_worst; i++)
        put_matrix(display, &lines[n++], i, names);
    if (show_notice)
        line_put(&lines[n++], STYLE_YELLOW, "%s", notice);
    return n;
}

/* In a pipe or file: how far the job is, when nothing was printed for a while. */
static void say_alive(struct display *display) {
    double now = clock_monotonic(), left = display->eta_seconds - (now - display->eta_at);
    char text[TEXT_SIZE * 2], duration[TEXT_SIZE];
    struct strbuf out = {};
    struct line line = {};

    if (now - display->block.said_at < ALIVE_SECONDS || display->trouble[0])
        return;
    if (display->phase >= 0)
        put_fact(&line, display, display_phase_name(display->phase));
    if (isfinite(display->fraction)) {
        snprintf(text, sizeof(text), "%.0f %%", floor(display->fraction * 100));
        put_fact(&line, display, text);
    }
    if (left > 0) {
        text_duration(left, duration);
        snprintf(text, sizeof(text), "%s left", duration);
        put_fact(&line, display, text);
    }
    put_facts(display, &line);
    line_render(&line, display->block.terminal, ALIVE_WIDTH, &out);
    if (!out.failed && out.length)
        block_say(&display->block, STYLE_PLAIN, "%s", out.data);
    strbuf_done(&out);
    line_done(&line);
}

void display_draw(struct display *display, bool now) {
    struct line lines[BLOCK_LINES_MAX] = {};
    double at = clock_monotonic();
    int n;

    if (!display->block.terminal->redraw)
        say_alive(display);
    if (!display->block.terminal->redraw || (!now && at - display->drawn_at < DRAW_SECONDS))
        return;
    display->drawn_at = at;
    terminal_measure(display->block.terminal);
    n = display_lines(display, lines, MIN(BLOCK_LINES_MAX, display->block.terminal->height - 1));
    block_draw(&display->block, lines, n);
    for (int i = 0; i < n; i++)
        line_done(&lines[i]);
}
