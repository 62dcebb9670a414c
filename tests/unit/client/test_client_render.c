// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "client/http/answer.h"
#include "client/job/job.h"
#include "client/job/report.h"
#include "client/screen/progress.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A terminal that writes into memory. */
struct screen {
    struct terminal terminal;
    char *text;
    size_t size;
};

static void screen_open(struct screen *screen, bool redraw, bool utf8, int width) {
    *screen = (struct screen){};
    screen->terminal = (struct terminal){
        .file = open_memstream(&screen->text, &screen->size),
        .redraw = redraw,
        .utf8 = utf8,
        .width = width,
        .height = 24,
    };
    assert_non_null(screen->terminal.file);
}

static void screen_close(struct screen *screen) {
    fclose(screen->terminal.file);
    free(screen->text);
}

static void screen_expect(struct screen *screen, const char *text) {
    fflush(screen->terminal.file);
    assert_string_equal(screen->text, text);
    screen_close(screen);
}

static void test_clean(void **state) {
    static const struct {
        const char *dirty, *clean;
    } cases[] = {
        {"plain", "plain"},
        {"\033]0;owned\007", "?]0;owned?"},
        {"a\nb\tc\177", "a?b?c?"},
        {"\xc2\x9b"
         "31m",
         "?31m"}, /* C1 control sequence introducer */
        {"a\xe2\x80\xae"
         "b",
         "a?b"},                                      /* right-to-left override */
        {"\xff\xc3", "??"},                           /* not UTF-8, cut short */
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"}, /* letters stay */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(freep) char *text = text_cleaned(cases[i].dirty);

        assert_string_equal(text, cases[i].clean);
    }
}

static void test_width(void **state) {
    (void)state;
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("gr\xc3\xbc\xc3\x9f"), 4);
    assert_int_equal(text_width("\xe6\xbc\xa2"), 2); /* one wide character */
    assert_int_equal(text_fit("a\xe6\xbc\xa2z", 2), 1);
    assert_int_equal(text_fit("a\xe6\xbc\xa2z", 3), 4);
    assert_int_equal(text_fit("abc", 0), 0);
}

static void test_units(void **state) {
    char text[TEXT_SIZE];

    (void)state;
    static const struct {
        double bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},         {999, "999 B"},           {1000, "1.0 kB"},
                 {999949, "1.0 MB"}, {13838323712, "13.8 GB"}, {1.234e11, "123 GB"}};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        bytes_text(sizes[i].bytes, text);
        assert_string_equal(text, sizes[i].text);
    }
    static const struct {
        double seconds;
        const char *text;
    } times[] = {{0.04, "0.0 s"},      {9.9, "9.9 s"},     {9.96, "10 s"}, {59.7, "1 min 00 s"},
                 {3725, "1 h 02 min"}, {90061, "1 d 1 h"}, {NAN, "?"},     {-1, "?"}};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        text_duration(times[i].seconds, text);
        assert_string_equal(text, times[i].text);
    }
    text_age(59.9, text);
    assert_string_equal(text, "59 s");
    text_age(7300, text);
    assert_string_equal(text, "2 h");
    text_age(NAN, text);
    assert_string_equal(text, "?");
    text_perplexity(12.3456, text);
    assert_string_equal(text, "12.346");
    text_perplexity(123456.78, text);
    assert_string_equal(text, "123456.8");
    text_count(999, text);
    assert_string_equal(text, "999");
    text_count(13149, text);
    assert_string_equal(text, "13.1k");
    text_count(2.5e6, text);
    assert_string_equal(text, "2.5M");
}

static void test_escape_and_closest(void **state) {
    static const char *const words[] = {"quantize", "list", NULL, "watch"};
    cleanup(freep) char *escaped = NULL;
    struct strbuf buf = {};

    (void)state;
    text_escape(&buf, "a b&c=\xc3\xbc");
    escaped = strbuf_steal(&buf);
    assert_string_equal(escaped, "a%20b%26c%3D%C3%BC");
    assert_string_equal(text_closest("quantise", words, 4), "quantize");
    assert_string_equal(text_closest("quant", words, 4), "quantize");
    assert_string_equal(text_closest("lsit", words, 4), "list");
    assert_null(text_closest("download", words, 4));
    assert_null(text_closest("", words, 4));
}

static void test_table(void **state) {
    static const struct table_column columns[] = {
        {"id", true}, {"name", false, true}, {NULL}, {"n", true}};
    struct screen screen;
    struct table table;

    (void)state;
    screen_open(&screen, false, true, 80);
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (int i = 0; i < 2; i++) {
        table_cell(&table, "%d", 9 + i);
        table_cell(&table, "%s", i ? "evil\033[2J" : "gr\xc3\xbc\xc3\x9f");
        table_cell(&table, "left out");
        table_cell(&table, "%d", i);
    }
    assert_int_equal(table_print(&table, &screen.terminal), 0);
    screen_expect(&screen, "id  name      n\n"
                           " 9  gr\xc3\xbc\xc3\x9f      0\n"
                           "10  evil?[2J  1\n");

    /* too narrow: the column that may shrinks */
    screen_open(&screen, false, false, 20);
    table_done(&table);
    table_init(&table, columns, ARRAY_SIZE(columns));
    table_cell(&table, "1");
    table_cell(&table, "a very long name indeed");
    table_cell(&table, "%s", "");
    table_cell(&table, "12345");
    assert_int_equal(table_print(&table, &screen.terminal), 0);
    screen_expect(&screen, "id  name           n\n"
                           " 1  a very l~  12345\n");
    table_done(&table);
}

/* On what is not a terminal there are only the lines that stay. */
static void test_block_plain(void **state) {
    struct line line = {};
    struct screen screen;
    struct block block;

    (void)state;
    screen_open(&screen, false, true, 80);
    block_begin(&block, &screen.terminal);
    line_put(&line, STYLE_PLAIN, "load");
    block_draw(&block, &line, 1);
    block_say(&block, STYLE_YELLOW, "warning: %s", "a\033[1mb");
    block_draw(&block, &line, 1);
    block_end(&block);
    line_done(&line);
    screen_expect(&screen, "warning: a?[1mb\n");
}

#define BEGIN "\033[?2026h\r"
#define UP(n) "\033[" #n "A"
#define ERASE "\033[J"
#define END "\033[?2026l"
#define NEXT "\033[K\n"

/* What is drawn again is drawn over, and not at all when it is the same. */
static void test_block_redraw(void **state) {
    struct line lines[2] = {};
    struct screen screen;
    struct block block;

    (void)state;
    screen_open(&screen, true, false, 20);
    block_begin(&block, &screen.terminal);
    line_put(&lines[0], STYLE_BOLD, "job \0331");
    line_put(&lines[1], STYLE_PLAIN, "more than twenty columns have room for");
    block_draw(&block, lines, 2);
    block_draw(&block, lines, 2);
    block_say(&block, STYLE_PLAIN, "said");
    block_draw(&block, lines, 1);
    block_end(&block);
    line_done(&lines[0]);
    line_done(&lines[1]);
#define TWO "job ?1" NEXT "more than twenty c~" NEXT
    screen_expect(&screen, BEGIN TWO ERASE END BEGIN UP(2) ERASE
                  "said\n" TWO END BEGIN UP(2) "job ?1" NEXT ERASE END BEGIN UP(1) ERASE END);
}

/* A terminal that has become narrower has wrapped the lines: more rows are to be drawn over. */
static void test_block_narrower(void **state) {
    struct line lines[2] = {};
    struct screen screen;
    struct block block;

    (void)state;
    screen_open(&screen, true, false, 40);
    block_begin(&block, &screen.terminal);
    line_put(&lines[0], STYLE_PLAIN, "123456789 123456789 123456789");
    line_put(&lines[1], STYLE_PLAIN, "b");
    block_draw(&block, lines, 2);
    screen.terminal.width = 10;
    block_draw(&block, lines, 2);
    block_end(&block);
    line_done(&lines[0]);
    line_done(&lines[1]);
    screen_expect(&screen, BEGIN "123456789 123456789 123456789" NEXT "b" NEXT ERASE END BEGIN UP(
                               4) "12345678~" NEXT "b" NEXT ERASE END BEGIN UP(2) ERASE END);
}

static void render(struct line *line, struct screen *screen, int width, const char *text) {
    struct strbuf out = {};

    line_render(line, &screen->terminal, width, &out);
    assert_string_equal(out.data, text);
    strbuf_done(&out);
}

static void test_line(void **state) {
    struct screen screen;
    struct line line = {};

    (void)state;
    screen_open(&screen, true, true, 80);
    screen.terminal.color = true;
    line_put(&line, STYLE_RED, "a\n\xe6\xbc\xa2");
    line_pad(&line, 6);
    line_repeat(&line, STYLE_PLAIN, "=", 2);
    line_repeat(&line, STYLE_PLAIN, "never", -1);
    assert_int_equal(line_width(&line), 8);
    render(&line, &screen, 8, "\033[31ma?\xe6\xbc\xa2\033[0m  ==");
    render(&line, &screen, 7, "\033[31ma?\xe6\xbc\xa2\033[0m  \xe2\x80\xa6");
    /* a wide character is not cut in half */
    render(&line, &screen, 4, "\033[31ma?\033[0m\xe2\x80\xa6");
    line_done(&line);
    screen_close(&screen);
}

static void test_bar(void **state) {
    struct screen screen;
    struct line line = {};

    (void)state;
    screen_open(&screen, true, false, 80);
    progress_bar(&line, &screen.terminal, 37, 0.5, 72.4);
    render(&line, &screen, 80, "[#####-----]  50 %  1 min 12 s left");
    line_done(&line);
    progress_bar(&line, &screen.terminal, 30, 0.999, NAN);
    render(&line, &screen, 80, " 99 %");
    line_done(&line);
    screen.terminal.utf8 = true;
    progress_bar(&line, &screen.terminal, 35, 0.25, NAN);
    render(&line, &screen, 80, "━━╸───────  25 %");
    line_done(&line);
    screen_close(&screen);
}

static json_t *parse(const char *text) {
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    return value;
}

static void test_job(void **state) {
    cleanup(json_decrefp) json_t *job =
        parse("{\"id\": 17, \"kind\": \"quantize\", \"status\": \"failed\","
              " \"finished_at\": \"2026-11-22T09:30:00.250Z\","
              " \"params\": {\"model\": \"/models/olmoe\\u001b\", \"wbits\": 4, \"groupsize\": 128,"
              "  \"act_order\": true, \"sym\": false, \"method\": \"gptq\", \"grid\": \"mse\"}}");
    cleanup(freep) char *title = job_title(job);
    cleanup(json_decrefp) json_t *odd = parse("[1]");

    (void)state;
    assert_int_equal(job_id(job), 17);
    assert_string_equal(title, "quantize olmoe? to 4 bits by gptq, mse, groups of 128, act-order");
    assert_true(job_has_ended(job));
    assert_int_equal(job_exit_status(job), 1);
    assert_true(fabs(answer_time(job, "finished_at") - 1795339800.25) < 1e-6);
    assert_true(isnan(answer_time(job, "started_at")));
    /* another shape reads as empty */
    assert_int_equal(job_id(odd), 0);
    assert_string_equal(answer_text(odd, "status"), "");
    assert_true(isnan(answer_number(NULL, "x")));
    assert_false(job_has_ended(NULL));
}

static void test_layers(void **state) {
    cleanup(json_decrefp) json_t *layer =
        parse("{\"layer\": 2, \"seconds\": 1.5, \"matrices\": ["
              "{\"name\": \"a\", \"method\": \"gptq\", \"damping\": 0.01, \"error\": 0.1},"
              "{\"name\": \"b\", \"method\": \"gptq\", \"damping\": 0.1, \"error\": 0.3},"
              "{\"name\": \"c\", \"method\": \"rtn\", \"reason\": \"few\", \"error\": 0.2},"
              "{\"name\": \"d\", \"method\": \"rtn\", \"reason\": \"few\", \"error\": null},"
              "{\"name\": \"e\", \"method\": \"gptq\", \"damping\": 0.01, \"error\": 0.05},"
              "{\"name\": \"f\", \"method\": \"gptq\", \"damping\": 0.01, \"error\": 0.4},"
              "{\"name\": \"g\", \"method\": \"gptq\", \"damping\": 0.01, \"error\": 0.01}, 5]}");
    struct layers sum = {};

    (void)state;
    layers_add(&sum, layer, 0.01);
    assert_int_equal(sum.n_matrices, 8);
    assert_int_equal(sum.n_fallbacks, 2);
    assert_int_equal(sum.n_raised, 1);
    assert_int_equal(sum.n_reasons, 1);
    assert_string_equal(sum.fallback, "rtn");
    assert_int_equal(sum.reasons[0].n, 2);
    assert_int_equal(sum.n_worst, LAYERS_WORST_MAX);
    assert_string_equal(sum.worst[0].name, "f");
    assert_string_equal(sum.worst[1].name, "b");
    assert_string_equal(sum.worst[4].name, "e");
}

static void test_report(void **state) {
    cleanup(json_decrefp) json_t *job =
        parse("{\"id\": 1, \"status\": \"succeeded\", \"model\": {\"parameters\": 1000000},"
              " \"result\": {\"size_bytes\": 600000, \"bits_per_weight\": 4.25,"
              "  \"perplexity\": {\"ptb\": {\"value\": 20.5, \"stderr\": 0.25, \"windows\": 10,"
              "   \"tokens\": 5110}, \"c4\": {\"value\": 30.0, \"windows\": 2, \"tokens\": 1022}},"
              "  \"baseline\": {\"ptb\": 20.0, \"c4\": null}}}");
    struct failure failure;
    struct layers sum = {};
    struct screen screen;

    (void)state;
    screen_open(&screen, false, false, 100);
    assert_int_equal(report_result(&screen.terminal, job, &sum, false, &failure), 0);
    screen_expect(&screen, "\nset  perplexity  +- stderr  unquantized   change  windows  tokens\n"
                           "ptb      20.500      0.250       20.000  +2.50 %       10    5110\n"
                           "c4       30.000                                         2    1022\n"
                           "\n"
                           "size      600 kB, 4.25 bits per weight, 30 % of 2.0 MB in 16 bits\n");
}

static void test_report_difference(void **state) {
    cleanup(json_decrefp) json_t *job =
        parse("{\"id\": 1, \"status\": \"succeeded\","
              " \"result\": {\"perplexity\": {\"ptb\": {\"value\": 22.0, \"stderr\": 0.25,"
              "   \"windows\": 10, \"tokens\": 5110}}, \"baseline\": {\"ptb\": 20.0},"
              "  \"difference\": {\"ptb\": {\"log_ratio_stderr\": 0.01, \"kl_mean\": 0.12,"
              "   \"kl_stderr\": 0.004, \"kl_p99\": 0.9, \"kl_max\": 5.5, \"same_top\": 0.81,"
              "   \"rms_dp\": 0.05}}}}");
    cleanup(json_decrefp) json_t *alone = parse(
        "{\"id\": 2, \"status\": \"succeeded\", \"result\": {\"no_difference\": \"it is gone\"}}");
    struct failure failure;
    struct layers sum = {};
    struct screen screen;

    (void)state;
    screen_open(&screen, false, false, 100);
    assert_int_equal(report_result(&screen.terminal, job, &sum, false, &failure), 0);
    screen_expect(
        &screen,
        "\nset  perplexity  +- stderr  unquantized            change  windows  tokens\n"
        "ptb      22.000      0.250       20.000  +10.00 +- 1.10 %       10    5110\n"
        "\nfrom the original  divergence  +- stderr   99 %  largest  same token  rms of p\n"
        "ptb                    0.1200     0.0040  0.900     5.50     81.00 %    0.0500\n\n");
    screen_open(&screen, false, false, 100);
    assert_int_equal(report_result(&screen.terminal, alone, &sum, false, &failure), 0);
    screen_expect(&screen, "not compared with its original: it is gone\n\n");
}

static void test_report_error(void **state) {
    cleanup(json_decrefp) json_t *job =
        parse("{\"id\": 3, \"status\": \"failed\", \"error\": {\"code\": \"disk_full\","
              " \"detail\": \"cannot write 'x\\u001b[0m'\", \"hint\": \"free space\","
              " \"retryable\": true}}");
    struct screen screen;

    (void)state;
    screen_open(&screen, false, false, 100);
    report_error(&screen.terminal, job);
    screen_expect(&screen, "job 3 failed: cannot write 'x?[0m' (disk_full)\n"
                           "hint: free space\n"
                           "it may succeed later; run it again with: quantctl retry 3\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_escape_and_closest),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_block_plain),
        cmocka_unit_test(test_block_redraw),
        cmocka_unit_test(test_block_narrower),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_job),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_report_error),
        cmocka_unit_test(test_report_difference),
    };

    unsetenv("NO_COLOR");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
