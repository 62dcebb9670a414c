// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * As vasprintf(), whose buffer glibc 2.36 overruns by one byte when memory runs out at a text of
 * 100 bytes. Return: the length, -1 without memory.
 */
static int print_new(char **ret_text, const char *format, va_list args) {
    va_list again;
    char *text;
    int n;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!text)
        return -1;
    *ret_text = text;
    return vsnprintf(text, (size_t)n + 1, format, args);
}

char *str_format(const char *format, ...) {
    va_list args;
    char *s;
    int n;

    va_start(args, format);
    n = print_new(&s, format, args);
    va_end(args);
    return n < 0 ? NULL : s;
}

bool str_has_prefix(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

int str_parse_u64(const char *s, uint64_t max, uint64_t *ret_value) {
    unsigned long long value;
    char *end;

    if (!isdigit((unsigned char)s[0]))
        return -EINVAL;
    errno = 0;
    value = strtoull(s, &end, 10);
    if (*end)
        return -EINVAL;
    if (errno == ERANGE || value > max)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int str_parse_double(const char *s, double *ret_value) {
    double value;
    char *end;

    if (!s[0] || isspace((unsigned char)s[0]))
        return -EINVAL;
    value = strtod(s, &end);
    if (*end || !isfinite(value))
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* Bytes of the UTF-8 character at @s, or 0 when it is not one. */
static size_t utf8_character(const unsigned char *s, size_t size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t c;

    if (n <= 1)
        return n;
    if (s[0] > 0xf4 || n > size)
        return 0;
    c = s[0] & (0x7f >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

size_t str_utf8_length(const char *s, size_t size) {
    size_t i = 0;

    while (i < size) {
        size_t n = utf8_character((const unsigned char *)s + i, size - i);

        if (n == 0)
            break;
        i += n;
    }
    return i;
}

void str_make_printable(char *s) {
    size_t size = strlen(s);

    for (size_t i = 0; i < size;) {
        size_t n = utf8_character((const unsigned char *)s + i, size - i);

        if (n == 0 || (n == 1 && iscntrl((unsigned char)s[i]))) {
            s[i] = '?';
            n = 1;
        }
        i += n;
    }
}

bool str_is_safe_name(const char *s) {
    size_t n = strlen(s);

    if (n == 0 || n > 128 || s[0] == '.')
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

void strbuf_done(struct strbuf *buf) {
    free(buf->data);
    *buf = (struct strbuf){};
}

void strbuf_append(struct strbuf *buf, const char *data, size_t size) {
    if (buf->failed)
        return;
    if (size >= buf->capacity - buf->length) {
        size_t capacity = MAX(buf->capacity * 2, buf->length + size + 64);
        char *grown = capacity > size ? realloc(buf->data, capacity) : NULL;

        if (!grown) {
            buf->failed = true;
            return;
        }
        buf->data = grown;
        buf->capacity = capacity;
    }
    if (size)
        memcpy(buf->data + buf->length, data, size);
    buf->length += size;
    buf->data[buf->length] = '\0';
}

void strbuf_puts(struct strbuf *buf, const char *s) {
    strbuf_append(buf, s, strlen(s));
}

void strbuf_printf(struct strbuf *buf, const char *format, ...) {
    va_list args;
    char *s;
    int n;

    va_start(args, format);
    n = print_new(&s, format, args);
    va_end(args);
    if (n < 0) {
        buf->failed = true;
        return;
    }
    strbuf_append(buf, s, n);
    free(s);
}

char *strbuf_steal(struct strbuf *buf) {
    char *s;

    if (!buf->data)
        strbuf_append(buf, "", 0);
    if (buf->failed) {
        strbuf_done(buf);
        return NULL;
    }
    s = buf->data;
    *buf = (struct strbuf){};
    return s;
}
