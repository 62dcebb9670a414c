// SPDX-License-Identifier: Apache-2.0
/* An idle stream gets a comment every 15 seconds: this test waits for one. */
#include "api/wire.h"
#include "visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static bool has_comment(void *ctx) {
    return ((struct watcher *)ctx)->n_comments > 0;
}

static void test_heartbeat(void **state) {
    struct site *site = site_open();
    CURLM *multi = curl_multi_init();
    struct watcher watcher;

    (void)state;
    fake_job(site->fake);
    watcher_open(&watcher, site, multi, "/v1/jobs/1/events", NULL);
    assert_false(watch_until(multi, has_comment, &watcher, WIRE_HEARTBEAT_SECONDS - 2));
    assert_true(watch_until(multi, has_comment, &watcher, 5));
    assert_string_equal(watcher.seen.data, "job# job.queued#1 ");
    watcher_close(&watcher, multi);
    curl_multi_cleanup(multi);
    site_close(site);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heartbeat)};

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
