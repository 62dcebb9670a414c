// SPDX-License-Identifier: Apache-2.0
/*
 * An allocator that can fail: malloc, calloc and realloc of the program that this is linked into,
 * also under AddressSanitizer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * allocations_fail() - let the @n-th allocation from now on fail, of any thread but those that are
 * spared.
 */
void allocations_fail(int n);

/* allocations_stop() - no more. Return: did one fail? */
bool allocations_stop(void);

/* allocations_spare_me() - the calling thread's never fail. */
void allocations_spare_me(void);

/* allocations_sure_malloc() - malloc() that never fails on purpose; freed by free(). Any thread. */
void *allocations_sure_malloc(size_t size);
