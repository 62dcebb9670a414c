// SPDX-License-Identifier: Apache-2.0
/*
 * Limits of the process that are too small to work with. OpenBLAS starts its threads before main()
 * and never comes back when it finds no memory for them, so this runs before any library's start:
 * no allocation, no stdio.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_LEAST 64                      /* of the store, sockets, a job, some connections */
#define ADDRESSES_LEAST ((rlim_t)512 << 20) /* bytes: libraries, stacks of threads, BLAS */
#define EXIT_LIMITS 2                       /* starting again does not help */

static void leave(const char *message) {
    ssize_t n = write(STDERR_FILENO, message, strlen(message));

    (void)n;
    _exit(EXIT_LIMITS);
}

static void check_limits(int argc, char **argv, char **env) {
    struct rlimit limit;

    (void)argc;
    (void)argv;
    (void)env;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < ADDRESSES_LEAST)
        leave("quantd: the limit of address space (ulimit -v) is below 512 MiB, which is too "
              "small to start; raise it, or lift it with 'ulimit -v unlimited'\n");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < FILES_LEAST)
        leave("quantd: the hard limit of open files (ulimit -Hn) is below 64, which is too small "
              "to serve; raise it\n");
}

/* Called by the dynamic linker with the arguments of main(), before those of the libraries. */
__attribute__((section(".preinit_array"), used)) static void (*const start)(int, char **,
                                                                            char **) = check_limits;
