// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/cursor.h"

#include "base/macros.h"

#include <string.h>

/* Bytes of a value of each type, by its number; 0: it has no fixed size. */
static const struct {
    unsigned char bytes;
    bool has_sign;
} types[] = {{1, false}, {1, true},  {2, false}, {2, true},  {4, false}, {4, true}, {4, true},
             {1, false}, {0, false}, {0, false}, {8, false}, {8, true},  {8, true}};

static bool take(struct cursor *c, uint64_t size, const unsigned char **ret_from) {
    if (c->failed || size > c->size - c->at) {
        c->failed = true;
        return false;
    }
    *ret_from = c->data + c->at;
    c->at += (size_t)size;
    return true;
}

uint64_t cursor_number(struct cursor *c, int bytes) {
    const unsigned char *from;
    uint64_t value = 0;

    if (!take(c, (uint64_t)bytes, &from))
        return 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

struct gguf_text cursor_text(struct cursor *c) {
    uint64_t size = cursor_number(c, 8);
    const unsigned char *from;

    if (!take(c, size, &from))
        return (struct gguf_text){"", 0};
    return (struct gguf_text){(const char *)from, (size_t)size};
}

static bool is_fixed(enum gguf_value type) {
    return (size_t)type < ARRAY_SIZE(types) && types[type].bytes > 0;
}

bool cursor_value(struct cursor *c, enum gguf_value type, double *ret_value) {
    uint64_t bits;
    int bytes;

    if (!is_fixed(type))
        return false;
    bytes = types[type].bytes;
    bits = cursor_number(c, bytes);
    if (c->failed)
        return false;
    if (type == GGUF_F32) {
        uint32_t half = (uint32_t)bits;
        float value;

        memcpy(&value, &half, sizeof(value));
        *ret_value = value;
    } else if (type == GGUF_F64) {
        memcpy(ret_value, &bits, sizeof(*ret_value));
    } else if (types[type].has_sign) {
        *ret_value = (double)((int64_t)(bits << (64 - 8 * bytes)) >> (64 - 8 * bytes));
    } else {
        *ret_value = (double)bits;
    }
    return true;
}

bool cursor_skip(struct cursor *c, enum gguf_value type, uint64_t n) {
    const unsigned char *from;

    if (is_fixed(type)) {
        if (n > c->size)
            c->failed = true;
        else
            take(c, n * types[type].bytes, &from);
        return !c->failed;
    }
    if (type != GGUF_STRING)
        c->failed = true;
    for (uint64_t i = 0; i < n && !c->failed; i++)
        cursor_text(c);
    return !c->failed;
}
