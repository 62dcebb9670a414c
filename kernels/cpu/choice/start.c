// SPDX-License-Identifier: Apache-2.0
#include "kernels/start.h"

#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "kernels/cpu/choice/core.h"
#include "kernels/cpu/choice/product_test.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "OPENBLAS_CORETYPE"
#define TEST_OPTION "--test-kernels"
#define TEST_SECONDS 10

/* Exit statuses of the test; whatever else its end says, the kernels cannot be used. */
#define TEST_WRONG 1
#define TEST_NO_SUCH 3 /* the library does not have these kernels */

void kernels_run_test(int argc, char **argv) {
    if (argc != 3 || !str_equal(argv[1], TEST_OPTION))
        return;
    if (strcasecmp(openblas_get_corename(), argv[2]))
        _exit(TEST_NO_SUCH);
    _exit(product_test() ? 0 : TEST_WRONG);
}

/* In the child. Nothing that it does may be seen: no message, no core file. */
static _Noreturn void run_child(const char *path, const char *core) {
    char *const argv[] = {(char *)path, (char *)TEST_OPTION, (char *)core, NULL};
    const struct rlimit none = {};
    sigset_t empty;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd <= 2; fd++)
        dup2(null, fd);
    close_range(3, ~0U, 0); /* sockets that were inherited, for one */
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    alarm(TEST_SECONDS); /* goes on in the new program */
    execv(path, argv);
    _exit(TEST_WRONG);
}

/* With VARIABLE set to @core. Return: the status as waitpid() has it, or -errno. */
static int run_test(const char *path, const char *core) {
    pid_t child = fork();
    int status;

    if (child < 0)
        return -errno;
    if (child == 0)
        run_child(path, core);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return status;
}

/* Can the kernels of @core, to which VARIABLE is set, be used? Says why not. */
static bool passes(const char *path, const char *core, const char *chosen) {
    int status = run_test(path, core);

    if (status == 0)
        return true;
    if (status < 0)
        log_warning("cannot test OpenBLAS's kernels for %s: %s; those for %s are used", core,
                    strerror(-status), chosen);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_NO_SUCH)
        log_info("this OpenBLAS has no kernels for %s", core);
    else if (WIFSIGNALED(status))
        log_warning("OpenBLAS's kernels for %s suit this processor, but fail a test (%s); those "
                    "for %s are used, which are slower",
                    core, WTERMSIG(status) == SIGALRM ? "no end" : strsignal(WTERMSIG(status)),
                    chosen);
    else
        log_warning("OpenBLAS's kernels for %s suit this processor, but compute wrongly in a test; "
                    "those for %s are used, which are slower",
                    core, chosen);
    return false;
}

/* By its path, not by the link in /proc: the name of the process is that of the file. */
static int find_program(char path[PATH_MAX]) {
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);

    if (size < 0)
        return -errno;
    path[size] = '\0';
    return access(path, X_OK) < 0 ? -errno : 0;
}

void kernels_choose(char **argv) {
    const char *chosen = openblas_get_corename(), *set = getenv(VARIABLE), *cores[CORES_MAX];
    char path[PATH_MAX];
    struct cpu_features features;
    size_t n;
    int r;

    if (set && *set)
        return;
    cpu_features_read(&features);
    n = core_better(&features, chosen, cores);
    if (n == 0)
        return;
    r = find_program(path);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (setenv(VARIABLE, cores[i], true)) {
            r = -errno;
        } else if (passes(path, cores[i], chosen)) {
            log_notice("OpenBLAS chose its kernels for %s; starting again with those for %s",
                       chosen, cores[i]);
            execv(path, argv);
            r = -errno;
        }
    }
    if (r < 0)
        log_warning("OpenBLAS uses its kernels for %s, which are slow on this processor, and "
                    "quantd cannot start again with better ones: %s; set " VARIABLE "=%s",
                    chosen, strerror(-r), cores[0]);
    unsetenv(VARIABLE);
}
