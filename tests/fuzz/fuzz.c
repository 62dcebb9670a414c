// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void fuzz_fail(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

static void remove_folder(void) {
    dir_remove(folder);
}

const char *fuzz_folder(void) {
    if (folder[0])
        return folder;
    snprintf(folder, sizeof(folder), "/dev/shm/quantd-fuzz-XXXXXX");
    if (!mkdtemp(folder)) {
        snprintf(folder, sizeof(folder), "/tmp/quantd-fuzz-XXXXXX");
        fuzz_require(mkdtemp(folder));
    }
    atexit(remove_folder);
    return folder;
}

const char *fuzz_file(const char *name, const void *data, size_t size) {
    static char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fuzz_folder(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_require(fd >= 0 && file_write_all(fd, data, size) == 0);
    close(fd);
    return path;
}

char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);

    fuzz_require(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
