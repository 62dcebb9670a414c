// SPDX-License-Identifier: Apache-2.0
/*
 * For LD_PRELOAD under valgrind alone: its version 3.19 does not know openat2(), and answers
 * ENOSYS. This opens by openat(), without the rules on how a path may resolve.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#define N_ARGUMENTS 6

long syscall(long number, ...) {
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[N_ARGUMENTS];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < N_ARGUMENTS; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)a[2];

        return openat((int)a[0], (const char *)a[1], (int)how->flags, (mode_t)how->mode);
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
