// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/clock.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int log_level = LOG_INFO;

void log_set_level(int level) {
    log_level = level;
}

void log_line(int level, const char *format, ...) {
    char text[1024], line[1100], when[CLOCK_TEXT_SIZE];
    va_list args;
    int n;

    if (level > log_level)
        return;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    str_make_printable(text);

    if (getenv("JOURNAL_STREAM")) {
        n = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
    } else {
        clock_format(clock_wall_ms(), when);
        n = snprintf(line, sizeof(line), "%s quantd: %s\n", when, text);
    }
    /* One write, so that lines of different threads do not mix. Nobody is left to tell if it
     * fails. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}
