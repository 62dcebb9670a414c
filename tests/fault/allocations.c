// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/allocations.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
/* AddressSanitizer's, when it is there. */
__attribute__((weak)) void *__interceptor_malloc(size_t size);
__attribute__((weak)) void *__interceptor_calloc(size_t n, size_t size);
__attribute__((weak)) void *__interceptor_realloc(void *old, size_t size);

static atomic_int left; /* the one that makes it 0 fails; below: none */
static _Thread_local bool spared;

void allocations_fail(int n) {
    left = n;
}

bool allocations_stop(void) {
    return atomic_exchange(&left, 0) < 0;
}

void allocations_spare_me(void) {
    spared = true;
}

/* AddressSanitizer allocates before it can check what instrumented code does. */
#define PLAIN __attribute__((no_sanitize("address", "undefined")))

/* -1 stays: one has failed. */
PLAIN static bool fails(void) {
    int n = left;

    if (spared)
        return false;
    while (n > 0) {
        if (atomic_compare_exchange_weak(&left, &n, n == 1 ? -1 : n - 1))
            return n == 1;
    }
    return false;
}

PLAIN void *allocations_sure_malloc(size_t size) {
    return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

PLAIN void *malloc(size_t size) {
    return fails() ? NULL : allocations_sure_malloc(size);
}

PLAIN void *calloc(size_t n, size_t size) {
    if (fails())
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(n, size) : __libc_calloc(n, size);
}

PLAIN void *realloc(void *old, size_t size) {
    if (fails())
        return NULL;
    return __interceptor_realloc ? __interceptor_realloc(old, size) : __libc_realloc(old, size);
}

/* AddressSanitizer asks for the stack of each new thread; without it, it ends the process. */
PLAIN int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr) {
    int (*next)(pthread_t, pthread_attr_t *);
    bool before = spared;
    int error;

    spared = true;
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_getattr_np");
    error = next(thread, attr);
    spared = before;
    return error;
}
