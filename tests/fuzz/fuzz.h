// SPDX-License-Identifier: Apache-2.0
/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(): libFuzzer feeds
 * it with -Dfuzz=enabled, replay.c feeds it the files of its corpus in every build. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Takes any bytes; a finding is a crash, a sanitizer's report or fuzz_require(). Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* fuzz_folder() - a folder of this process in memory, gone when it ends; borrowed. */
const char *fuzz_folder(void);

/*
 * fuzz_file() - put @size bytes at @name in fuzz_folder(). Return: its path, borrowed until the
 * next call.
 */
const char *fuzz_file(const char *name, const void *data, size_t size);

/* fuzz_text() - a copy of @size bytes with a NUL after them; owned by the caller. */
char *fuzz_text(const uint8_t *data, size_t size);

/* What must hold for every input. */
#define fuzz_require(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_fail(__FILE__, __LINE__, #condition);                                             \
    } while (0)
void fuzz_fail(const char *file, int line, const char *condition) __attribute__((noreturn));
