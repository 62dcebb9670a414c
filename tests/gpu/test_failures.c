// SPDX-License-Identifier: Apache-2.0
/*
 * What goes wrong on a device: too much memory asked for leaves the backend usable; an address
 * that is none poisons it, and it says so. The second in a process of its own.
 */
#include "kernels/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP 77

static int expect(bool good, const char *what) {
    printf("%s: %s\n", good ? "ok" : "FAIL", what);
    return !good;
}

static int test_too_much_memory(struct backend *b) {
    struct span huge = {}, some = {};
    struct backend_info info;
    int failed = 0;

    failed += expect(b->ops->alloc(b, (size_t)1 << 45, &huge) == -ENOMEM, "32 TiB are refused");
    failed += expect(strstr(b->ops->failure(b)->hint, "batch") != NULL, "with a hint");
    b->ops->info(b, &info);
    failed += expect(!info.poisoned, "the device can still be used");
    failed += expect(b->ops->alloc(b, 1 << 20, &some) == 0 && b->ops->zero(b, some) == 0 &&
                         b->ops->sync(b) == 0,
                     "and is");
    b->ops->free(b, &some);
    return failed;
}

static int test_bad_address(struct backend *b) {
    struct span good = {}, bad = {(unsigned char *)((size_t)1 << 20), 1 << 16};
    struct backend_info info;
    int failed = 0, r;

    if (b->ops->alloc(b, 1 << 16, &good))
        return expect(false, "alloc");
    r = b->ops->rmsnorm(b, bad, 128, bad, 128, good, 16, 128, 1e-5f);
    if (!r)
        r = b->ops->sync(b);
    failed += expect(r == -EIO, "an address that is none fails");
    printf("    %s (%s)\n", b->ops->failure(b)->detail, b->ops->failure(b)->hint);
    b->ops->info(b, &info);
    failed += expect(info.poisoned, "the device is poisoned");
    failed += expect(b->ops->zero(b, good) == -EIO || b->ops->sync(b) == -EIO, "and stays so");
    return failed;
}

static int run(int (*test)(struct backend *b)) {
    struct failure failure = {};
    struct backend *b;
    int failed;

    if (backend_open("cuda:0", &b, &failure)) {
        printf("FAIL: %s\n", failure.detail);
        return 1;
    }
    failed = test(b);
    b->ops->close(b);
    return failed;
}

int main(int argc, char **argv) {
    int n = 0, failed, status;
    pid_t child;

    if (argc > 1)
        return run(test_bad_address);
    backend_count("cuda", &n);
    if (n == 0) {
        puts("skipped: no CUDA device");
        return EXIT_SKIP;
    }
    child = fork();
    if (child == 0) { /* CUDA does not live through a fork alone */
        execl(argv[0], argv[0], "bad-address", NULL);
        _exit(EXIT_FAILURE);
    }
    failed = child < 0 || waitpid(child, &status, 0) < 0 || status != 0;
    failed += run(test_too_much_memory);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
