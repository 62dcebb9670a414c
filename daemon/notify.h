// SPDX-License-Identifier: Apache-2.0
/*
 * The service manager: what it passes to the daemon, and what the daemon reports to it.
 * notify_systemd.c speaks to systemd, notify_none.c stands in its place when quantd is built
 * without. Main thread.
 */
#pragma once

#include "base/macros.h"

/* notify_status() - one line of state for `systemctl status`. */
void notify_status(const char *format, ...) printf_format(1, 2);
/* notify_ready() - started: clients are served. */
void notify_ready(void);
/* notify_reloading() - the configuration is read anew; notify_ready() follows. */
void notify_reloading(void);
/*
 * notify_watchdog_ms() - milliseconds within which notify_alive() has to be called again and
 * again, else the service manager ends the process; 0: it does not watch.
 */
int notify_watchdog_ms(void);
void notify_alive(void);
/* notify_stopping() - on the way out. */
void notify_stopping(void);

/*
 * notify_sockets() - the listening sockets that were passed to us: *ret_n descriptors from
 * *ret_first on, 0 when there are none. Return: 0 or -errno.
 */
int notify_sockets(int *ret_first, int *ret_n);
