// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/json.h"
#include "client/job/display_draw.h"
#include "client/screen/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define JOB                                                                                        \
    "{\"id\": 7, \"kind\": \"quantize\", \"status\": \"running\", \"name\": \"mine\","             \
    " \"model\": {\"hidden_size\": 256, \"intermediate_size\": 128},"                              \
    " \"params\": {\"model\": \"m\", \"dataset\": \"c4\", \"wbits\": 4, \"percdamp\": 0.01, "      \
    "\"eval\": [\"ptb\"]}}"

/* The events of a job until it evaluates; two attempts, the second resumed. */
static const char *const events[] = {
    "{\"type\": \"job.started\", \"at\": \"2026-11-22T09:30:00Z\", \"data\": {\"device\": "
    "\"cuda:0\"}}",
    "{\"type\": \"phase.started\", \"at\": \"2026-11-22T09:30:00Z\", \"data\": {\"phase\": "
    "\"load\"}}",
    "{\"type\": \"phase.started\", \"at\": \"2026-11-22T09:30:02Z\", \"data\": {\"phase\": "
    "\"quantize\"}}",
    "{\"type\": \"job.warning\", \"at\": \"2026-11-22T09:30:03Z\", \"data\": {\"detail\": "
    "\"bad\\u001b[2J\"}}",
    "{\"type\": \"layer.finished\", \"at\": \"2026-11-22T09:30:10Z\", \"data\": {\"layer\": 0,"
    " \"seconds\": 7.5, \"matrices\": ["
    "{\"name\": \"model.layers.0.mlp.experts.1.up_proj\", \"method\": \"gptq\", \"error\": 0.25,"
    " \"tokens\": 1000, \"damping\": 0.01},"
    "{\"name\": \"model.layers.0.mlp.experts.2.down_proj\", \"method\": \"gptq\", \"error\": 0.5,"
    " \"tokens\": 100, \"damping\": 0.01},"
    "{\"name\": \"model.layers.0.mlp.experts.3.up_proj\", \"method\": \"rtn\", \"reason\": \"few\","
    " \"error\": 0.125, \"tokens\": 3}]}}",
    "{\"type\": \"job.interrupted\", \"at\": \"2026-11-22T09:30:12Z\", \"data\": {\"reason\": "
    "\"restart\"}}",
    "{\"type\": \"job.started\", \"at\": \"2026-11-22T09:30:20Z\", \"data\": {\"device\": "
    "\"cuda:0\"}}",
    "{\"type\": \"job.resumed\", \"at\": \"2026-11-22T09:30:20Z\", \"data\": {\"layer\": 1}}",
    "{\"type\": \"phase.started\", \"at\": \"2026-11-22T09:30:21Z\", \"data\": {\"phase\": "
    "\"evaluate\"}}",
    "{\"type\": \"progress\", \"at\": \"2026-11-22T09:30:22Z\", \"data\": {\"phase\": \"evaluate\","
    " \"layer\": 1, \"layers_total\": 3, \"fraction\": 0.5, \"eta_seconds\": null,"
    " \"tokens_per_second\": 13149}}",
    "{\"type\": \"eval.finished\", \"at\": \"2026-11-22T09:30:22Z\", \"data\": {\"set\": \"ptb\","
    " \"perplexity\": 20.5, \"stderr\": 0.25, \"baseline\": 20.0}}",
    "{\"type\": \"unheard.of\", \"data\": 5}",
    "[]",
};

struct fixture {
    struct terminal terminal;
    struct display display;
    char *text;
    size_t size;
};

static void begin(struct fixture *f, bool redraw, bool utf8) {
    cleanup(json_decrefp) json_t *job = json_loads(JOB, 0, NULL);

    *f = (struct fixture){};
    f->terminal = (struct terminal){.file = open_memstream(&f->text, &f->size),
                                    .redraw = redraw,
                                    .utf8 = utf8,
                                    .width = 80,
                                    .height = 24};
    assert_non_null(f->terminal.file);
    display_begin(&f->display, &f->terminal, job);
}

static void feed(struct fixture *f) {
    cleanup(json_decrefp) json_t *devices =
        json_loads("{\"data\": [{\"id\": \"cuda:0\", \"name\": \"NVIDIA H200\"}]}", 0, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        cleanup(json_decrefp) json_t *event = json_loads(events[i], 0, NULL);

        assert_non_null(event);
        assert_false(display_event(&f->display, event));
    }
    display_devices(&f->display, devices);
}

static void end(struct fixture *f) {
    display_end(&f->display);
    fclose(f->terminal.file);
    free(f->text);
}

/* The lines of the block, each ended by a newline, as a terminal without colors takes them. */
static char *shown(struct fixture *f, int most) {
    struct line lines[BLOCK_LINES_MAX] = {};
    int n = display_lines(&f->display, lines, most);
    struct strbuf out = {};

    assert_true(n > 0 && n <= most);
    for (int i = 0; i < n; i++) {
        line_render(&lines[i], &f->terminal, f->terminal.width - 1, &out);
        strbuf_puts(&out, "\n");
        line_done(&lines[i]);
    }
    return strbuf_steal(&out);
}

#define TITLE "job 7: quantize m to 4 bits  mine\n"
#define BAR "[##########################--------------------------]  50 %\n"
#define FACTS "layer 2/3, 13.1k tokens/s, NVIDIA H200 (cuda:0)\n"
#define NOTICE "resumed at layer 1\n"
#define EVAL "perplexity    ptb   20.500 +- 0.250  +2.50 % of 20.000 unquantized\n"
#define WORST "worst so far  layer 0   mlp.experts.2.down_proj   0.5000  100 tokens\n"

/* In a pipe: a line of progress, but only when nothing was printed for a while. */
static void test_alive(void **state) {
    struct fixture f;
    size_t before;

    (void)state;
    begin(&f, false, false);
    feed(&f);
    before = f.size;
    display_draw(&f.display, true);
    assert_int_equal(f.size, before);
    f.display.block.said_at -= 16;
    display_draw(&f.display, false);
    display_draw(&f.display, false);
    assert_string_equal(f.text + before, "evaluate, 50 %, " FACTS);
    /* while the connection is lost, old figures say nothing */
    display_trouble(&f.display, "lost it");
    before = f.size;
    f.display.block.said_at -= 16;
    display_draw(&f.display, false);
    assert_int_equal(f.size, before);
    end(&f);
}

static void test_lines(void **state) {
    cleanup(freep) char *all = NULL, *five = NULL, *two = NULL;
    struct fixture f;

    (void)state;
    begin(&f, true, false);
    feed(&f);
    /* the clock of the daemon goes on: its time in this phase is what has passed here */
    f.display.clock_offset = -1e9;
    all = shown(&f, 24);
    assert_string_equal(all, TITLE "+ load 2.0 s  + calibrate  + quantize 10 s  > evaluate  . "
                                   "export\n" BAR FACTS EVAL WORST
                                   "              layer 0   mlp.experts.1.up_proj     0.2500\n"
                                   "              layer 0   mlp.experts.3.up_proj     0.1250  rtn, "
                                   "3 tokens\n" NOTICE);
    /* a small terminal shows what matters most */
    five = shown(&f, 4);
    assert_string_equal(five, TITLE BAR FACTS NOTICE);
    two = shown(&f, 2);
    assert_string_equal(two, TITLE BAR);
    end(&f);
}

/* No line is wider than the terminal, however narrow, and no character of it does harm. */
static void test_widths(void **state) {
    struct fixture f;

    (void)state;
    for (int width = 8; width < 200; width++) {
        cleanup(freep) char *all = NULL;
        char *rest = NULL;

        begin(&f, true, width % 2);
        feed(&f);
        f.terminal.width = width;
        display_trouble(&f.display, width % 3 ? NULL : "no quantd at unix:/run/quantd/quantd.sock");
        all = shown(&f, 24);
        for (char *line = strtok_r(all, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            assert_true(text_width(line) < width);
            assert_null(strchr(line, '\033'));
        }
        end(&f);
    }
}

static void test_trouble(void **state) {
    cleanup(freep) char *lost = NULL, *back = NULL;
    struct fixture f;

    (void)state;
    begin(&f, true, false);
    feed(&f);
    display_trouble(&f.display, "lost it");
    lost = shown(&f, 4);
    assert_non_null(strstr(lost, "lost it\n"));
    assert_null(strstr(lost, "50 %")); /* which would pretend that it is known */
    display_trouble(&f.display, NULL);
    back = shown(&f, 4);
    assert_non_null(strstr(back, "connected again\n"));
    end(&f);
}

static void test_plain(void **state) {
    struct fixture f;

    (void)state;
    begin(&f, false, true);
    feed(&f);
    display_draw(&f.display, true);
    display_trouble(&f.display, "lost it");
    display_trouble(&f.display, "lost it still");
    display_trouble(&f.display, NULL);
    fflush(f.terminal.file);
    assert_string_equal(
        f.text, "job 7: quantize m to 4 bits\n"
                "load\n"
                "quantize\n"
                "warning: bad?[2J\n"
                "layer 0: 3 matrices in 7.5 s, worst error 0.5 in mlp.experts.2.down_proj, 1 fell "
                "back to rtn\n"
                "interrupted: restart; queued again\n"
                "resumed at layer 1\n"
                "evaluate\n"
                "perplexity of ptb: 20.500, +2.50 % of the unquantized\n"
                "lost it\n"
                "connected again\n");
    end(&f);
}

/* Layers that come again, worse ones, and the end. */
static void test_worst(void **state) {
    cleanup(json_decrefp) json_t *last =
        json_loads("{\"type\": \"job.succeeded\", \"data\": {}}", 0, NULL);
    struct fixture f;

    (void)state;
    begin(&f, true, true);
    for (int round = 0; round < 3; round++)
        feed(&f);
    assert_int_equal(f.display.n_worst, 3);
    assert_true(f.display.worst[0].error > f.display.worst[1].error);
    for (int layer = 10; layer < 30; layer++) {
        cleanup(json_decrefp) json_t *event =
            json_pack("{s:s s:{s:i s:[{s:s s:f}]}}", "type", "layer.finished", "data", "layer",
                      layer, "matrices", "name", "x", "error", layer / 100.0);

        display_event(&f.display, event);
    }
    assert_int_equal(f.display.n_worst, LAYERS_WORST_MAX);
    assert_int_equal(f.display.worst[0].layer, 0); /* 0.5 */
    assert_int_equal(f.display.worst[1].layer, 29);
    assert_true(display_event(&f.display, last));
    end(&f);
}

/* A pause removes the text of what was on its way from the block. */
static void test_paused_pull(void **state) {
    static const char *const told[] = {
        "{\"type\": \"progress\", \"data\": {\"phase\": \"pull\", \"file\": \"a.bin\", \"bytes\": "
        "5,"
        " \"bytes_total\": 9}}",
        "{\"type\": \"job.paused\", \"data\": {\"code\": \"disk_full\", \"detail\": \"no room\"}}",
    };
    struct fixture f;

    (void)state;
    begin(&f, true, false);
    for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
        cleanup(json_decrefp) json_t *event = json_loads(told[i], 0, NULL);
        cleanup(freep) char *text = NULL;

        assert_non_null(event);
        assert_false(display_event(&f.display, event));
        text = shown(&f, BLOCK_LINES_MAX);
        assert_true((strstr(text, "a.bin") != NULL) == (i == 0));
        assert_true((strstr(text, "paused: no room") != NULL) == (i == 1));
    }
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alive),       cmocka_unit_test(test_lines),
        cmocka_unit_test(test_widths),      cmocka_unit_test(test_trouble),
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_worst),
        cmocka_unit_test(test_paused_pull),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
