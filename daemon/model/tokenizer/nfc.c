// SPDX-License-Identifier: Apache-2.0
/*
 * Normalization form C on utf8proc's tables. utf8proc_map() would do it in one call, but it sorts
 * combining marks in quadratic time, and a text may consist of nothing else.
 */
#include "daemon/model/tokenizer/nfc.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/*
 * Characters below U+0300 are starters, in NFC already, and never join what stands before them.
 * So they are copied, but for one that a character from U+0300 on follows. In UTF-8 these begin
 * with a byte from 0xcc on.
 */
#define FIRST_LEAD_BYTE 0xcc

struct code_points {
    utf8proc_int32_t *data; /* owned */
    size_t n, capacity;
};

static void code_points_done(struct code_points *points) {
    free(points->data);
}

static bool is_lead(char c) {
    return (unsigned char)c >= FIRST_LEAD_BYTE;
}

static bool is_continuation(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

static utf8proc_propval_t combining_class(utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
}

/* Sorts @n marks by combining class; equal ones keep their order. */
static int sort_marks(utf8proc_int32_t *marks, size_t n) {
    cleanup(freep) utf8proc_int32_t *sorted = NULL;
    size_t at[257] = {0};
    bool in_order = true;

    for (size_t i = 1; i < n && in_order; i++)
        in_order = combining_class(marks[i - 1]) <= combining_class(marks[i]);
    if (in_order)
        return 0;
    sorted = malloc(n * sizeof(*sorted)); /* n elements exist already */
    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        at[(combining_class(marks[i]) & 0xff) + 1]++;
    for (int i = 1; i < 257; i++)
        at[i] += at[i - 1];
    for (size_t i = 0; i < n; i++)
        sorted[at[combining_class(marks[i]) & 0xff]++] = marks[i];
    memcpy(marks, sorted, n * sizeof(*sorted));
    return 0;
}

static int reserve(struct code_points *points, size_t n) {
    utf8proc_int32_t *data;
    size_t need, capacity = points->capacity ? points->capacity : 256;

    if (checked_add(points->n, n, &need))
        return -ENOMEM;
    if (need <= points->capacity)
        return 0;
    while (capacity < need)
        if (checked_mul(capacity, 2, &capacity))
            return -ENOMEM;
    data = reallocarray(points->data, capacity, sizeof(*data));
    if (!data)
        return -ENOMEM;
    points->data = data;
    points->capacity = capacity;
    return 0;
}

/* The canonical decomposition of one character, at most 4 (Unicode's stability policy). */
static int decompose(struct code_points *points, utf8proc_int32_t c) {
    utf8proc_ssize_t n;
    int boundary = 0;

    if (reserve(points, 4))
        return -ENOMEM;
    n = utf8proc_decompose_char(c, points->data + points->n, 4,
                                UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
    if (n < 0 || n > 4)
        return -EBADMSG;
    points->n += (size_t)n;
    return 0;
}

/* Decomposes, sorts, composes and appends a segment that nothing around it can join. */
static int append_segment(struct strbuf *out, struct code_points *points, const char *text,
                          size_t size) {
    utf8proc_ssize_t n;
    int r;

    points->n = 0;
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &c);

        if (used <= 0)
            return -EBADMSG;
        i += (size_t)used;
        r = decompose(points, c);
        if (r)
            return r;
    }
    for (size_t i = 0; i < points->n;) {
        size_t end = i;

        while (end < points->n && combining_class(points->data[end]))
            end++;
        r = sort_marks(points->data + i, end - i);
        if (r)
            return r;
        i = end + 1;
    }
    n = utf8proc_normalize_utf32(points->data, (utf8proc_ssize_t)points->n,
                                 UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        utf8proc_uint8_t utf8[4];

        strbuf_append(out, (char *)utf8, (size_t)utf8proc_encode_char(points->data[i], utf8));
    }
    return 0;
}

int nfc_normalize(const char *text, size_t size, char **ret_buffer, size_t *ret_size) {
    cleanup(code_points_done) struct code_points points = {0};
    cleanup(strbuf_done) struct strbuf out = {0};
    size_t done = 0, i = 0;
    int r;

    while (i < size && !is_lead(text[i]))
        i++;
    if (i == size) {
        *ret_buffer = NULL;
        return 0;
    }
    while (i < size) {
        size_t start = i, end = i;

        if (start > done)
            start--;
        while (start > done && is_continuation(text[start]))
            start--;
        while (end < size && (is_lead(text[end]) || is_continuation(text[end])))
            end++;
        strbuf_append(&out, text + done, start - done);
        r = append_segment(&out, &points, text + start, end - start);
        if (r)
            return r;
        done = end;
        for (i = end; i < size && !is_lead(text[i]);)
            i++;
    }
    strbuf_append(&out, text + done, size - done);
    *ret_size = out.length;
    *ret_buffer = strbuf_steal(&out);
    return *ret_buffer ? 0 : -ENOMEM;
}
