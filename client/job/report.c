// SPDX-License-Identifier: Apache-2.0
#include "client/job/report.h"

#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/job/display.h"
#include "client/job/job.h"
#include "client/job/plan/plan.h"
#include "client/screen/label.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The perplexity of the unquantized model on @set, NAN when the daemon does not know it. */
static double baseline_of(const json_t *job, const char *set) {
    const json_t *baseline = json_object_get(json_object_get(job, "result"), "baseline");

    return answer_number(baseline, set);
}

void report_change(const json_t *job, const char *set, bool utf8, char ret_text[TEXT_SIZE]) {
    const json_t *result = json_object_get(job, "result");
    double base = baseline_of(job, set), ratio;
    double error = answer_number(json_object_get(json_object_get(result, "difference"), set),
                                 "log_ratio_stderr");

    ratio =
        answer_number(json_object_get(json_object_get(result, "perplexity"), set), "value") / base;
    ret_text[0] = '\0';
    if (!isfinite(base) || !(base > 0))
        return;
    if (isfinite(error))
        snprintf(ret_text, TEXT_SIZE, "%+.2f %s %.2f %%", (ratio - 1) * 100, utf8 ? "±" : "+-",
                 ratio * error * 100);
    else
        snprintf(ret_text, TEXT_SIZE, "%+.2f %%", (ratio - 1) * 100);
}

static void add_row(struct table *table, const json_t *job, const char *set, const json_t *entry,
                    bool utf8) {
    double value = answer_number(entry, "value"), error = answer_number(entry, "stderr");
    double baseline = baseline_of(job, set);
    char text[TEXT_SIZE];

    table_cell(table, "%s", set);
    text_perplexity(value, text);
    table_cell(table, "%s", text);
    text_perplexity(error, text);
    table_cell(table, "%s", isfinite(error) ? text : "");
    text_perplexity(baseline, text);
    table_cell(table, "%s", isfinite(baseline) ? text : "");
    report_change(job, set, utf8, text);
    table_cell(table, "%s", text);
    table_cell(table, "%" PRId64, answer_int(entry, "windows", 0));
    table_cell(table, "%" PRId64, answer_int(entry, "tokens", 0));
}

/* A blank line and the table of perplexities; nothing when there are none. */
static int report_perplexity(const struct terminal *terminal, const json_t *job,
                             struct failure *failure) {
    json_t *sets = json_object_get(json_object_get(job, "result"), "perplexity"), *entry;
    struct table_column columns[] = {
        {"set", false, true}, {"perplexity", true}, {"± stderr", true}, {NULL, true},
        {NULL, true},         {"windows", true},    {"tokens", true},
    };
    struct table table;
    const char *set;
    int r;

    if (json_object_size(sets) == 0)
        return 0;
    if (!terminal->utf8)
        columns[2].title = "+- stderr";
    json_object_foreach(sets, set, entry) {
        if (!isfinite(baseline_of(job, set)))
            continue;
        columns[3].title = "unquantized";
        columns[4].title = "change";
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_object_foreach(sets, set, entry) add_row(&table, job, set, entry, terminal->utf8);
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r ? failure_oom(failure) : 0;
}

/* A blank line and the table of differences from the original; nothing when there are none. */
static int report_difference(const struct terminal *terminal, const json_t *job,
                             struct failure *failure) {
    json_t *sets = json_object_get(json_object_get(job, "result"), "difference"), *d;
    struct table_column columns[] = {
        {"from the original", false, true},
        {"divergence", true},
        {"± stderr", true},
        {"99 %", true},
        {"largest", true},
        {"same token", true},
        {"rms of p", true},
    };
    struct table table;
    const char *set;
    int r;

    if (json_object_size(sets) == 0)
        return 0;
    if (!terminal->utf8)
        columns[2].title = "+- stderr";
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_object_foreach(sets, set, d) {
        table_cell(&table, "%s", set);
        table_cell(&table, "%.4f", answer_number(d, "kl_mean"));
        table_cell(&table, "%.4f", answer_number(d, "kl_stderr"));
        table_cell(&table, "%.3f", answer_number(d, "kl_p99"));
        table_cell(&table, "%.2f", answer_number(d, "kl_max"));
        table_cell(&table, "%.2f %%", answer_number(d, "same_top") * 100);
        table_cell(&table, "%.4f", answer_number(d, "rms_dp"));
    }
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r ? failure_oom(failure) : 0;
}

static void report_no_difference(const struct terminal *terminal, const json_t *job) {
    cleanup(freep) char *why =
        text_cleaned(answer_text(json_object_get(job, "result"), "no_difference"));

    if (why && why[0] && !str_equal(why, "not asked for"))
        fprintf(terminal->file, "not compared with its original: %s\n", why);
}

static void report_size(const struct terminal *terminal, const json_t *job) {
    const json_t *result = json_object_get(job, "result");
    double bytes = answer_number(result, "size_bytes"),
           bits = answer_number(result, "bits_per_weight");
    double whole = 2 * answer_number(json_object_get(job, "model"), "parameters");
    char size[TEXT_SIZE], whole_size[TEXT_SIZE], bits_text[48] = "";

    if (!(bytes > 0))
        return;
    bytes_text(bytes, size);
    bytes_text(whole, whole_size);
    if (bits > 0)
        snprintf(bits_text, sizeof(bits_text), ", %.2f bits per weight", bits);
    if (whole > 0)
        label_print(terminal, "size", "%s%s, %.0f %% of %s in 16 bits", size, bits_text,
                    bytes / whole * 100, whole_size);
    else
        label_print(terminal, "size", "%s%s", size, bits_text);
}

static void report_warnings(const struct terminal *terminal, const json_t *job,
                            const struct layers *sum) {
    const char *method = answer_text(json_object_get(job, "params"), "method");
    const char *yellow = terminal_style(terminal, STYLE_YELLOW);
    const char *plain = terminal_style(terminal, STYLE_PLAIN);

    if (sum->n_fallbacks) {
        cleanup(freep) char *fallback = text_cleaned(sum->fallback), *asked = text_cleaned(method);

        fprintf(terminal->file,
                "%swarning: %" PRId64 " of %" PRId64 " matrices fell back from %s to %s%s\n",
                yellow, sum->n_fallbacks, sum->n_matrices, asked ? asked : "",
                fallback ? fallback : "", plain);
        for (int i = 0; i < sum->n_reasons; i++) {
            cleanup(freep) char *reason = text_cleaned(sum->reasons[i].reason);

            fprintf(terminal->file, "  %" PRId64 ": %s\n", sum->reasons[i].n, reason ? reason : "");
        }
    }
    if (sum->n_raised)
        fprintf(terminal->file,
                "%swarning: the damping was raised for %" PRId64 " of %" PRId64
                " matrices, to at most %.3g%s\n",
                yellow, sum->n_raised, sum->n_matrices, sum->damping_most, plain);
}

/* How to run a job again that has not succeeded. */
static void report_retry(const struct terminal *terminal, const json_t *job) {
    bool later = json_is_true(json_object_get(json_object_get(job, "error"), "retryable"));

    fprintf(terminal->file, "%s: quantctl retry %" PRId64 "\n",
            later ? "it may succeed later; run it again with" : "run it again with", job_id(job));
}

void report_error(const struct terminal *terminal, const json_t *job) {
    const json_t *error = json_object_get(job, "error");
    const char *code = answer_text(error, "code");
    cleanup(freep) char *text = str_format("%s%s%s%s", answer_text(error, "detail"),
                                           code[0] ? " (" : "", code, code[0] ? ")" : "");
    cleanup(freep) char *hint = text_cleaned(answer_text(error, "hint"));
    char head[48];
    int n;

    if (!json_is_object(error) || !text || !hint)
        return;
    text_clean(text);
    n = snprintf(head, sizeof(head), "job %" PRId64 " failed: ", job_id(job));
    fprintf(terminal->file, "%s%s%s", terminal_style(terminal, STYLE_RED), head,
            terminal_style(terminal, STYLE_PLAIN));
    terminal_wrap(terminal, n, text);
    if (hint[0]) {
        fprintf(terminal->file, "hint: ");
        terminal_wrap(terminal, (int)strlen("hint: "), hint);
    }
    report_retry(terminal, job);
}

int report_layers(struct client *client, const json_t *job, struct layers *ret_sum,
                  json_t **ret_list, struct failure *failure) {
    double percdamp = answer_number(json_object_get(job, "params"), "percdamp");
    json_t *list = NULL, *layer;
    char path[64];
    size_t i;
    int r;

    *ret_sum = (struct layers){};
    snprintf(path, sizeof(path), "/v1/jobs/%" PRId64 "/layers", job_id(job));
    r = http_get(client->http, path, &list, failure);
    if (r)
        return r;
    json_array_foreach(json_object_get(list, "data"), i, layer)
        layers_add(ret_sum, layer, isfinite(percdamp) ? percdamp : 0);
    *ret_list = list;
    return 0;
}

/* In the order of the phases. */
static void report_seconds(const struct terminal *terminal, const json_t *job) {
    const json_t *seconds = json_object_get(json_object_get(job, "result"), "seconds");
    cleanup(freep) char *all = NULL;
    struct strbuf phases = {};
    char text[TEXT_SIZE];

    for (int i = 0; i < N_DISPLAY_PHASES; i++) {
        double value = answer_number(seconds, display_phase_name(i));

        text_duration(value, text);
        if (isfinite(value))
            strbuf_printf(&phases, "%s%s %s", phases.length ? ", " : "", display_phase_name(i),
                          text);
    }
    all = strbuf_steal(&phases);
    label_print(terminal, "time", "%s", all ? all : "");
}

static int report_worst(const struct terminal *terminal, const struct layers *sum,
                        struct failure *failure) {
    static const struct table_column columns[] = {
        {"layer", true},  {"worst matrices", false, true}, {"method"},
        {"tokens", true}, {"output error", true},
    };
    struct table table;
    char tokens[TEXT_SIZE];
    int r;

    if (!sum->n_worst)
        return 0;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (int i = 0; i < sum->n_worst; i++) {
        text_count((double)sum->worst[i].tokens, tokens);
        table_cell(&table, "%" PRId64, sum->worst[i].layer);
        table_cell(&table, "%s", layers_matrix_name(sum->worst[i].name));
        table_cell(&table, "%s", sum->worst[i].method);
        table_cell(&table, "%s", sum->worst[i].tokens >= 0 ? tokens : "");
        table_cell(&table, "%.4f", sum->worst[i].error);
    }
    fputc('\n', terminal->file);
    r = table_print(&table, terminal);
    table_done(&table);
    return r ? failure_oom(failure) : 0;
}

static void report_files(const struct terminal *terminal, const json_t *job, bool saves) {
    const json_t *artifacts = json_object_get(job, "artifacts"), *artifact;
    size_t i, n = json_array_size(artifacts);
    double bytes = 0;
    char text[TEXT_SIZE];

    if (n == 0)
        return;
    json_array_foreach(artifacts, i, artifact) {
        double size = answer_number(artifact, "bytes");

        bytes += size > 0 ? size : 0;
    }
    bytes_text(bytes, text);
    if (saves)
        label_print(terminal, "files", "%zu, %s", n, text);
    else
        label_print(terminal, "files", "%zu, %s; save them with: quantctl download %" PRId64 " DIR",
                    n, text, job_id(job));
}

int report_result(const struct terminal *terminal, const json_t *job, const struct layers *sum,
                  bool saves, struct failure *failure) {
    int r = report_perplexity(terminal, job, failure);

    if (!r)
        r = report_difference(terminal, job, failure);
    if (!r)
        report_no_difference(terminal, job);

    if (!r)
        r = report_worst(terminal, sum, failure);
    if (!r)
        r = plan_report(terminal, job, failure);
    if (r)
        return r;
    if (json_is_object(json_object_get(job, "result")))
        fputc('\n', terminal->file);
    report_size(terminal, job);
    report_seconds(terminal, job);
    report_files(terminal, job, saves);
    report_warnings(terminal, job, sum);
    return 0;
}

static void report_end(const struct terminal *terminal, const json_t *job) {
    double paused = answer_number(job, "paused_seconds");
    double seconds = answer_time(job, "finished_at") - answer_time(job, "started_at") -
                     (paused > 0 ? paused : 0);
    bool cancelled = str_equal(answer_text(job, "status"), "cancelled");
    cleanup(freep) char *title = job_title(job);
    char took[TEXT_SIZE];

    text_duration(seconds, took);
    if (terminal->redraw) /* elsewhere it has been printed as the first line */
        fprintf(terminal->file, "%sjob %" PRId64 ": %s%s\n", terminal_style(terminal, STYLE_BOLD),
                job_id(job), title ? title : "", terminal_style(terminal, STYLE_PLAIN));
    fprintf(terminal->file, "%sjob %" PRId64 " %s%s",
            terminal_style(terminal, cancelled ? STYLE_YELLOW : STYLE_GREEN), job_id(job),
            cancelled ? "was cancelled" : "succeeded", terminal_style(terminal, STYLE_PLAIN));
    if (seconds >= 0)
        fprintf(terminal->file, " after %s", took);
    fputc('\n', terminal->file);
    if (cancelled)
        report_retry(terminal, job);
}

int report_job(struct client *client, const json_t *job, bool saves, struct failure *failure) {
    const struct terminal *terminal = &client->terminal;
    cleanup(json_decrefp) json_t *layers = NULL;
    struct layers sum;
    int r;

    if (str_equal(answer_text(job, "status"), "failed")) {
        report_error(terminal, job);
        return 0;
    }
    report_end(terminal, job);
    if (!str_equal(answer_text(job, "status"), "succeeded"))
        return 0;
    r = report_layers(client, job, &sum, &layers, failure);
    return r ? r : report_result(terminal, job, &sum, saves, failure);
}
