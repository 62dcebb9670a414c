// SPDX-License-Identifier: Apache-2.0
/* Reading the values of a GGUF file one after the other, within its bounds. Any thread. */
#pragma once

#include "daemon/model/gguf/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf_text {
    const char *text; /* [size], not ended by a NUL; in the file */
    size_t size;
};

/* A place in a file; once something did not fit, @failed stays set and all reads give 0. */
struct cursor {
    const unsigned char *data;
    size_t size, at; /* at <= size */
    bool failed;
};

/* cursor_number() - an integer of @bytes bytes, the lowest first. */
uint64_t cursor_number(struct cursor *c, int bytes);

/* cursor_text() - a string, in the file. */
struct gguf_text cursor_text(struct cursor *c);

/* cursor_value() - the number or boolean of @type there. Return: is it one? */
bool cursor_value(struct cursor *c, enum gguf_value type, double *ret_value);

/* cursor_skip() - pass over @n values of @type, which are no arrays. Return: were they there? */
bool cursor_skip(struct cursor *c, enum gguf_value type, uint64_t n);
