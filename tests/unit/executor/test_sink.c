// SPDX-License-Identifier: Apache-2.0
/* The event sink: what the observer reports, and the same as lines, comes to the same rows. */
#include "daemon/executor/sink.h"

#include "base/json.h"
#include "daemon/jobdir/line.h"
#include "daemon/pipeline/job.h"

#include "tests/unit/daemon/jobs_fixture.h"

#include <fcntl.h>
#include <unistd.h>

/* A run from its start to its end, as the pipeline reports it. */
static const char *const reports[][2] = {
    {"phase.started", "{\"phase\": \"load\"}"},
    {"facts", "{\"params\": {\"model\": \"m\", \"wbits\": 4, \"seqlen\": 512}, \"model\": "
              "{\"layers\": 3, \"fingerprint\": \"f\"}}"},
    {"phase.started", "{\"phase\": \"quantize\"}"},
    {"layer.found", "{\"layer\": 0, \"seconds\": 0.1, \"matrices\": []}"},
    {"layer.found", "{\"layer\": 0, \"seconds\": 0.1, \"matrices\": []}"},
    {"job.resumed", "{\"layer\": 1}"},
    {"progress", "{\"phase\": \"quantize\", \"layer\": 1, \"layers_total\": 3, \"fraction\": "
                 "0.1, \"eta_seconds\": 7.123456789012345}"},
    {"job.warning", "{\"code\": \"damped\", \"detail\": \"\\u00e4\"}"},
    {"layer.finished", "{\"layer\": 1, \"seconds\": 0.30000000000000004, \"matrices\": "
                       "[{\"name\": \"q\", \"error\": 1e-300}]}"},
    {"phase.started", "{\"phase\": \"evaluate\"}"},
    {"eval.progress", "{\"set\": \"ptb\", \"window\": 1, \"windows\": 2}"},
    {"eval.finished", "{\"set\": \"ptb\", \"perplexity\": 12.900000000000002, \"stderr\": 0.1, "
                      "\"tokens\": 9, \"windows\": 2, \"sha256\": \"w\"}"},
    {"phase.started", "{\"phase\": \"export\"}"},
};

struct scene {
    struct queue *q;
    struct job_row *row;
    atomic_bool cancel, stop;
    int n_alive;
    struct sink sink;
};

static void on_alive(void *ctx) {
    struct scene *scene = ctx;

    scene->n_alive++;
}

/* Claims the next job. */
static void begin_run(struct scene *scene, struct queue *q) {
    struct failure failure;

    *scene = (struct scene){.q = q};
    assert_int_equal(jobs_claim(&q->jobs, "cpu", &scene->row, &failure), 0);
    scene->sink = (struct sink){.jobs = &q->jobs,
                                .row = scene->row,
                                .device = "cpu",
                                .cancel = &scene->cancel,
                                .stop = &scene->stop,
                                .alive = on_alive,
                                .ctx = scene};
}

static void end_run(struct scene *scene) {
    job_row_free(scene->row);
    scene->row = NULL;
}

static json_t *parse(const char *text) {
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    return json;
}

static void report_all(struct scene *scene, const struct run_end *end) {
    for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
        cleanup(json_decrefp) json_t *data = parse(reports[i][1]);

        if (sink_event(&scene->sink, reports[i][0], data))
            fail_msg("%s: %s", reports[i][0], scene->sink.failure.detail);
    }
    sink_end(&scene->sink, end);
}

/* Writes the lines to a file, as quantd-run does, and feeds them back. */
static void report_lines(struct scene *scene, const struct run_end *end) {
    cleanup(freep) char *path = str_format("%s/events", scene->q->f->dir);
    cleanup(freep) char *text = NULL;
    cleanup(json_decrefp) json_t *last = run_end_to_json(end), *none = json_object();
    cleanup(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct line_writer writer = {.fd = fd};
    struct failure failure;
    struct run_end last_end;
    bool ended = false;
    size_t size;

    assert_true(fd >= 0);
    assert_int_equal(line_write(&writer, LINE_RUN_STARTED, none), 0);
    for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
        cleanup(json_decrefp) json_t *data = parse(reports[i][1]);

        writer.progressed_at = 0; /* as if a second had gone by */
        assert_int_equal(line_write(&writer, reports[i][0], data), 0);
    }
    writer.written_at -= LINE_ALIVE_SECONDS;
    assert_int_equal(line_write_alive(&writer), 0);
    assert_int_equal(line_write_alive(&writer), 0); /* not again so soon */
    assert_int_equal(line_write(&writer, LINE_RUN_ENDED, last), 0);
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);

    for (char *line = text, *next; *line; line = next + 1) {
        assert_false(ended);
        next = strchr(line, '\n');
        assert_non_null(next);
        if (sink_line(&scene->sink, line, next - line, &ended, &last_end, &failure))
            fail_msg("%.*s: %s", (int)(next - line), line, failure.detail);
    }
    assert_true(ended);
    assert_int_equal(scene->n_alive, ARRAY_SIZE(reports) + 2);
    assert_int_equal(sink_end(&scene->sink, &last_end), 0);
    run_end_done(&last_end);
}

/* What the store holds of a job, without what differs between two of them. */
static json_t *remains(struct queue *q, int64_t id) {
    cleanup(json_decrefp) json_t *job = object(q, id);
    json_t *events = NULL, *layers = NULL, *event;
    size_t i;

    begin(q->f);
    assert_int_equal(store_list_events(q->f->store, id, NULL, 0, 1000, &events), 0);
    assert_int_equal(end(q->f, store_list_layers(q->f->store, id, &layers)), 0);
    json_array_foreach(events, i, event) {
        json_object_del(event, "seq");
        json_object_del(event, "job");
        json_object_del(event, "at");
    }
    return json_pack("{so so sO sO sO sO sO}", "events", events, "layers", layers, "status",
                     json_object_get(job, "status"), "params", json_object_get(job, "params"),
                     "model", json_object_get(job, "model"), "result",
                     json_object_get(job, "result"), "error", json_object_get(job, "error"));
}

static void expect_same_remains(struct queue *q, int64_t one, int64_t other) {
    cleanup(json_decrefp) json_t *a = remains(q, one), *b = remains(q, other);
    cleanup(freep) char *a_text = json_dumps(a, JSON_SORT_KEYS),
                        *b_text = json_dumps(b, JSON_SORT_KEYS);

    assert_string_equal(a_text, b_text);
}

static void both_ways(struct queue *q, const struct run_end *ends[2], int64_t ids[2]) {
    struct scene scene;

    ids[0] = submit(q, NULL);
    begin_run(&scene, q);
    assert_int_equal(scene.row->id, ids[0]);
    report_all(&scene, ends[0]);
    end_run(&scene);
    ids[1] = submit(q, NULL);
    begin_run(&scene, q);
    assert_int_equal(scene.row->id, ids[1]);
    report_lines(&scene, ends[1]);
    end_run(&scene);
}

static void test_success(void **state) {
    struct queue *q = *state;
    struct run_end end_of_run = {.how = RUN_SUCCEEDED, .result = make_result(12.5)};
    const struct run_end *ends[2] = {&end_of_run, &end_of_run};
    cleanup(json_decrefp) json_t *layers = NULL;
    int64_t ids[2];

    both_ways(q, ends, ids);
    expect_status(q, ids[0], "succeeded", 1);
    expect_same_remains(q, ids[0], ids[1]);
    begin(q->f);
    assert_int_equal(end(q->f, store_list_layers(q->f->store, ids[1], &layers)), 0);
    assert_int_equal(json_array_size(layers), 2); /* that was found twice is there once */
    run_end_done(&end_of_run);
}

static void test_failure(void **state) {
    struct queue *q = *state;
    struct run_end end_of_run = {.how = RUN_FAILED};
    const struct run_end *ends[2] = {&end_of_run, &end_of_run};
    cleanup(json_decrefp) json_t *job = NULL;
    int64_t ids[2];

    failure_set(&end_of_run.failure, -EBADMSG, "model_invalid", "a hint", "it is \"bad\"");
    both_ways(q, ends, ids);
    expect_same_remains(q, ids[0], ids[1]);
    job = object(q, ids[1]);
    assert_string_equal(json_string_value(json_object_get(json_object_get(job, "error"), "code")),
                        "model_invalid");
}

/* Stopped by its user, not by us: back to the queue. A failed device: the next attempt. */
static void test_stops(void **state) {
    struct queue *q = *state;
    struct run_end stopped = {.how = RUN_STOPPED};
    struct run_end broken = {.how = RUN_FAILED, .device_failed = true};
    int64_t id = submit(q, NULL);
    struct scene scene;

    begin_run(&scene, q);
    assert_false(sink_stops(&scene.sink));
    sink_end(&scene.sink, &stopped);
    end_run(&scene);
    expect_status(q, id, "queued", 1);
    begin_run(&scene, q);
    sink_end(&scene.sink, &broken);
    end_run(&scene);
    expect_status(q, id, "queued", 2);
    begin_run(&scene, q);
    scene.cancel = true;
    assert_true(sink_stops(&scene.sink));
    sink_end(&scene.sink, &stopped);
    end_run(&scene);
    expect_status(q, id, "cancelled", 2);
}

/* Lines come from a file that others may have written to. */
static void test_hostile_lines(void **state) {
    static const char *const lines[] = {
        "",
        "{",
        "[]",
        "{\"kind\": \"progress\"}",
        "{\"kind\": 1, \"data\": {}}",
        "{\"kind\": \"progress\", \"data\": []}",
        "{\"kind\": \"job.succeeded\", \"data\": {}}",
        "{\"kind\": \"unheard.of\", \"data\": {}}",
        "{\"kind\": \"layer.finished\", \"data\": {}}",
        "{\"kind\": \"layer.finished\", \"data\": {\"layer\": \"0\"}}",
        "{\"kind\": \"layer.finished\", \"data\": {\"layer\": -1}}",
        "{\"kind\": \"layer.found\", \"data\": {\"layer\": 1.5}}",
        "{\"kind\": \"eval.finished\", \"data\": {\"set\": \"ptb\"}}",
        "{\"kind\": \"facts\", \"data\": {\"params\": [], \"model\": {}}}",
        "{\"kind\": \"run.ended\", \"data\": {}}",
        "{\"kind\": \"run.ended\", \"data\": {\"how\": \"well\"}}",
        "{\"kind\": \"run.ended\", \"data\": {\"how\": \"succeeded\"}}",
        "{\"kind\": \"run.ended\", \"data\": {\"how\": \"succeeded\", \"result\": []}}",
    };
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    struct failure failure;
    struct scene scene;
    struct run_end last;
    bool ended;

    begin_run(&scene, q);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        failure.code[0] = '\0';
        assert_true(sink_line(&scene.sink, lines[i], strlen(lines[i]), &ended, &last, &failure) <
                    0);
        assert_false(ended);
        assert_true(failure.code[0]);
    }
    end_run(&scene);
    expect_status(q, id, "running", 1);
    expect_last_event(q, id, "job.started");
}

static size_t count_layers(struct queue *q, int64_t id) {
    cleanup(json_decrefp) json_t *layers = NULL;
    struct failure failure;
    int r = store_begin(q->jobs.store, STORE_READ, &failure);

    assert_int_equal(r, 0);
    r = store_list_layers(q->jobs.store, id, &layers);
    assert_int_equal(store_end(q->jobs.store, r, &failure), 0);
    return json_array_size(layers);
}

/* An attempt that starts anew has no layers of an earlier one, which were of another model. */
static void test_started_anew(void **state) {
    struct queue *q = *state;
    int64_t id = submit(q, NULL);
    cleanup(json_decrefp) json_t *layer = parse("{\"layer\": 0, \"matrices\": []}");
    cleanup(json_decrefp) json_t *other = parse("{\"code\": \"damped\", \"detail\": \"d\"}");
    cleanup(json_decrefp) json_t *anew =
        parse("{\"code\": \"" PIPELINE_STARTED_ANEW "\", \"detail\": \"d\"}");
    struct scene scene;

    begin_run(&scene, q);
    assert_int_equal(sink_event(&scene.sink, "layer.finished", layer), 0);
    assert_int_equal(sink_event(&scene.sink, "job.warning", other), 0);
    assert_int_equal(count_layers(q, id), 1);
    assert_int_equal(sink_event(&scene.sink, "job.warning", anew), 0);
    assert_int_equal(count_layers(q, id), 0);
    expect_last_event(q, id, "job.warning");
    end_run(&scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_started_anew), TEST(test_success),       TEST(test_failure),
        TEST(test_stops),        TEST(test_hostile_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
