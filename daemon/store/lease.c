// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/lease.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void lease_boot(char ret_boot[LEASE_BOOT_SIZE]) {
    cleanup(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, ret_boot, LEASE_BOOT_SIZE - 1);

    ret_boot[n < 0 ? 0 : n] = '\0';
    ret_boot[strcspn(ret_boot, "\n")] = '\0';
}

int64_t lease_now(void) {
    return (int64_t)(clock_monotonic() * 1000);
}
