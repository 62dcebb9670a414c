// SPDX-License-Identifier: Apache-2.0
/* Strings: building, parsing, making hostile ones harmless. Any thread. */
#pragma once

#include "base/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* str_format() - printf into a new string, owned by the caller; NULL when out of memory. */
char *str_format(const char *format, ...) printf_format(1, 2);

static inline bool str_equal(const char *a, const char *b) {
    return a == b || (a && b && __builtin_strcmp(a, b) == 0);
}

bool str_has_prefix(const char *s, const char *prefix);

/* str_parse_u64() - all of @s as a decimal in [0, @max]. Return: 0, -EINVAL or -ERANGE. */
int str_parse_u64(const char *s, uint64_t max, uint64_t *ret_value);

/* str_parse_double() - all of @s as a finite number, '.' as the point. Return: 0 or -EINVAL. */
int str_parse_double(const char *s, double *ret_value);

/*
 * str_utf8_length() - bytes of the longest prefix of @s (@size bytes) that is valid UTF-8:
 * no overlong form, no surrogate, nothing above U+10FFFF.
 */
size_t str_utf8_length(const char *s, size_t size);

/* str_make_printable() - in place: control characters and bytes that are not UTF-8 become '?'. */
void str_make_printable(char *s);

/*
 * str_is_safe_name() - may @s be one path component that a client chose? Only letters, digits,
 * '.', '_' and '-', at most 128 bytes, not empty, not starting with '.'.
 */
bool str_is_safe_name(const char *s);

/* A string that grows. Zero-initialise; after a failed append every later one fails too. */
struct strbuf {
    char *data; /* NUL-terminated once something was appended; owned by the strbuf */
    size_t length, capacity;
    bool failed; /* an append ran out of memory */
};

void strbuf_done(struct strbuf *buf);
void strbuf_append(struct strbuf *buf, const char *data, size_t size);
void strbuf_puts(struct strbuf *buf, const char *s);
void strbuf_printf(struct strbuf *buf, const char *format, ...) printf_format(2, 3);
/* strbuf_steal() - the string, owned by the caller; NULL when an append failed. */
char *strbuf_steal(struct strbuf *buf);
