// SPDX-License-Identifier: Apache-2.0
/* The cuda backend through the sweep, twice: two opened devices give the same bytes. */
#include "kernels/registry.h"
#include "tests/kernels/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXIT_SKIP 77

static int sweep_cuda(char ret_digest[SHA256_TEXT_SIZE]) {
    struct backend_info info;
    struct failure failure;
    struct backend *b;
    struct sweep sweep;
    int failed;

    if (backend_open("cuda:0", &b, &failure) < 0) {
        printf("FAIL open: %s\n", failure.detail);
        return 1;
    }
    failed = sweep_run(&sweep, b->ops, b);
    b->ops->info(b, &info);
    printf("%s: peak %zu MiB\n", info.name, info.memory_peak >> 20);
    sha256_finish(sweep.digest, ret_digest);
    sha256_free(sweep.digest);
    b->ops->close(b);
    return failed;
}

int main(int argc, char **argv) {
    char one[SHA256_TEXT_SIZE], two[SHA256_TEXT_SIZE];
    struct failure failure;
    struct backend *b;
    int n = 0, failed;

    backend_count("cuda", &n);
    if (n == 0) {
        backend_open("cuda:0", &b, &failure);
        printf("skipped: %s (%s)\n", failure.detail, failure.hint);
        return EXIT_SKIP;
    }
    if (backend_open("cuda:999", &b, &failure) != -ENODEV) {
        puts("FAIL: device 999 is there");
        return EXIT_FAILURE;
    }
    failed = sweep_cuda(one);
    if (argc > 1 && strcmp(argv[1], "once") == 0)
        return failed ? EXIT_FAILURE : EXIT_SUCCESS; /* under a checker: slow enough */
    failed += sweep_cuda(two);
    if (strcmp(one, two) != 0) {
        puts("FAIL: two runs do not give the same bytes");
        failed++;
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
