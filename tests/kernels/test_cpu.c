// SPDX-License-Identifier: Apache-2.0
/* The cpu backend through the sweep, twice: all threads and one give the same bytes. */
#include "tests/kernels/sweep.h"

#include "kernels/cpu/pool.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

static int sweep_cpu(char ret_digest[SHA256_TEXT_SIZE]) {
    struct backend_info info;
    struct failure failure;
    struct backend *b;
    struct sweep sweep;
    int failed;

    if (backend_cpu.open(1, &b, &failure) != -ENODEV || backend_cpu.open(0, &b, &failure) < 0) {
        printf("FAIL open: %s\n", failure.detail);
        return 1;
    }
    failed = sweep_run(&sweep, &backend_cpu, b);
    backend_cpu.info(b, &info);
    printf("%s: peak %zu KiB\n", info.name, info.memory_peak / 1024);
    sha256_finish(sweep.digest, ret_digest);
    sha256_free(sweep.digest);
    backend_cpu.close(b);
    backend_cpu.close(NULL);
    return failed;
}

/* Leaves this process one processor of those it has. */
static int keep_one_processor(void) {
    cpu_set_t set, one;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return -errno;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set)) {
            CPU_SET(i, &one);
            break;
        }
    }
    return sched_setaffinity(0, sizeof(one), &one) < 0 ? -errno : 0;
}

int main(void) {
    char many[SHA256_TEXT_SIZE], one[SHA256_TEXT_SIZE];
    int n_threads = pool_usable_threads(), failed = sweep_cpu(many);

    if (n_threads == 1) {
        puts("one processor: cannot compare with more threads");
    } else if (keep_one_processor() == 0) {
        failed += sweep_cpu(one);
        if (strcmp(many, one) != 0) {
            printf("FAIL: %d threads and one do not give the same bytes\n", n_threads);
            failed++;
        }
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
