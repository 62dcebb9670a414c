// SPDX-License-Identifier: Apache-2.0
/*
 * The main() of a target without libFuzzer: feeds it every file of the folders or files named, the
 * empty input, and each file cut off in four places. Every input is a block of its own size, for
 * a sanitizer or valgrind to see what lies beyond.
 */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX ((size_t)1 << 20)
#define N_CUTS 4

static void feed(const char *data, size_t size) {
    cleanup(freep) uint8_t *copy = malloc(size ? size : 1);

    fuzz_require(copy);
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
}

static int feed_file(const char *path) {
    cleanup(freep) char *data = NULL;
    size_t size;
    int r;

    r = file_read(path, INPUT_MAX, &data, &size);
    if (r)
        return r;
    feed(data, size);
    for (size_t i = 1; i <= N_CUTS; i++)
        feed(data, size * i / (N_CUTS + 1));
    return 0;
}

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Return: the number of files, or -errno. */
static int feed_folder(const char *path) {
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_input, alphasort), r = 0;

    if (n < 0)
        return errno == ENOTDIR ? (r = feed_file(path)) ? r : 1 : -errno;
    for (int i = 0; i < n; i++) {
        cleanup(freep) char *file = str_format("%s/%s", path, entries[i]->d_name);

        if (!r)
            r = file ? feed_file(file) : -ENOMEM;
        if (r == -EISDIR)
            r = 0;
        free(entries[i]);
    }
    free(entries);
    return r ? r : n;
}

int main(int argc, char **argv) {
    int n, total = 0;

    feed(NULL, 0);
    for (int i = 1; i < argc; i++) {
        n = feed_folder(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "cannot read '%s': %s\n", argv[i], n ? strerror(-n) : "no files");
            return EXIT_FAILURE;
        }
        total += n;
    }
    printf("%d files\n", total);
    return EXIT_SUCCESS;
}
