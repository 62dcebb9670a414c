// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include "base/macros.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_status(const char *format, ...) {
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sd_notifyf(0, "STATUS=%s", text);
}

void notify_ready(void) {
    sd_notify(0, "READY=1");
}

void notify_reloading(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
               (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

int notify_watchdog_ms(void) {
    uint64_t us = 0;

    return sd_watchdog_enabled(0, &us) > 0 ? (int)MIN(us / 1000, INT_MAX) : 0;
}

void notify_alive(void) {
    sd_notify(0, "WATCHDOG=1");
}

void notify_stopping(void) {
    sd_notify(0, "STOPPING=1");
}

int notify_sockets(int *ret_first, int *ret_n) {
    int n = sd_listen_fds(1);

    if (n < 0)
        return n;
    *ret_first = SD_LISTEN_FDS_START;
    *ret_n = n;
    return 0;
}
