// SPDX-License-Identifier: Apache-2.0
#include "site.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/macros.h"
#include "daemon/data/catalog.h"

#include "../unit/shared.h"

#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static void start_server(struct site *site) {
    cleanup(freep) char *script = source_path("tests/hub/server.py");
    cleanup(freep) char *model = source_path("data/olmoe-demo");
    int in[2], out[2];
    FILE *file;

    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    site->pid = fork();
    assert_true(site->pid >= 0);
    if (site->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execlp("python3", "python3", script, model, site->files, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    site->stdin_fd = in[1];
    file = fdopen(out[0], "r");
    if (fscanf(file, "%d %d", &site->port, &site->cdn_port) != 2)
        fail_msg("the test hub does not start");
    fclose(file);
}

int site_setup(void **state) {
    struct site *site = calloc(1, sizeof(*site));

    site->files = shared_path("hub");
    start_server(site);
    snprintf(site->endpoint, sizeof(site->endpoint), "http://127.0.0.1:%d", site->port);
    *state = site;
    return 0;
}

int site_teardown(void **state) {
    struct site *site = *state;

    close(site->stdin_fd);
    waitpid(site->pid, NULL, 0);
    free(site->files);
    free(site);
    return 0;
}

static void on_progress(void *ctx, const struct hub_progress *progress) {
    struct site *site = ctx;

    assert_non_null(progress->file);
    site->n_progress++;
    site->bytes = progress->bytes;
    site->bytes_total = progress->bytes_total;
}

static bool on_cancelled(void *ctx) {
    struct site *site = ctx;

    if (!site->asked_at)
        site->asked_at = clock_monotonic();
    return site->cancel_after > 0 && clock_monotonic() - site->asked_at >= site->cancel_after;
}

void site_open(struct site *site) {
    hub_close(site->client);
    site->client = NULL;
    if (hub_open(&site->config, &site->client, &site->failure))
        fail_msg("%s", site->failure.detail);
}

int site_fresh(void **state) {
    struct site *site = *state;

    strcpy(site->dir, "/tmp/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(site->dir));
    snprintf(site->cache, sizeof(site->cache), "%s/hub", site->dir);
    snprintf(site->own, sizeof(site->own), "%s/own", site->dir);
    for (int i = CATALOG_PTB_TRAIN; i <= CATALOG_PTB_TEST; i++) {
        site->sources[i] = site->source[i];
        snprintf(site->source[i], sizeof(site->source[i]), "%s=%s/%s", catalog[i].name,
                 site->endpoint, catalog[i].path);
    }
    site->config = (struct hub_config){.endpoint = site->endpoint,
                                       .token = SITE_TOKEN,
                                       .cache_dir = site->cache,
                                       .own_dir = site->own,
                                       .sources = &site->sources[CATALOG_PTB_TRAIN],
                                       .n_sources = 3,
                                       .retry_seconds = 0.02,
                                       .silence_seconds = 2,
                                       .part_size = 1 << 20};
    site->observer = (struct hub_observer){site, on_progress, on_cancelled};
    site->cancel_after = site->asked_at = 0;
    site->n_progress = 0;
    site_open(site);
    site_plan(site, "[]");
    return 0;
}

int site_clean(void **state) {
    struct site *site = *state;

    hub_close(site->client);
    site->client = NULL;
    assert_int_equal(dir_remove(site->dir), 0);
    return 0;
}

static size_t collect(char *data, size_t one, size_t size, void *ctx) {
    (void)one;
    strbuf_append(ctx, data, size);
    return size;
}

static json_t *ask(struct site *site, const char *path, const char *body) {
    cleanup(freep) char *url = str_format("%s%s", site->endpoint, path);
    struct strbuf text = {};
    json_t *value = NULL;
    CURL *easy = curl_easy_init();

    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &text);
    if (body)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    assert_int_equal(curl_easy_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    value = json_loadb(text.data, text.length, 0, NULL);
    strbuf_done(&text);
    assert_non_null(value);
    return value;
}

void site_plan(struct site *site, const char *rules) {
    cleanup(freep) char *body = strdup(rules);

    for (char *at = body; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_decref(ask(site, "/_plan", body));
}

json_t *site_log(struct site *site) {
    return ask(site, "/_log", NULL);
}

int site_count(struct site *site, const char *method, const char *part) {
    cleanup(json_decrefp) json_t *log = site_log(site);
    json_t *entry;
    size_t i;
    int n = 0;

    json_array_foreach(log, i, entry) {
        const char *path = json_string_value(json_object_get(entry, "path"));

        n += (!method || !strcmp(json_string_value(json_object_get(entry, "method")), method)) &&
             (!part || strstr(path, part));
    }
    return n;
}

int site_pull(struct site *site, const char *text, char **ret_dir) {
    cleanup(freep) char *dir = NULL;
    char commit[HUB_COMMIT_SIZE];
    struct hub_name name;
    int r;

    assert_int_equal(hub_parse_name(text, &name), 0);
    site->asked_at = 0;
    memset(&site->failure, 0, sizeof(site->failure));
    r = hub_pull_model(site->client, &name, &site->observer, &dir, commit, &site->failure);
    if (!r && ret_dir)
        *ret_dir = steal_ptr(dir);
    return r;
}

void site_check_model(const char *dir) {
    cleanup(freep) char *original = source_path("data/olmoe-demo");
    cleanup(closedirp) DIR *files = opendir(original);
    struct dirent *entry;

    while ((entry = readdir(files))) {
        cleanup(freep) char *a = str_format("%s/%s", original, entry->d_name);
        cleanup(freep) char *b = str_format("%s/%s", dir, entry->d_name);
        char sha_a[SHA256_TEXT_SIZE], sha_b[SHA256_TEXT_SIZE];
        uint64_t size;

        if (entry->d_name[0] == '.')
            continue;
        assert_int_equal(sha256_of_file(a, sha_a, &size), 0);
        assert_int_equal(sha256_of_file(b, sha_b, &size), 0);
        assert_string_equal(sha_a, sha_b);
    }
}
