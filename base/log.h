// SPDX-License-Identifier: Apache-2.0
/*
 * The program's log on stderr, one line each. Under systemd a line begins with "<N>", its
 * priority; on a terminal with the time. Libraries return, only the daemon logs. Any thread.
 */
#pragma once

#include "base/macros.h"

#include <syslog.h>

/* log_set_level() - drop what is less urgent than @level (LOG_ERR ... LOG_DEBUG; LOG_INFO first) */
void log_set_level(int level);

void log_line(int level, const char *format, ...) printf_format(2, 3);

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
