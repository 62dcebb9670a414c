// SPDX-License-Identifier: Apache-2.0
/* The puller on a real queue: a job for whose files the disk has no room waits for it, a slow one
 * lets others through. */
#include "base/clock.h"
#include "base/macros.h"
#include "daemon/executor/puller.h"

#include "site.h"

#include "tests/unit/daemon/daemon_fixture.h"

#include <unistd.h>

#define WAIT_SECONDS 60

struct scene {
    struct site *site;
    struct fixture *f;
    struct jobs jobs;
    struct puller *puller;
};

static void on_pulled(void *ctx) {
    (void)ctx;
}

static void open_scene(struct scene *scene, struct site *site) {
    struct puller_config config = {.jobs = &scene->jobs, .pulled = on_pulled, .room_seconds = 1};

    scene->site = site;
    fixture_setup((void **)&scene->f);
    scene->jobs = (struct jobs){.store = scene->f->store,
                                .events = events_new(scene->f->store),
                                .jobs_dir = scene->f->jobs_dir,
                                .hub = site->client};
    assert_int_equal(puller_start(&config, &scene->puller, &site->failure), 0);
}

static void close_scene(struct scene *scene) {
    puller_stop(scene->puller);
    puller_free(scene->puller);
    events_free(scene->jobs.events);
    fixture_teardown((void **)&scene->f);
}

/* As jobs_submit() does for a model that is not in the cache. */
static int64_t submit(struct scene *scene, const char *model) {
    cleanup(json_decrefp) json_t *empty = json_object();
    cleanup(json_decrefp) json_t *request =
        json_pack("{ss si sb s[]}", "model", model, "wbits", 4, "nearest", 1, "eval");
    struct new_job job = {.kind = "quantize",
                          .owner = "user",
                          .name = "",
                          .model_dir = "",
                          .labels = empty,
                          .request = request,
                          .params = request,
                          .created_at = 1,
                          .pull = true,
                          .hub_model = SITE_MODEL};
    int64_t id = 0;

    begin(scene->f);
    assert_int_equal(end(scene->f, store_insert_job(scene->f->store, &job, &id)), 0);
    puller_wake(scene->puller);
    return id;
}

static bool is_paused(const struct job_row *row) {
    return row->paused && row->status == JOB_QUEUED;
}

static bool has_files(const struct job_row *row) {
    return !row->pull;
}

static bool has_failed(const struct job_row *row) {
    return row->status == JOB_FAILED;
}

static void wait_until(struct scene *scene, int64_t id, bool (*is)(const struct job_row *row)) {
    double until = clock_monotonic() + WAIT_SECONDS;

    while (clock_monotonic() < until) {
        cleanup(job_row_freep) struct job_row *row = get(scene->f, id);

        if (is(row))
            return;
        usleep(20000);
    }
    fail_msg("job %d did not get there", (int)id);
}

static int count_events(struct scene *scene, int64_t id, const char *type) {
    cleanup(json_decrefp) json_t *events = NULL;
    json_t *event;
    size_t i;
    int n = 0;

    begin(scene->f);
    assert_int_equal(end(scene->f, store_list_events(scene->f->store, id, NULL, 0, 1000, &events)),
                     0);
    json_array_foreach(events, i, event) n +=
        str_equal(json_string_value(json_object_get(event, "type")), type);
    return n;
}

static void expect_code(struct scene *scene, int64_t id, const char *code) {
    cleanup(job_row_freep) struct job_row *row = get(scene->f, id);
    const json_t *why = row->paused ? row->paused : row->error;

    assert_string_equal(json_string_value(json_object_get(why, "code")), code);
}

static void test_room(void **state) {
    struct scene scene = {};
    int64_t waits, unknown;
    int n;

    open_scene(&scene, *state);
    site_plan(scene.site, "[]");
    hub_set_limits(scene.site->client, UINT64_MAX / 2, 0);
    waits = submit(&scene, SITE_MODEL);
    wait_until(&scene, waits, is_paused);
    expect_code(&scene, waits, "disk_full");

    /* Others are not held up by it. */
    unknown = submit(&scene, "quantd/nothing");
    wait_until(&scene, unknown, has_failed);
    expect_code(&scene, unknown, "model_not_found");

    /* It is tried again and again, which its watchers hear of once. */
    n = site_count(scene.site, NULL, SITE_MODEL);
    for (double until = clock_monotonic() + WAIT_SECONDS;
         site_count(scene.site, NULL, SITE_MODEL) == n && clock_monotonic() < until;)
        usleep(50000);
    assert_true(site_count(scene.site, NULL, SITE_MODEL) > n);
    assert_int_equal(count_events(&scene, waits, "job.paused"), 1);
    assert_int_equal(count_events(&scene, waits, "phase.started"), 1);
    assert_int_equal(site_count(scene.site, NULL, "/cdn/"), 0);

    hub_set_limits(scene.site->client, 0, 0);
    wait_until(&scene, waits, has_files);
    assert_int_equal(count_events(&scene, waits, "phase.started"), 2);
    assert_int_equal(count_events(&scene, waits, "job.paused"), 1);
    close_scene(&scene);
}

/* As after a start: it is not forgotten. */
static void test_paused_before(void **state) {
    struct scene scene = {};
    int64_t id;

    open_scene(&scene, *state);
    hub_set_limits(scene.site->client, UINT64_MAX / 2, 0);
    id = submit(&scene, SITE_MODEL);
    wait_until(&scene, id, is_paused);
    puller_stop(scene.puller);
    puller_free(scene.puller);
    hub_set_limits(scene.site->client, 0, 0);
    scene.puller = NULL;
    assert_int_equal(
        puller_start(
            &(struct puller_config){.jobs = &scene.jobs, .pulled = on_pulled, .room_seconds = 3600},
            &scene.puller, &scene.site->failure),
        0);
    wait_until(&scene, id, has_files);
    close_scene(&scene);
}

/* A pull that trickles lets another one through, and goes on where it was. */
static void test_trickle(void **state) {
    struct puller_config config = {.jobs = NULL,
                                   .pulled = on_pulled,
                                   .room_seconds = 3600,
                                   .slow_seconds = 0.5,
                                   .slow_rate = 100000};
    struct scene scene = {};
    int64_t slow, unknown;

    open_scene(&scene, *state);
    puller_stop(scene.puller);
    puller_free(scene.puller);
    config.jobs = &scene.jobs;
    assert_int_equal(puller_start(&config, &scene.puller, &scene.site->failure), 0);
    site_plan(scene.site, "[{'host': 'cdn', 'do': 'slow', 'rate': 2000}]");
    slow = submit(&scene, SITE_MODEL);
    /* As long as it is alone it goes on; then the other one has its turn. */
    usleep(1500000);
    unknown = submit(&scene, "quantd/nothing");
    wait_until(&scene, unknown, has_failed);
    expect_code(&scene, unknown, "model_not_found");
    assert_int_equal(count_events(&scene, slow, "job.paused"), 0);
    site_plan(scene.site, "[]");
    wait_until(&scene, slow, has_files);
    close_scene(&scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room, site_fresh, site_clean),
        cmocka_unit_test_setup_teardown(test_paused_before, site_fresh, site_clean),
        cmocka_unit_test_setup_teardown(test_trickle, site_fresh, site_clean),
    };

    return cmocka_run_group_tests(tests, site_setup, site_teardown);
}
