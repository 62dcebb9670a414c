// SPDX-License-Identifier: Apache-2.0
/* The cache: what others wrote, what is listed, what leaves it. */
#include "site.h"

#include "../unit/shared.h"
#include "base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void write_file(const char *path, const char *text) {
    cleanup(freep) char *parent = strdup(path);

    *strrchr(parent, '/') = '\0';
    assert_int_equal(dir_make(parent), 0);
    assert_int_equal(file_replace(path, text, strlen(text)), 0);
}

/* A model ORG/NAME as huggingface_hub leaves it, with every file in blobs and a link to it. */
static void write_model(struct site *site, const char *org, const char *name) {
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    cleanup(freep) char *dir = str_format("%s/models--%s--%s", site->cache, org, name);
    cleanup(freep) char *ref = str_format("%s/refs/main", dir);
    cleanup(freep) char *snapshot = str_format("%s/snapshots/" COMMIT, dir);

    write_file(ref, COMMIT);
    assert_int_equal(dir_make(snapshot), 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        cleanup(freep) char *blob = str_format("%s/blobs/%040zu", dir, i);
        cleanup(freep) char *link = str_format("%s/%s", snapshot, files[i]);
        cleanup(freep) char *target = str_format("../../blobs/%040zu", i);

        write_file(blob, files[i]);
        assert_int_equal(symlink(target, link), 0);
    }
}

static int find(struct site *site, const char *text, char **ret_dir) {
    char commit[HUB_COMMIT_SIZE];
    struct hub_name name;

    assert_int_equal(hub_parse_name(text, &name), 0);
    return hub_find_model(site->client, &name, ret_dir, commit, &site->failure);
}

static void relink(struct site *site, const char *name, const char *target) {
    cleanup(freep) char *path =
        str_format("%s/models--org--name/snapshots/" COMMIT "/%s", site->cache, name);

    unlink(path);
    if (target)
        assert_int_equal(symlink(target, path), 0);
}

static void test_reads_others(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    cleanup(freep) char *same = NULL;
    cleanup(freep) char *expected =
        str_format("%s/models--org--name/snapshots/" COMMIT, site->cache);

    write_model(site, "org", "name");
    assert_int_equal(find(site, "org/name", &dir), 0);
    assert_string_equal(dir, expected);
    assert_int_equal(site_pull(site, "org/name@" COMMIT, &same), 0);
    assert_int_equal(find(site, "org/name@other", &same), -ENOENT);
    assert_int_equal(site_count(site, NULL, NULL), 0);
}

static void test_incomplete(void **state) {
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;
    cleanup(freep) char *index = str_format(
        "%s/models--org--name/snapshots/" COMMIT "/model.safetensors.index.json", site->cache);

    write_model(site, "org", "name");
    write_file(index, "{\"weight_map\": {\"a\": \"model.safetensors\", \"b\": "
                      "\"model-2.safetensors\"}}");
    assert_int_equal(find(site, "org/name", &dir), -ENOENT);
    assert_non_null(strstr(site->failure.detail, "model-2.safetensors"));
    site->config.offline = true;
    site_open(site);
    assert_int_equal(site_pull(site, "org/name", NULL), -ENOENT);
    assert_string_equal(site->failure.code, "hub_offline");
    assert_non_null(strstr(site->failure.detail, "not complete"));
    write_file(index, "{\"weight_map\": {\"a\": \"../../x.safetensors\"}}");
    assert_int_equal(find(site, "org/name", &dir), -ENOENT);
}

static void test_links_that_lead_out(void **state) {
    static const char *const targets[] = {"/etc/passwd", "../../../../../../etc/passwd",
                                          "../../../models--org--other/blobs/x"};
    struct site *site = *state;
    cleanup(freep) char *dir = NULL;

    write_model(site, "org", "name");
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        relink(site, "model.safetensors", targets[i]);
        assert_int_equal(find(site, "org/name", &dir), -EXDEV);
        assert_string_equal(site->failure.code, "hub_invalid");
        assert_int_equal(site_pull(site, "org/name", NULL), -EXDEV);
    }
    relink(site, "model.safetensors", NULL);
    assert_int_equal(find(site, "org/name", &dir), -ENOENT);
}

/* The model @id in the list, NULL when it is not there; borrowed. */
static const json_t *listed(const json_t *models, const char *id) {
    json_t *model;
    size_t i;

    json_array_foreach(models, i, model) {
        if (!strcmp(json_string_value(json_object_get(model, "id")), id))
            return model;
    }
    return NULL;
}

static bool pinned(void *ctx, const char *id) {
    return str_equal(id, *(const char **)ctx);
}

static void test_list_and_remove(void **state) {
    struct site *site = *state;
    cleanup(json_decrefp) json_t *models = NULL;
    const char *in_use = "org/name";
    const json_t *model;
    uint64_t bytes = 0;

    site->config.pinned = pinned;
    site->config.ctx = &in_use;
    site_open(site);
    write_model(site, "org", "name");
    write_model(site, "org", "other");
    hub_note_use(site->client, "org/other");
    assert_int_equal(hub_list_models(site->client, &models, &site->failure), 0);
    assert_int_equal(json_array_size(models), 2);
    model = listed(models, "org/name");
    assert_true(json_is_true(json_object_get(model, "pinned")));
    assert_true(json_is_null(json_object_get(model, "last_used_at")));
    assert_true(json_integer_value(json_object_get(model, "bytes")) > 0);
    assert_int_equal(json_array_size(json_object_get(model, "revisions")), 1);
    model = listed(models, "org/other");
    assert_false(json_is_true(json_object_get(model, "pinned")));
    assert_true(json_is_string(json_object_get(model, "last_used_at")));

    assert_int_equal(hub_remove_model(site->client, "org/name", &bytes, &site->failure), -EBUSY);
    assert_string_equal(site->failure.code, "model_in_use");
    assert_int_equal(hub_remove_model(site->client, "org/other", &bytes, &site->failure), 0);
    assert_true(bytes > 0);
    assert_int_equal(hub_remove_model(site->client, "org/other", &bytes, &site->failure), -ENOENT);
    assert_int_equal(hub_remove_model(site->client, "../x", &bytes, &site->failure), -ENOENT);
    json_decref(models);
    models = NULL;
    assert_int_equal(hub_list_models(site->client, &models, &site->failure), 0);
    assert_int_equal(json_array_size(models), 1);
}

static void set_use(struct site *site, const char *folder, time_t at) {
    cleanup(freep) char *path = str_format("%s/used/%s", site->own, folder);
    const struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Above the limit the model goes that was unused for the longest time, and no job needs. */
static void test_limit(void **state) {
    struct site *site = *state;
    const char *in_use = "org/first";
    char *dir = NULL;

    site->config.pinned = pinned;
    site->config.ctx = &in_use;
    site_open(site);
    write_model(site, "org", "first");
    write_model(site, "org", "second");
    write_model(site, "org", "third");
    write_model(site, "org", "strange"); /* not written by quantd: it stays */
    hub_note_use(site->client, "org/first");
    hub_note_use(site->client, "org/second");
    hub_note_use(site->client, "org/third");
    set_use(site, "models--org--first", 1000);
    set_use(site, "models--org--second", 2000);
    site->config.cache_limit = 15400000; /* the demo model alone has nearly as much */
    site_open(site);
    assert_int_equal(site_pull(site, SITE_MODEL, NULL), 0);
    assert_int_equal(find(site, "org/first", &dir), 0);
    free(dir);
    assert_int_equal(find(site, "org/strange", &dir), 0);
    free(dir);
    assert_int_equal(find(site, "org/second", &dir), -ENOENT);
}

static void age(const char *path) {
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_sweep(void **state) {
    struct site *site = *state;
    cleanup(freep) char *blobs = str_format("%s/models--org--name/blobs", site->cache);
    cleanup(freep) char *old = str_format("%s/aa.part", blobs);
    cleanup(freep) char *map = str_format("%s/aa.map", blobs);
    cleanup(freep) char *young = str_format("%s/bb.part", blobs);
    cleanup(freep) char *trash = str_format("%s/.quantd-trash-1-1/blobs/x", site->cache);
    cleanup(freep) char *dir = NULL;

    write_model(site, "org", "name");
    write_file(old, "x");
    write_file(map, "x");
    write_file(young, "x");
    write_file(trash, "x");
    age(old);
    hub_sweep(site->client);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(map, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(access(trash, F_OK), -1);
    assert_int_equal(find(site, "org/name", &dir), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_fresh, site_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_reads_others),    TEST(test_incomplete), TEST(test_links_that_lead_out),
        TEST(test_list_and_remove), TEST(test_limit),      TEST(test_sweep),
    };

    return cmocka_run_group_tests(tests, site_setup, site_teardown);
}
