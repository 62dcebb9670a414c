// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <stdio.h>

static double seconds_of(clockid_t clock) {
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

double clock_monotonic(void) {
    return seconds_of(CLOCK_MONOTONIC);
}

double clock_thread(void) {
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

struct timespec clock_timespec(double seconds) {
    time_t whole = (time_t)seconds;

    return (struct timespec){.tv_sec = whole, .tv_nsec = (long)((seconds - (double)whole) * 1e9)};
}

int64_t clock_wall_ms(void) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]) {
    time_t seconds = wall_ms / 1000;
    struct tm tm;
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, CLOCK_TEXT_SIZE - n, ".%03dZ", (int)(wall_ms % 1000));
}
