// SPDX-License-Identifier: Apache-2.0
/* What /metrics says holds the rules that promtool checks, and counts what was asked. */
#include "base/str.h"
#include "check.h"

#include <ctype.h>

#define SERIES_MAX 4000
#define FAMILIES_MAX 64
#define TEXT_MAX 200

/* The text, read line by line. */
struct reader {
    char family[TEXT_MAX], type[16];
    char families[FAMILIES_MAX][TEXT_MAX];
    int n_families;
    bool has_help, has_type;
    char (*series)[TEXT_MAX]; /* name and labels of each sample */
    double *values;
    int n_series;
};

static size_t name_size(const char *s, bool colons) {
    size_t n = 0;

    while (isalnum((unsigned char)s[n]) || s[n] == '_' || (colons && s[n] == ':'))
        n++;
    assert_true(n > 0 && n < TEXT_MAX && !isdigit((unsigned char)s[0]));
    return n;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), size = strlen(end);

    return n >= size && strcmp(s + n - size, end) == 0;
}

static void begin_family(struct reader *reader, const char *name) {
    static const char *const reserved[] = {"_count", "_sum", "_bucket", "_info_total"};

    for (int i = 0; i < reader->n_families; i++)
        assert_string_not_equal(reader->families[i], name);
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        assert_false(ends_with(name, reserved[i]));
    assert_true(str_has_prefix(name, "quantd_"));
    assert_true(reader->n_families < FAMILIES_MAX);
    snprintf(reader->families[reader->n_families++], TEXT_MAX, "%s", name);
    snprintf(reader->family, sizeof(reader->family), "%s", name);
    reader->has_help = true;
    reader->has_type = false;
}

static void check_type(struct reader *reader, const char *name, const char *type) {
    assert_string_equal(name, reader->family);
    assert_true(reader->has_help && !reader->has_type);
    reader->has_type = true;
    snprintf(reader->type, sizeof(reader->type), "%s", type);
    assert_int_equal(str_equal(type, "counter"), ends_with(name, "_total"));
    if (str_equal(type, "histogram"))
        assert_true(ends_with(name, "_seconds") || ends_with(name, "_nats"));
    else
        assert_true(str_equal(type, "counter") || str_equal(type, "gauge"));
    assert_null(strstr(name, "_ms"));
}

static void take_comment(struct reader *reader, const char *line) {
    bool help = str_has_prefix(line, "# HELP ");
    char name[TEXT_MAX];
    size_t n;

    assert_true(help || str_has_prefix(line, "# TYPE "));
    line += 7;
    n = name_size(line, true);
    snprintf(name, sizeof(name), "%.*s", (int)n, line);
    assert_int_equal(line[n], ' ');
    assert_true(line[n + 1]);
    if (help)
        begin_family(reader, name);
    else
        check_type(reader, name, line + n + 1);
}

/* After the braces of @s; the names of labels are good and differ, the values well escaped. */
static const char *check_labels(const char *s) {
    char names[8][TEXT_MAX];
    int n_names = 0;

    do {
        size_t n = name_size(++s, false);

        assert_true(n_names < 8 && strncmp(s, "__", 2) != 0);
        snprintf(names[n_names], TEXT_MAX, "%.*s", (int)n, s);
        for (int i = 0; i < n_names; i++)
            assert_string_not_equal(names[i], names[n_names]);
        n_names++;
        s += n;
        assert_int_equal(strncmp(s, "=\"", 2), 0);
        for (s += 2; *s != '"'; s++) {
            assert_true(*s && *s != '\n');
            if (*s == '\\')
                assert_non_null(memchr("\\\"n", *++s, 3));
        }
        s++;
    } while (*s == ',');
    assert_int_equal(*s, '}');
    return s + 1;
}

static void take_sample(struct reader *reader, const char *line) {
    static const char *const parts[] = {"_bucket", "_sum", "_count"};
    const char *end = line + name_size(line, true);
    size_t size = strlen(reader->family);
    bool known = false;
    char *rest;

    assert_true(reader->has_help && reader->has_type);
    assert_int_equal(strncmp(line, reader->family, size), 0);
    if (str_equal(reader->type, "histogram"))
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
            known |= strlen(parts[i]) == (size_t)(end - line) - size &&
                     strncmp(line + size, parts[i], strlen(parts[i])) == 0;
    else
        known = (size_t)(end - line) == size;
    assert_true(known);
    if (*end == '{')
        end = check_labels(end);
    assert_int_equal(*end, ' ');
    assert_true(end - line < TEXT_MAX && reader->n_series < SERIES_MAX);
    snprintf(reader->series[reader->n_series], TEXT_MAX, "%.*s", (int)(end - line), line);
    for (int i = 0; i < reader->n_series; i++)
        assert_string_not_equal(reader->series[i], reader->series[reader->n_series]);
    reader->values[reader->n_series] = strtod(end + 1, &rest);
    assert_true(rest > end + 1 && !*rest);
    assert_true(reader->values[reader->n_series] >= 0);
    reader->n_series++;
}

static double value_of(const struct reader *reader, const char *series) {
    for (int i = 0; i < reader->n_series; i++)
        if (str_equal(reader->series[i], series))
            return reader->values[i];
    fail_msg("no sample '%s'", series);
    return 0;
}

/* From the first bucket at @i: they rise, end with +Inf, and the count agrees. How many samples. */
static int check_histogram(const struct reader *reader, int i) {
    double bound = -1, n = 0;
    char name[TEXT_MAX], labels[TEXT_MAX], other[2 * TEXT_MAX];
    int first = i;

    for (bool last = false; !last; i++) {
        const char *series = reader->series[i], *le = strstr(series, "le=\"");
        size_t before;
        double next;

        assert_true(i < reader->n_series && le);
        last = str_has_prefix(le, "le=\"+Inf\"}");
        next = last ? 1e300 : strtod(le + 4, NULL);
        assert_true(next > bound && reader->values[i] >= n);
        bound = next;
        n = reader->values[i];
        before = strcspn(series, "{");
        snprintf(name, sizeof(name), "%.*s", (int)(before - strlen("_bucket")), series);
        snprintf(labels, sizeof(labels), "%.*s", (int)(le - series - (long)before),
                 series + before);
    }
    /* "{a="b"," becomes "{a="b"}", and "{" nothing. */
    labels[strlen(labels) - 1] = labels[1] ? '}' : '\0';
    snprintf(other, sizeof(other), "%s_count%s", name, labels);
    assert_true(value_of(reader, other) == n);
    snprintf(other, sizeof(other), "%s_sum%s", name, labels);
    value_of(reader, other);
    return i - first;
}

static void read_all(struct reader *reader, struct site *site) {
    struct answer answer = visit(
        site, (struct visit){.path = "/metrics",
                             .headers = {"Accept: application/openmetrics-text;version=1.0.0;q=0.5,"
                                         "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"}});
    char *rest = answer.body.data;

    assert_int_equal(answer.status, 200);
    check_header(&answer, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    assert_int_equal(answer.body.data[answer.body.length - 1], '\n');
    *reader = (struct reader){.series = calloc(SERIES_MAX, sizeof(*reader->series)),
                              .values = calloc(SERIES_MAX, sizeof(*reader->values))};
    assert_true(reader->series && reader->values);
    while (*rest) {
        char *line = strsep(&rest, "\n");

        if (line[0] == '#')
            take_comment(reader, line);
        else
            take_sample(reader, line);
    }
    for (int i = 0; i < reader->n_series; i++)
        if (strstr(reader->series[i], "_bucket{"))
            i += check_histogram(reader, i) - 1;
    answer_done(&answer);
}

static void reader_done(struct reader *reader) {
    free(reader->series);
    free(reader->values);
}

static void expect(const struct reader *reader, const char *series, double value) {
    double found = value_of(reader, series);

    if (!(found == value))
        fail_msg("'%s' is %g, not %g", series, found, value);
}

static void test_families(void **state) {
    struct reader reader;

    read_all(&reader, *state);
    assert_int_equal(reader.n_families, 16);
    expect(&reader, "quantd_build_info{version=\"" QUANTD_VERSION "\"}", 1);
    expect(&reader, "quantd_jobs{status=\"failed\"}", 4);
    expect(&reader, "quantd_job_wait_seconds_bucket{le=\"1\"}", 1);
    expect(&reader, "quantd_job_wait_seconds_bucket{le=\"15\"}", 3);
    expect(&reader, "quantd_job_wait_seconds_count", 3);
    expect(&reader, "quantd_job_wait_seconds_sum", 12.5);
    expect(&reader, "quantd_job_run_seconds_count", 0);
    expect(&reader, "quantd_layers_total", 5);
    expect(&reader, "quantd_job_tokens_total", 0);
    expect(&reader, "quantd_job_divergence_nats_bucket{le=\"0.0001\"}", 0);
    expect(&reader, "quantd_job_divergence_nats_count", 0);
    expect(&reader, "quantd_store_seconds_bucket{le=\"10\"}", 0);
    expect(&reader, "quantd_store_seconds_bucket{le=\"+Inf\"}", 3);
    expect(&reader, "quantd_device_memory_bytes{device=\"a\\\"b\\\\c\\nd\",state=\"used\"}", 40);
    expect(&reader, "quantd_device_memory_bytes{device=\"a\\\"b\\\\c\\nd\",state=\"free\"}", 30);
    expect(&reader, "quantd_cluster_jobs{cluster=\"slurm\",state=\"waiting\"}", 2);
    expect(&reader, "quantd_cluster_jobs{cluster=\"slurm\",state=\"running\"}", 3);
    expect(&reader, "quantd_cluster_waiting{cluster=\"slurm\",reason=\"Pri\\\"ority\"}", 2);
    expect(&reader, "quantd_cluster_next_start_seconds{cluster=\"slurm\"}", 1795874531);
    expect(&reader, "quantd_cluster_up{cluster=\"slurm\"}", 1);
    expect(&reader, "quantd_sse_streams", 0);
    reader_done(&reader);
}

static void ask(void **state, const char *method, const char *path) {
    struct answer answer = ASK(.method = method, .path = path);

    assert_int_equal(answer.result, CURLE_OK);
    answer_done(&answer);
}

static void test_requests(void **state) {
    struct reader reader;

    ask(state, NULL, "/v1/jobs/1");
    ask(state, NULL, "/v1/jobs/1");
    ask(state, "HEAD", "/v1/jobs/1");
    ask(state, NULL, "/v1/jobs/77");
    ask(state, "DELETE", "/v1/jobs/1");
    ask(state, NULL, "/no/such/path\"\\");
    ask(state, "BREW", "/v1/jobs/1");
    read_all(&reader, *state);
#define REQUESTS(route, method, code)                                                              \
    "quantd_http_requests_total{route=\"" route "\",method=\"" method "\",code=\"" code "\"}"
    expect(&reader, REQUESTS("/v1/jobs/{id}", "GET", "200"), 2);
    expect(&reader, REQUESTS("/v1/jobs/{id}", "HEAD", "200"), 1);
    expect(&reader, REQUESTS("/v1/jobs/{id}", "GET", "404"), 1);
    expect(&reader, REQUESTS("/v1/jobs/{id}", "DELETE", "409"), 1);
    expect(&reader, REQUESTS("other", "GET", "404"), 1);
    expect(&reader, REQUESTS("other", "other", "405"), 1);
    expect(&reader, "quantd_http_request_seconds_count{route=\"/v1/jobs/{id}\"}", 5);
    expect(&reader, "quantd_http_request_seconds_count{route=\"other\"}", 2);
    reader_done(&reader);
    /* The first answer about numbers is one of them the next time. */
    read_all(&reader, *state);
    expect(&reader, REQUESTS("/metrics", "GET", "200"), 1);
    reader_done(&reader);
}

static bool has_event(void *ctx) {
    return ((struct watcher *)ctx)->n_events > 0;
}

static void test_streams(void **state) {
    CURLM *multi = curl_multi_init();
    struct watcher watcher;
    struct reader reader;

    watcher_open(&watcher, *state, multi, "/v1/jobs/1/events", NULL);
    assert_true(watch_until(multi, has_event, &watcher, 20));
    read_all(&reader, *state);
    expect(&reader, "quantd_sse_streams", 1);
    reader_done(&reader);
    watcher_close(&watcher, multi);
    curl_multi_cleanup(multi);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_families, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_requests, open_site, close_site),
        cmocka_unit_test_setup_teardown(test_streams, open_site, close_site),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
