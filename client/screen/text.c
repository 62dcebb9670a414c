// SPDX-License-Identifier: Apache-2.0
#include "client/screen/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

static bool is_harmless(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF: /* with the bidirectional overrides */
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

/* Bytes of the character at @s, its code point in *ret_c; a broken one is -1, one byte long. */
static size_t next_character(const char *s, utf8proc_int32_t *ret_c) {
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, ret_c);

    if (n > 0 && *ret_c >= 0)
        return n;
    *ret_c = -1;
    return 1;
}

void text_clean(char *s) {
    char *to = s;

    while (*s) {
        utf8proc_int32_t c;
        size_t n = next_character(s, &c);

        if (c >= 0 && is_harmless(c)) {
            memmove(to, s, n);
            to += n;
        } else {
            *to++ = '?';
        }
        s += n;
    }
    *to = '\0';
}

char *text_cleaned(const char *s) {
    char *copy = strdup(s);

    if (copy)
        text_clean(copy);
    return copy;
}

size_t text_fit(const char *s, int width) {
    size_t at = 0;

    while (s[at]) {
        utf8proc_int32_t c;
        size_t n = next_character(s + at, &c);

        width -= c < 0 ? 1 : utf8proc_charwidth(c);
        if (width < 0)
            break;
        at += n;
    }
    return at;
}

int text_width(const char *s) {
    int width = 0;

    while (*s) {
        utf8proc_int32_t c;

        s += next_character(s, &c);
        width += c < 0 ? 1 : utf8proc_charwidth(c);
    }
    return width;
}

void text_count(double n, char out[TEXT_SIZE]) {
    static const char *const units[] = {"", "k", "M", "G"};
    size_t unit = 0;

    while (n >= 999.5 && unit < ARRAY_SIZE(units) - 1) {
        n /= 1000;
        unit++;
    }
    snprintf(out, TEXT_SIZE, unit && n < 99.95 ? "%.1f%s" : "%.0f%s", n, units[unit]);
}

void text_duration(double seconds, char out[TEXT_SIZE]) {
    long s;

    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(out, TEXT_SIZE, "?");
        return;
    }
    s = lround(seconds);
    if (seconds < 9.95)
        snprintf(out, TEXT_SIZE, "%.1f s", seconds);
    else if (s < 60)
        snprintf(out, TEXT_SIZE, "%ld s", s);
    else if (s < 3600)
        snprintf(out, TEXT_SIZE, "%ld min %02ld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, TEXT_SIZE, "%ld h %02ld min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, TEXT_SIZE, "%ld d %ld h", s / 86400, s % 86400 / 3600);
}

void text_age(double seconds, char out[TEXT_SIZE]) {
    static const struct {
        double seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t unit = 0;

    if (!(seconds >= 0 && seconds < 1e11)) {
        snprintf(out, TEXT_SIZE, "?");
        return;
    }
    while (unit < ARRAY_SIZE(units) - 1 && seconds < units[unit].seconds)
        unit++;
    snprintf(out, TEXT_SIZE, "%.0f %s", floor(seconds / units[unit].seconds), units[unit].name);
}

void text_perplexity(double value, char out[TEXT_SIZE]) {
    const char *format = value < 1000 ? "%.3f" : value < 1e6 ? "%.1f" : "%.3g";

    snprintf(out, TEXT_SIZE, format, value);
}

void text_escape(struct strbuf *buf, const char *s) {
    for (; *s; s++) {
        unsigned char c = *s;

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("-._~", c))
            strbuf_append(buf, s, 1);
        else
            strbuf_printf(buf, "%%%02X", c);
    }
}

char *text_shell_word(const char *s) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+:@%,=";
    struct strbuf word = {};
    char *result;

    if (*s && s[strspn(s, plain)] == '\0')
        return text_cleaned(s);
    strbuf_puts(&word, "'");
    for (; *s; s++)
        if (*s == '\'')
            strbuf_puts(&word, "'\\''");
        else
            strbuf_append(&word, s, 1);
    strbuf_puts(&word, "'");
    result = strbuf_steal(&word);
    if (result)
        text_clean(result);
    return result;
}

#define WORD_MAX 32

/* Letters to change, insert or delete to make @b of @a; WORD_MAX for long words. */
static int edit_distance(const char *a, const char *b) {
    size_t n_a = strlen(a), n_b = strlen(b);
    int row[WORD_MAX + 1];

    if (n_a > WORD_MAX || n_b > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n_a; i++) {
        int diagonal = row[0];

        row[0] = (int)i;
        for (size_t j = 1; j <= n_b; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[n_b];
}

const char *text_closest(const char *s, const char *const *words, size_t n) {
    int length = (int)strlen(s), best = (length < 4 ? 1 : MAX(2, length / 3)) + 1;
    const char *closest = NULL;

    for (size_t i = 0; i < n; i++) {
        int distance;

        if (!words[i])
            continue;
        distance = edit_distance(s, words[i]);
        /* the beginning of a word */
        if (length >= 3 && str_has_prefix(words[i], s))
            distance = 1;
        if (distance < best) {
            best = distance;
            closest = words[i];
        }
    }
    return closest;
}
