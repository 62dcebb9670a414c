// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/arch/json_python.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ESCAPE_BYTES 6   /* of \uXXXX */
#define MARK "\"\\u0001" /* begins a string that stands for a number */

/* What the code unit XXXX of "\uXXXX" at @text is, or -1. A NUL ends the text. */
static int code_unit(const char *text) {
    char digits[5] = {};
    char *stop;
    long unit;

    if (text[0] != '\\' || text[1] != 'u' || strnlen(text, ESCAPE_BYTES) < ESCAPE_BYTES)
        return -1;
    memcpy(digits, text + 2, 4);
    unit = strtol(digits, &stop, 16);
    return stop == digits + 4 ? (int)unit : -1;
}

/* Copies the escape at @text. Return: the bytes that it takes there. */
static size_t copy_escape(struct strbuf *to, const char *text) {
    int unit = code_unit(text), low = unit < 0 ? -1 : code_unit(text + ESCAPE_BYTES);
    size_t n = unit < 0 ? 2 : ESCAPE_BYTES;

    if (unit >= 0xd800 && unit < 0xdc00 && low >= 0xdc00 && low < 0xe000)
        n = 2 * ESCAPE_BYTES;
    else if (unit == 0 || unit == 1 || (unit >= 0xd800 && unit < 0xe000))
        text = "\\ufffd";
    else
        n = strnlen(text, n);
    strbuf_append(to, text, n);
    return n;
}

/* Copies the number, or what Python writes for one, at @text. Return: as above. */
static size_t copy_number(struct strbuf *to, const char *text) {
    size_t n = strspn(text, "+-.0123456789eEINafinty");
    bool fits, is_integer = strspn(text, "-0123456789") == n;

    errno = 0;
    if (is_integer)
        strtoll(text, NULL, 10);
    fits = errno != ERANGE && isfinite(strtod(text, NULL));
    strbuf_puts(to, fits ? "" : MARK);
    strbuf_append(to, text, n);
    strbuf_puts(to, fits ? "" : "\"");
    return n;
}

static void copy_text(struct strbuf *to, const char *text, size_t size) {
    bool in_string = false;

    for (size_t i = 0; i < size;) {
        if (in_string && text[i] == '\\') {
            i += copy_escape(to, text + i);
        } else if (!in_string && text[i] && strchr("-0123456789NI", text[i])) {
            i += copy_number(to, text + i);
        } else {
            in_string ^= text[i] == '"';
            strbuf_append(to, text + i++, 1);
        }
    }
}

int json_parse_python(const char *root, const char *path, size_t max, const char *code,
                      json_t **ret_value, struct failure *failure) {
    cleanup(strbuf_done) struct strbuf plain = {};
    cleanup(freep) char *text = NULL;
    size_t size = 0;
    int r;

    r = json_read_file(root, path, max, code, &text, &size, failure);
    if (r)
        return r;
    copy_text(&plain, text, size);
    if (plain.failed)
        return failure_oom(failure);
    return json_parse(plain.data ? plain.data : "", plain.length, path, code, ret_value, failure);
}

char *json_text_python(const json_t *value, size_t flags) {
    cleanup(freep) char *text = json_text(value, flags);
    cleanup(strbuf_done) struct strbuf plain = {};
    const char *at = text, *mark;

    while (at && (mark = strstr(at, MARK))) {
        strbuf_append(&plain, at, mark - at);
        mark += strlen(MARK);
        at = mark + strcspn(mark, "\"");
        strbuf_append(&plain, mark, at - mark);
        at += *at == '"';
    }
    if (!at)
        return NULL;
    strbuf_puts(&plain, at);
    return strbuf_steal(&plain);
}
