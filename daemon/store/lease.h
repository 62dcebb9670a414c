// SPDX-License-Identifier: Apache-2.0
/*
 * The lease of a running job: the newest sign of life of the thread that works on it. It is held
 * in the boot of the machine and by its monotonic clock, so a wall clock that jumps means nothing.
 * Any thread.
 */
#pragma once

#include <stdint.h>

#define LEASE_BOOT_SIZE 40

struct lease {
    char boot[LEASE_BOOT_SIZE]; /* "": not known */
    int64_t at;                 /* lease_now() at the newest sign of life that was stored */
    int reboots;                /* of the machine, while the job ran */
};

/* lease_boot() - the id of this boot of the machine; "" when the kernel has none. */
void lease_boot(char ret_boot[LEASE_BOOT_SIZE]);

/* lease_now() - milliseconds of the monotonic clock. */
int64_t lease_now(void);
