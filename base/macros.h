// SPDX-License-Identifier: Apache-2.0
/* The few macros that all folders use. */
#pragma once

#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Bytes of @n rounded up to a multiple of @unit, a power of two. */
#define ALIGN_UP(n, unit) (((n) + (unit)-1) & ~((size_t)(unit)-1))

#define printf_format(at, first) __attribute__((format(printf, at, first)))
