// SPDX-License-Identifier: Apache-2.0
/* Pulling a model from a hub that behaves, and from one that does not. */
#include "site.h"

#include "base/clock.h"
#include "base/macros.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#define PULL(...) site_pull(*state, SITE_MODEL, __VA_ARGS__)

/* The token went to the endpoint, always, and never to the second host. */
static void check_token(struct site *site) {
    cleanup(json_decrefp) json_t *log = site_log(site);
    json_t *entry;
    size_t i;
    int n_cdn = 0;

    json_array_foreach(log, i, entry) {
        const char *host = json_string_value(json_object_get(entry, "host"));
        const char *sent = json_string_value(json_object_get(entry, "authorization"));

        if (!strcmp(host, "hub"))
            assert_string_equal(sent, "Bearer " SITE_TOKEN);
        else
            assert_null(sent);
        n_cdn += !strcmp(host, "cdn");
    }
    assert_true(n_cdn > 0);
}

static void test_pull(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    cleanup(freep) char *link = NULL;
    char target[256] = "";

    assert_int_equal(PULL(&dir), 0);
    site_check_model(dir);
    check_token(site);
    assert_true(site->n_progress > 0);
    assert_int_equal(site->bytes, site->bytes_total);
    /* As huggingface_hub lays it out. */
    link = str_format("%s/model-00001-of-00002.safetensors", dir);
    assert_true(readlink(link, target, sizeof(target) - 1) > 0);
    assert_memory_equal(target, "../../blobs/", 12);
    assert_int_equal(strlen(target), 12 + 64);

    /* The second time, and offline, nothing is asked. */
    site_plan(site, "[]");
    assert_int_equal(PULL(NULL), 0);
    site->config.offline = true;
    site_open(site);
    assert_int_equal(PULL(NULL), 0);
    assert_int_equal(site_count(site, NULL, NULL), 0);
}

static void test_revisions(void **state) {
    struct site *site = *state;
    cleanup(freep) char *main_dir = NULL;
    cleanup(freep) char *tag_dir = NULL;
    cleanup(freep) char *by_commit = NULL;
    cleanup(freep) char *name = NULL;

    assert_int_equal(PULL(&main_dir), 0);
    site_plan(site, "[]");
    assert_int_equal(site_pull(site, SITE_MODEL "@v1", &tag_dir), 0);
    assert_string_equal(main_dir, tag_dir);
    /* The blobs are there: only asked about, not fetched. */
    assert_int_equal(site_count(site, "GET", "/cdn/"), 0);
    name = str_format(SITE_MODEL "@%s", strrchr(main_dir, '/') + 1);
    site_plan(site, "[]");
    assert_int_equal(site_pull(site, name, &by_commit), 0);
    assert_string_equal(main_dir, by_commit);
    assert_int_equal(site_count(site, NULL, NULL), 0);
    assert_int_equal(site_pull(site, SITE_MODEL "@nothing", NULL), -ENOENT);
    assert_string_equal(site->failure.code, "model_not_found");
    assert_int_equal(site_pull(site, "quantd/nothing", NULL), -ENOENT);
    site->config.offline = true;
    site_open(site);
    assert_int_equal(site_pull(site, "quantd/nothing", NULL), -ENOENT);
    assert_string_equal(site->failure.code, "hub_offline");
}

/* It misbehaves for a while, and the pull comes to a good end. */
static void test_recovers(void **state) {
    static const char *const plans[] = {
        "[{'host': 'cdn', 'do': 'cut', 'bytes': 300000, 'times': 30}]",
        "[{'host': 'cdn', 'do': 'cut', 'bytes': 0, 'times': 4}]",
        "[{'host': 'cdn', 'do': 'stall', 'bytes': 5000, 'times': 2}]",
        "[{'host': 'cdn', 'do': 'whole'}]",
        "[{'host': 'cdn', 'do': 'whole', 'skip': 3}]",
        "[{'host': 'cdn', 'do': 'status', 'status': 500, 'times': 4}]",
        "[{'host': 'cdn', 'do': 'status', 'status': 403, 'times': 2}]",
        "[{'host': 'hub', 'do': 'status', 'status': 503, 'times': 4}]",
        ("[{'host': 'hub', 'do': 'status', 'status': 429, 'times': 1, "
         "'headers': {'Retry-After': '1'}}]"),
        "[{'host': 'hub', 'do': 'status', 'status': 408, 'times': 1}]",
        "[{'host': 'hub', 'do': 'cut', 'bytes': 10, 'times': 2}]",
        "[{'host': 'cdn', 'do': 'longer', 'times': 3}]",
    };

    for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
        struct site *site = *state;
        cleanup(freep) char *dir = NULL;
        double started = clock_monotonic();

        site_clean(state);
        site_fresh(state);
        site_plan(site, plans[i]);
        if (PULL(&dir))
            fail_msg("%s: %s", plans[i], site->failure.detail);
        site_check_model(dir);
        check_token(site);
        if (strstr(plans[i], "Retry-After"))
            assert_true(clock_monotonic() - started >= 1);
    }
}

/* It stays as bad as it is: a clear failure, soon. */
static const struct {
    const char *rules, *code, *detail;
    int r;
} refusals[] = {
    {"[{'host': 'cdn', 'do': 'cut', 'bytes': 0}]", "hub_unreachable", "cannot fetch", -ECOMM},
    {"[{'do': 'status', 'status': 500}]", "hub_busy", "status 500", -EAGAIN},
    {"[{'do': 'status', 'status': 429, 'headers': {'Retry-After': '86400'}}]", "hub_busy",
     "status 429", -EAGAIN},
    {"[{'do': 'status', 'status': 401}]", "hub_forbidden", "refuses", -EACCES},
    {"[{'match': 'config.json', 'do': 'status', 'status': 403, "
     "'headers': {'X-Error-Code': 'GatedRepo'}}]",
     "hub_forbidden", "GatedRepo", -EACCES},
    {"[{'match': 'config.json', 'do': 'status', 'status': 404}]", "hub_not_found", "", -ENOENT},
    {"[{'match': 'config.json', 'do': 'loop'}]", "hub_invalid", "redirects", -ELOOP},
    {"[{'host': 'cdn', 'do': 'loop'}]", "hub_invalid", "redirects", -ELOOP},
    {"[{'host': 'cdn', 'do': 'corrupt'}]", "hub_invalid", "hash", -EBADMSG},
    {"[{'match': 'resolve-cache', 'method': 'GET', 'do': 'corrupt'}]", "hub_invalid", "hash",
     -EBADMSG},
    {"[{'host': 'cdn', 'do': 'gzip'}]", "hub_invalid", "encoded", -EPROTO},
    {"[{'host': 'cdn', 'do': 'headers', 'headers': {'Content-Range': 'bytes 5-9/100'}}]",
     "hub_invalid", "announced", -EPROTO},
    {"[{'host': 'cdn', 'do': 'bytes', 'body': 'AAAA'}]", "", "", 0},
    {"[{'match': 'model-0', 'method': 'HEAD', 'do': 'headers', "
     "'headers': {'X-Linked-Size': '200000000000'}}]",
     "hub_invalid", "200000000000 bytes", -EFBIG},
    {"[{'match': 'model-0', 'method': 'HEAD', 'do': 'headers', "
     "'headers': {'X-Linked-Size': '99999999999999999999999'}}]",
     "", "", 0},
    {"[{'match': 'model-0', 'method': 'HEAD', 'do': 'headers', "
     "'headers': {'X-Linked-Size': '1000'}}]",
     "hub_invalid", "announced", -EPROTO},
    {"[{'match': 'model-0', 'method': 'HEAD', 'do': 'headers', "
     "'headers': {'X-Linked-Etag': '../../../etc/passwd'}}]",
     "hub_invalid", "hash", -EPROTO},
    {"[{'match': 'model-0', 'method': 'GET', 'host': 'hub', 'do': 'headers', "
     "'headers': {'Location': 'file:///etc/passwd'}}]",
     "hub_invalid", "https", -EINVAL},
    {"[{'match': 'model-0', 'method': 'GET', 'host': 'hub', 'do': 'headers', "
     "'headers': {'Location': 'http://192.0.2.1/x'}}]",
     "hub_invalid", "https", -EINVAL},
    {"[{'match': '/api/models', 'do': 'json', 'body': 'nonsense'}]", "hub_invalid", "", -EBADMSG},
    {"[{'match': '/api/models', 'do': 'json', 'body': '{}'}]", "hub_invalid", "commit", -EPROTO},
};

static void test_refuses(void **state) {
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct site *site = *state;
        int r;

        site_clean(state);
        site_fresh(state);
        site_plan(site, refusals[i].rules);
        r = PULL(NULL);
        if (refusals[i].code[0] && r != refusals[i].r)
            fail_msg("%s: %d, %s", refusals[i].rules, r, site->failure.detail);
        assert_true(r < 0);
        if (refusals[i].code[0])
            assert_string_equal(site->failure.code, refusals[i].code);
        if (!strstr(site->failure.detail, refusals[i].detail))
            fail_msg("%s: %s", refusals[i].rules, site->failure.detail);
    }
}

static void test_hostile_names(void **state) {
    static const char *const names[] = {
        "../config.json", "/etc/passwd", "a/../../b", "a//b", "a/./b",
        "a\\\\b",         "a\\u0000b",   "a\\nb",     "",     "config.json\\t"};
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup(freep) char *rules =
            str_format("[{'match': '/api/models', 'do': 'siblings', 'names': "
                       "['config.json', 'tokenizer.json', '%s']}]",
                       names[i]);

        site_plan(site, rules);
        assert_true(PULL(NULL) < 0);
        assert_string_equal(site->failure.code, "hub_invalid");
        assert_int_equal(site_count(site, NULL, "/resolve/"), 0);
    }
    /* Weights that can run code are not fetched. */
    site_plan(site, "[{'match': '/api/models', 'do': 'siblings', 'names': "
                    "['config.json', 'tokenizer.json', 'pytorch_model.bin', 'model.pt']}]");
    assert_int_equal(PULL(NULL), -ENOENT);
    assert_string_equal(site->failure.code, "model_invalid");
    assert_int_equal(site_count(site, NULL, ".bin"), 0);
}

static void test_names(void **state) {
    static const char *const good[] = {"a/b", "allenai/OLMoE-1B-7B-0125-Instruct", "a/b@main",
                                       "a/b@refs/pr/1", "A.b_c/d-e.f@v1.0"};
    static const char *const bad[] = {"a",        "a/b/c",  "../b",   "a/..",     "a/b@",
                                      "a/b@../x", "a/b@/x", "a--b/c", "a/b\nc",   ".a/b",
                                      "a/b@a b",  "/a/b",   "a/",     "a/b@.git", "-a/b"};
    struct hub_name name;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(hub_parse_name(good[i], &name), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (hub_parse_name(bad[i], &name) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
}

/* Bytes that the second host sent, of all ranges. */
static uint64_t cdn_bytes(struct site *site) {
    cleanup(json_decrefp) json_t *log = site_log(site);
    uint64_t bytes = 0;
    json_t *entry;
    size_t i;

    json_array_foreach(log, i, entry) {
        if (!strcmp(json_string_value(json_object_get(entry, "host")), "cdn"))
            bytes += (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
    }
    return bytes;
}

static void sleep_ms(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

#define WEIGHTS_SIZE ((uint64_t)9470832 + 5784648)

/* A process is killed in the middle; the next one goes on, and the sum is hardly more. */
static void test_kill_and_resume(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    uint64_t before;
    pid_t pid;

    site_plan(site, "[{'host': 'cdn', 'do': 'slow', 'rate': 1000000}]");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        PULL(NULL);
        _exit(0);
    }
    for (int i = 0; i < 400 && cdn_bytes(site) < 3000000; i++)
        sleep_ms(25);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    before = cdn_bytes(site);
    assert_true(before >= 3000000 && before < WEIGHTS_SIZE);
    /* The server may still push what is not read. */
    sleep_ms(300);
    site_plan(site, "[]");
    assert_int_equal(PULL(&dir), 0);
    site_check_model(dir);
    /* Of each connection at most what was on its way is asked for twice. */
    assert_true(cdn_bytes(site) < WEIGHTS_SIZE - before + 4 * (1 << 20));
}

/* What an earlier process left is damaged: found, and fetched anew. */
static void test_damaged_parts(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    cleanup(freep) char *command =
        str_format("for f in %s/models--quantd--olmoe-demo/blobs/*.part; do "
                   "printf damage | dd of=$f bs=1 conv=notrunc 2>/dev/null; done",
                   site->cache);

    site_plan(site, "[{'host': 'cdn', 'do': 'cut', 'bytes': 50000}]");
    site_plan(site, "[{'host': 'cdn', 'skip': 3, 'do': 'status', 'status': 404}]");
    assert_true(PULL(NULL) < 0);
    assert_int_equal(system(command), 0);
    site_plan(site, "[]");
    assert_int_equal(PULL(&dir), 0);
    site_check_model(dir);
}

static void test_cancel(void **state) {
    static const char *const plans[] = {"[{'host': 'cdn', 'do': 'slow', 'rate': 100000}]",
                                        "[{'host': 'hub', 'do': 'stall', 'bytes': 0}]",
                                        "[{'host': 'cdn', 'do': 'stall', 'bytes': 0}]",
                                        ("[{'do': 'status', 'status': 429, "
                                         "'headers': {'Retry-After': '60'}}]")};
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
        double started;

        site_plan(site, plans[i]);
        site->cancel_after = 0.5;
        started = clock_monotonic();
        assert_int_equal(PULL(NULL), -ECANCELED);
        assert_true(clock_monotonic() - started < 1.5);
    }
}

/* Two processes that want the same fetch it once. */
static void test_two_processes(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    int status;
    pid_t pid;

    site_plan(site, "[{'host': 'cdn', 'do': 'slow', 'rate': 4000000}]");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(PULL(NULL) ? 1 : 0);
    assert_int_equal(PULL(&dir), 0);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    site_check_model(dir);
    assert_int_equal(cdn_bytes(site), WEIGHTS_SIZE);
}

static void test_disk(void **state) {
    struct site *site = *state;

    site->config.disk_floor = UINT64_MAX / 2;
    site_open(site);
    assert_int_equal(PULL(NULL), -ENOSPC);
    assert_string_equal(site->failure.code, "disk_full");
    assert_int_equal(site_count(site, NULL, "/cdn/"), 0);
}

/* What can never fit waits for nothing; needs a disk smaller than the two largest shards. */
static void test_small_disk(void **state) {
    const uint64_t shard = (uint64_t)50 << 30;
    struct site *site = *state;
    struct statvfs fs;
    char rule[200];

    if (statvfs("/dev/shm", &fs) || (uint64_t)fs.f_blocks * fs.f_frsize >= 2 * shard)
        skip();
    strcpy(site->cache, "/dev/shm/quantd-test-XXXXXX");
    assert_non_null(mkdtemp(site->cache));
    site_open(site);
    snprintf(rule, sizeof(rule),
             "[{'match': 'model-0', 'method': 'HEAD', 'do': 'headers', "
             "'headers': {'X-Linked-Size': '%llu'}}]",
             (unsigned long long)shard);
    site_plan(site, rule);
    assert_int_equal(PULL(NULL), -EFBIG);
    assert_string_equal(site->failure.code, "disk_full");
    assert_non_null(strstr(site->failure.detail, "the whole disk"));
    assert_int_equal(site_count(site, NULL, "/cdn/"), 0);
    assert_int_equal(dir_remove(site->cache), 0);
}

static void test_endpoints(void **state) {
    static const char *const bad[] = {"http://example.org", "ftp://127.0.0.1", "nonsense",
                                      "https://user:password@example.org", "https://a?b"};
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(hub_check_endpoint(bad[i], &site->failure), -EINVAL);
    assert_int_equal(hub_check_endpoint("https://huggingface.co", &site->failure), 0);
    assert_int_equal(hub_check_endpoint("http://[::1]:80/prefix", &site->failure), 0);
    assert_int_equal(hub_check_source("ptb.train=https://example.org/x", &site->failure), 0);
    assert_int_equal(hub_check_source("ptb.nothing=https://example.org/x", &site->failure),
                     -EINVAL);
    assert_int_equal(hub_check_source("ptb.train=http://example.org/x", &site->failure), -EINVAL);
    assert_int_equal(hub_check_source("ptb.train", &site->failure), -EINVAL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_fresh, site_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_pull),
        TEST(test_revisions),
        TEST(test_recovers),
        TEST(test_refuses),
        TEST(test_hostile_names),
        TEST(test_names),
        TEST(test_kill_and_resume),
        TEST(test_damaged_parts),
        TEST(test_cancel),
        TEST(test_two_processes),
        TEST(test_disk),
        TEST(test_small_disk),
        TEST(test_endpoints),
    };

    return cmocka_run_group_tests(tests, site_setup, site_teardown);
}
