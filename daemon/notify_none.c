// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

void notify_status(const char *format, ...) {
    (void)format;
}

void notify_ready(void) {
}

void notify_reloading(void) {
}

int notify_watchdog_ms(void) {
    return 0;
}

void notify_alive(void) {
}

void notify_stopping(void) {
}

int notify_sockets(int *ret_first, int *ret_n) {
    *ret_first = 0;
    *ret_n = 0;
    return 0;
}
