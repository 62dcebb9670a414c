// SPDX-License-Identifier: Apache-2.0
/* The public data sets from the hub, and what is refused in their place. */
#include "site.h"

#include "base/macros.h"
#include "daemon/data/catalog.h"
#include "daemon/data/corpus.h"
#include "daemon/data/hub/source.h"

#include <errno.h>

static int pull(struct site *site, enum catalog_id id, char **ret_path) {
    cleanup(freep) char *path = NULL;
    int r = hub_pull_file(site->client, catalog[id].host, catalog[id].path, &site->observer, &path,
                          &site->failure);

    if (!r && ret_path)
        *ret_path = steal_ptr(path);
    return r;
}

static int load(struct site *site, const char *name, enum corpus_use use, size_t *ret_size) {
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    struct source_mirror mirror;
    struct hub_source source;
    struct corpora corpora = {.source = &source.source};
    int r;

    source_mirror_init(&mirror, NULL, 0);
    hub_source_init(&source, &mirror.source, site->client);
    r = corpus_load(&corpora, name, use, &corpus, &site->failure);
    *ret_size = r ? 0 : corpus->size;
    return r;
}

static void need_files(struct site *site) {
    if (!site->files) {
        print_message("the public data sets are not there\n");
        skip();
    }
}

static void test_pull_all(void **state) {
    struct site *site = *state;
    size_t size;

    need_files(site);
    for (int i = 0; i < CATALOG_FILES; i++)
        if (pull(site, i, NULL))
            fail_msg("%s: %s", catalog[i].name, site->failure.detail);
    site_plan(site, "[]");
    site->config.offline = true;
    site_open(site);
    for (int i = 0; i < CATALOG_FILES; i++)
        assert_int_equal(pull(site, i, NULL), 0);
    assert_int_equal(load(site, "wikitext2", CORPUS_CALIBRATION, &size), 0);
    assert_true(size > 100000);
    assert_int_equal(load(site, "ptb", CORPUS_EVALUATION, &size), 0);
    assert_int_equal(load(site, "c4-new", CORPUS_EVALUATION, &size), 0);
    assert_int_equal(site_count(site, NULL, NULL), 0);
}

static void test_missing(void **state) {
    struct site *site = *state;
    size_t size;

    assert_int_equal(load(site, "wikitext2", CORPUS_EVALUATION, &size), -ENOENT);
    assert_string_equal(site->failure.code, "dataset_not_found");
    site->config.offline = true;
    site_open(site);
    assert_int_equal(pull(site, CATALOG_WIKITEXT2, NULL), -ENOENT);
    assert_string_equal(site->failure.code, "hub_offline");
    assert_int_equal(site_count(site, NULL, NULL), 0);
}

static void test_refuses(void **state) {
    static const struct {
        enum catalog_id id;
        const char *rules;
    } cases[] = {
        {CATALOG_PTB_TEST, "[{'method': 'GET', 'do': 'corrupt'}]"},
        {CATALOG_PTB_TEST, "[{'method': 'HEAD', 'do': 'headers', 'headers': "
                           "{'Content-Length': '200000000000'}}]"},
        {CATALOG_C4_VALIDATION, "[{'method': 'HEAD', 'do': 'headers', 'headers': "
                                "{'X-Linked-Size': '200000000000'}}]"},
        {CATALOG_C4_VALIDATION, "[{'do': 'corrupt'}]"},
        {CATALOG_WIKITEXT2, "[{'method': 'HEAD', 'do': 'headers', 'headers': "
                            "{'X-Linked-Etag': 'x'}}]"},
    };
    struct site *site = *state;

    need_files(site);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        site_plan(site, cases[i].rules);
        assert_true(pull(site, cases[i].id, NULL) < 0);
        assert_string_equal(site->failure.code, "hub_invalid");
    }
}

/*
 * A bomb is fetched as the hub describes it, and refused when it is read. The addresses of the
 * data sets are replaced by one that answers with it.
 */
static void test_bombs(void **state) {
    static const struct {
        const char *source, *set, *make;
        enum catalog_id id;
    } cases[] = {
        {"c4.validation", "c4", "head -c 300000000 /dev/zero | gzip -1", CATALOG_C4_VALIDATION},
        {"wikitext2", "wikitext2",
         "python3 -c \"import zipfile,sys,io; b=io.BytesIO(); z=zipfile.ZipFile(b,'w',8); "
         "z.writestr('wikitext-2-raw/wiki.test.raw', bytes(200000000)); z.close(); "
         "sys.stdout.buffer.write(b.getvalue())\"",
         CATALOG_WIKITEXT2},
    };
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup(freep) char *command = str_format("%s | base64 -w0", cases[i].make);
        cleanup(freep) char *source =
            str_format("%s=http://127.0.0.2:%d/bomb", cases[i].source, site->cdn_port);
        char *sources[] = {source};
        struct strbuf rules = {};
        char block[4096];
        size_t n, size;
        FILE *file;

        strbuf_puts(&rules, "[{'do': 'bytes', 'body': '");
        file = popen(command, "r");
        while ((n = fread(block, 1, sizeof(block), file)) > 0)
            strbuf_append(&rules, block, n);
        pclose(file);
        strbuf_puts(&rules, "'}]");
        site_plan(site, rules.data);
        strbuf_done(&rules);
        site->config.sources = sources;
        site->config.n_sources = 1;
        site_open(site);
        if (pull(site, cases[i].id, NULL))
            fail_msg("%s", site->failure.detail);
        assert_int_equal(load(site, cases[i].set, CORPUS_EVALUATION, &size), -EBADMSG);
        assert_string_equal(site->failure.code, "dataset_invalid");
        print_message("%s\n", site->failure.detail);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_fresh, site_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_pull_all),
        TEST(test_missing),
        TEST(test_refuses),
        TEST(test_bombs),
    };

    return cmocka_run_group_tests(tests, site_setup, site_teardown);
}
