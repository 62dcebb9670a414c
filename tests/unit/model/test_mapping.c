// SPDX-License-Identifier: Apache-2.0
/*
 * Each case runs in a process of its own, and without cmocka, which takes SIGBUS for itself: the
 * handler is installed once per process, and some cases end by a signal.
 */
#include "daemon/model/safetensors/mapping.h"

#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                        \
            _exit(EXIT_FAILURE);                                                                   \
        }                                                                                          \
    } while (0)

static char root[] = "/tmp/quantd-test-XXXXXX";
static char path[200];

static void write_ones(void) {
    static char data[1 << 16];

    memset(data, 1, sizeof(data));
    CHECK(file_replace(path, data, sizeof(data)) == 0);
}

static unsigned int sum_of(const void *data, size_t size) {
    const volatile unsigned char *bytes = data;
    unsigned int sum = 0;

    for (size_t i = 0; i < size; i += 512)
        sum += bytes[i];
    return sum;
}

static void case_cut_short(void) {
    struct mapping *mapping, *other;
    struct failure f = {};

    write_ones();
    CHECK(mapping_open(NULL, path, 100, &mapping, &f) == -EFBIG);
    CHECK(mapping_open(NULL, path, 1 << 16, &mapping, &f) == 0);
    CHECK(mapping_open(NULL, "/proc/self/exe", SIZE_MAX, &other, &f) == 0);
    CHECK(sum_of(mapping->data, mapping->size) == 128);
    CHECK(mapping_intact(mapping));
    CHECK(truncate(path, 8192) == 0);
    CHECK(sum_of(mapping->data, mapping->size) == 16);
    CHECK(!mapping_intact(mapping));
    CHECK(mapping_intact(other));
    mapping_free(mapping);
    mapping_free(other);
}

static void case_slot_is_fresh(void) {
    struct mapping *mapping;
    struct failure f = {};

    for (int i = 0; i < 3; i++) {
        write_ones();
        CHECK(mapping_open(NULL, path, SIZE_MAX, &mapping, &f) == 0);
        CHECK(mapping_intact(mapping));
        CHECK(truncate(path, 0) == 0);
        CHECK(sum_of(mapping->data, mapping->size) == 0);
        CHECK(!mapping_intact(mapping));
        mapping_free(mapping);
    }
}

static void case_empty_file(void) {
    struct mapping *mapping;
    struct failure f = {};

    CHECK(file_replace(path, "", 0) == 0);
    CHECK(mapping_open(NULL, path, SIZE_MAX, &mapping, &f) == 0);
    CHECK(mapping->size == 0 && mapping_intact(mapping));
    mapping_free(mapping);
    mapping_free(NULL);
    CHECK(mapping_open(NULL, "/nonexistent", SIZE_MAX, &mapping, &f) == -ENOENT);
    CHECK(mapping_open(NULL, root, SIZE_MAX, &mapping, &f) == -EISDIR);
    CHECK(mapping_open(NULL, "/dev/null", SIZE_MAX, &mapping, &f) == -EINVAL);
}

/* All 4096 mappings of a process at once, and one more. */
static void case_limit(void) {
    static struct mapping *mappings[4096];
    struct mapping *more = NULL;
    struct failure f = {};

    write_ones();
    for (size_t i = 0; i < ARRAY_SIZE(mappings); i++)
        CHECK(mapping_open(NULL, path, SIZE_MAX, &mappings[i], &f) == 0);
    CHECK(mapping_open(NULL, path, SIZE_MAX, &more, &f) == -EMFILE);
    for (size_t i = 0; i < ARRAY_SIZE(mappings); i++)
        mapping_free(mappings[i]);
    CHECK(mapping_open(NULL, path, SIZE_MAX, &more, &f) == 0);
    mapping_free(more);
}

/* A file mapped behind the back of mapping.c, and cut short. */
static void fault_elsewhere(void) {
    struct mapping *mapping;
    struct failure f = {};
    void *data;
    FILE *file;

    write_ones();
    CHECK(mapping_open(NULL, "/proc/self/exe", SIZE_MAX, &mapping, &f) == 0);
    file = fopen(path, "re");
    CHECK(file);
    data = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    CHECK(data != MAP_FAILED);
    CHECK(truncate(path, 0) == 0);
    sum_of(data, 1 << 16);
}

static void reset_signal(void) {
    CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
}

static void case_foreign_fault(void) {
    reset_signal();
    fault_elsewhere();
}

static void case_foreign_signal(void) {
    struct mapping *mapping;
    struct failure f = {};

    reset_signal();
    CHECK(mapping_open(NULL, "/proc/self/exe", SIZE_MAX, &mapping, &f) == 0);
    raise(SIGBUS);
}

static void exit_seven(int number) {
    (void)number;
    _exit(7);
}

static void case_earlier_handler(void) {
    CHECK(signal(SIGBUS, exit_seven) != SIG_ERR);
    fault_elsewhere();
}

static void exit_eight(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    _exit(info->si_code > 0 ? 8 : 9);
}

static void case_earlier_action(void) {
    struct sigaction action = {.sa_sigaction = exit_eight, .sa_flags = SA_SIGINFO};

    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    fault_elsewhere();
}

static const struct {
    const char *name;
    void (*run)(void);
    int status; /* exit status, or minus the signal */
} cases[] = {
    {"cut short", case_cut_short, 0},
    {"slot is fresh", case_slot_is_fresh, 0},
    {"empty file", case_empty_file, 0},
    {"limit", case_limit, 0},
    {"foreign fault", case_foreign_fault, -SIGBUS},
    {"foreign signal", case_foreign_signal, -SIGBUS},
    {"earlier handler", case_earlier_handler, 7},
    {"earlier action", case_earlier_action, 8},
};

static int run_case(void (*run)(void)) {
    const struct rlimit none = {};
    pid_t child = fork();
    int status;

    if (child == 0) {
        setrlimit(RLIMIT_CORE, &none);
        run();
        _exit(EXIT_SUCCESS);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return EXIT_FAILURE;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int main(void) {
    int failures = 0;

    CHECK(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/x", root);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int status = run_case(cases[i].run);

        printf("%s: %s (%d)\n", cases[i].name, status == cases[i].status ? "ok" : "FAILED", status);
        failures += status != cases[i].status;
    }
    CHECK(dir_remove(root) == 0);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
