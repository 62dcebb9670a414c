// SPDX-License-Identifier: Apache-2.0
/* Time. Durations come from the monotonic clock, timestamps from the wall clock. Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

/* clock_monotonic() - seconds since some fixed point; only differences mean anything. */
double clock_monotonic(void);

/* clock_thread() - seconds of processor time that this thread has taken. */
double clock_thread(void);

/* clock_timespec() - @seconds, not below 0, as the kernel takes them. */
struct timespec clock_timespec(double seconds);

/* clock_wall_ms() - milliseconds since 1970-01-01 UTC. */
int64_t clock_wall_ms(void);

#define CLOCK_TEXT_SIZE 32

/* clock_format() - @wall_ms as RFC 3339 in UTC with milliseconds: "2026-11-22T09:30:00.125Z". */
void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);
