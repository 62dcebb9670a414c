// SPDX-License-Identifier: Apache-2.0
#include "client/job/estimate.h"

#include "base/bytes.h"
#include "client/http/answer.h"
#include "client/screen/label.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>

#define ESTIMATE_PATH "/v1/estimate"

static const json_t *part(const json_t *estimate, const char *name) {
    return json_object_get(estimate, name);
}

/* Why @field is not known; "" when it is. */
static const char *reason(const json_t *estimate, const char *field) {
    return answer_text(part(estimate, "reasons"), field);
}

/* ---- the lines ---- */

static void show_device(const struct terminal *terminal, const json_t *estimate) {
    const json_t *device = part(estimate, "device");

    if (json_is_object(device))
        label_print(terminal, "device", "%s, %s", answer_text(device, "id"),
                    answer_text(device, "name"));
}

static void show_memory(const struct terminal *terminal, const json_t *estimate) {
    double device = answer_number(part(estimate, "memory"), "device");
    double host = answer_number(part(estimate, "memory"), "host");
    double total = answer_number(part(estimate, "device"), "memory_total");
    char needed[TEXT_SIZE], most[TEXT_SIZE], beside[TEXT_SIZE];

    if (!isfinite(device)) {
        label_print(terminal, "memory", "not known: %s", reason(estimate, "memory"));
        return;
    }
    bytes_text(device, needed);
    bytes_text(total, most);
    bytes_text(host, beside);
    label_print(terminal, "memory", "%s of the device%s%s%s%s", needed,
                isfinite(total) ? ", which has " : "", isfinite(total) ? most : "",
                isfinite(host) ? "; of the machine " : "", isfinite(host) ? beside : "");
    if (json_is_false(part(estimate, "fits")))
        label_print(terminal, "", "it does not fit: %s", reason(estimate, "fits"));
}

static void show_windows(const struct terminal *terminal, const json_t *estimate) {
    json_t *windows = json_object_get(estimate, "windows"), *n;
    int64_t batch = answer_int(estimate, "batch", 0);
    const char *set;

    if (batch)
        label_print(terminal, "windows", "%" PRId64 " at a time, of %" PRId64 " tokens", batch,
                    answer_int(estimate, "seqlen", 0));
    json_object_foreach(windows, set, n) {
        if (json_is_integer(n))
            label_print(terminal, "", "%" PRId64 " of %s", (int64_t)json_integer_value(n), set);
        else
            label_print(terminal, "", "those of %s are not known before it is fetched", set);
    }
}

static void show_files(const struct terminal *terminal, const json_t *estimate) {
    double size = answer_number(estimate, "size_bytes");
    double bits = answer_number(estimate, "bits_per_weight");
    double needed = answer_number(part(estimate, "disk"), "needed");
    double left = answer_number(part(estimate, "disk"), "free");
    char text[TEXT_SIZE], room[TEXT_SIZE], figure[TEXT_SIZE] = "";

    bytes_text(size, text);
    if (isfinite(bits))
        snprintf(figure, sizeof(figure), ", %.2f bits per weight", bits);
    if (isfinite(size))
        label_print(terminal, "result", "%s%s", text, figure);
    else if (reason(estimate, "size_bytes")[0])
        label_print(terminal, "result", "not known: %s", reason(estimate, "size_bytes"));
    bytes_text(needed, text);
    bytes_text(left, room);
    if (needed > 0)
        label_print(terminal, "disk", "%s needed, %s free", text, room);
}

static void show_time(const struct terminal *terminal, const json_t *estimate) {
    double seconds = answer_number(estimate, "seconds");
    int64_t jobs = answer_int(estimate, "history_jobs", 0);
    char text[TEXT_SIZE];

    if (!isfinite(seconds)) {
        label_print(terminal, "time", "not known: %s", reason(estimate, "seconds"));
        return;
    }
    text_duration(seconds, text);
    label_print(terminal, "time", "about %s, as %" PRId64 " earlier job%s with %s took", text, jobs,
                jobs == 1 ? "" : "s",
                json_is_true(part(estimate, "same_model")) ? "such a model"
                                                           : "other models, by their size,");
}

int estimate_show(struct client *client, const json_t *request, struct failure *failure) {
    cleanup(json_decrefp) json_t *estimate = NULL;
    int r = http_call(client->http, "POST", ESTIMATE_PATH, request, NULL, &estimate, failure);

    if (r)
        return r;
    if (client->json)
        return client_print_json(estimate, failure);
    show_device(&client->terminal, estimate);
    show_memory(&client->terminal, estimate);
    show_windows(&client->terminal, estimate);
    show_files(&client->terminal, estimate);
    show_time(&client->terminal, estimate);
    return EXIT_OK;
}

/* ---- the line before a job ---- */

static void append(struct strbuf *buf, const char *before, const char *text, const char *after) {
    strbuf_printf(buf, "%s%s%s%s", buf->length ? ", " : "", before, text, after);
}

void estimate_announce(struct client *client, const json_t *request) {
    cleanup(json_decrefp) json_t *estimate = NULL;
    cleanup(strbuf_done) struct strbuf buf = {};
    double memory, size, seconds;
    struct failure ignored;
    char text[TEXT_SIZE];

    if (client->json ||
        http_call(client->http, "POST", ESTIMATE_PATH, request, NULL, &estimate, &ignored))
        return;
    memory = answer_number(part(estimate, "memory"), "device");
    size = answer_number(estimate, "size_bytes");
    seconds = answer_number(estimate, "seconds");
    bytes_text(memory, text);
    if (isfinite(memory))
        append(&buf, "", text, " of device memory");
    bytes_text(size, text);
    if (isfinite(size))
        append(&buf, "a result of ", text, "");
    text_duration(seconds, text);
    if (isfinite(seconds))
        append(&buf, "about ", text, " to run");
    if (!buf.failed && buf.length)
        label_print(&client->terminal, "estimate", "%s", buf.data);
    if (json_is_false(part(estimate, "fits")))
        label_print(&client->terminal, "warning", "it does not fit: %s", reason(estimate, "fits"));
}
