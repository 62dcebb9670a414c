// SPDX-License-Identifier: Apache-2.0
/* The forward pass of the demo model against PyTorch's, position by position. */
#include "tests/unit/model/forward.h"
#include "tests/unit/shared.h"

#include <stdio.h>

static void test_demo(void **state) {
    cleanup(freep) char *dir = source_path("data/olmoe-demo");
    cleanup(freep) char *path = shared_path("expected/forward.json");
    cleanup(json_decrefp) json_t *expected = NULL;
    struct failure failure = {};

    (void)state;
    if (json_parse_file(path, 1 << 24, "reference", &expected, &failure))
        fail_msg("%s", failure.detail);
    forward_compare(dir, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_demo)};
    cleanup(freep) char *path = shared_path("expected/forward.json");

    if (!path) {
        printf("skipped: no reference figures on this machine (expected/forward.json)\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
