// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/header.h"

#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_TENSORS_MAX 1000000
#define NAME_BYTES_MAX 1024

enum field { FIELD_DTYPE = 1, FIELD_SHAPE = 2, FIELD_OFFSETS = 4, FIELDS_ALL = 7 };

/* No loop runs past the end: the NUL there fits nothing. */
struct scanner {
    char *start, *at;
    const char *path;
    struct failure *failure;
};

static int bad(struct scanner *s, const char *why) {
    return failure_set(s->failure, -EBADMSG, "model_invalid", HEADER_HINT,
                       "cannot read '%s': byte %zu of the header: %s", s->path,
                       (size_t)(s->at - s->start), why);
}

static int bad_tensor(struct scanner *s, const char *name, const char *why) {
    return failure_set(s->failure, -EBADMSG, "model_invalid", HEADER_HINT,
                       "cannot read '%s': tensor '%s': %s", s->path, name, why);
}

static void skip_space(struct scanner *s) {
    s->at += strspn(s->at, " \t\n\r");
}

static bool accept(struct scanner *s, char c) {
    skip_space(s);
    if (*s->at != c)
        return false;
    s->at++;
    return true;
}

static int expect(struct scanner *s, char c) {
    char why[] = "expected '?'";

    why[sizeof(why) - 3] = c;
    return accept(s, c) ? 0 : bad(s, why);
}

/* After a member: 1 when another one follows, 0 when @close ended the list. */
static int scan_next(struct scanner *s, char close) {
    if (accept(s, ','))
        return 1;
    return expect(s, close);
}

/* The code unit of "uXXXX" at @s->at, or -1. */
static int scan_code_unit(struct scanner *s) {
    static const char digits[] = "0123456789abcdef";
    int unit = 0;

    if (*s->at != 'u')
        return -1;
    s->at++;
    for (int i = 0; i < 4; i++, s->at++) {
        char c = *s->at >= 'A' && *s->at <= 'F' ? (char)(*s->at + 32) : *s->at;
        const char *digit = c ? strchr(digits, c) : NULL;

        if (!digit)
            return -1;
        unit = unit << 4 | (int)(digit - digits);
    }
    return unit;
}

static char *put_utf8(char *to, int c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* The escape after the backslash at @s->at, decoded to *@to: never longer than its source. */
static int scan_escape(struct scanner *s, char **to) {
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    int c, low;

    s->at++;
    letter = *s->at ? strchr(letters, *s->at) : NULL;
    if (letter) {
        *(*to)++ = values[letter - letters];
        s->at++;
        return 0;
    }
    c = scan_code_unit(s);
    if (c >= 0xd800 && c < 0xdc00 && *s->at == '\\') {
        s->at++;
        low = scan_code_unit(s);
        if (low < 0xdc00 || low > 0xdfff)
            return bad(s, "half a surrogate pair in a string");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c <= 0 || (c >= 0xd800 && c < 0xe000))
        return bad(s, "a string has an escape that is not allowed");
    *to = put_utf8(*to, c);
    return 0;
}

static int scan_string(struct scanner *s, char **ret_text) {
    char *text, *to;
    int r;

    if (!accept(s, '"'))
        return bad(s, "expected a string");
    text = to = s->at;
    while (*s->at != '"') {
        if ((unsigned char)*s->at < 0x20)
            return bad(s, "a string has no end, or holds a control character");
        if (*s->at != '\\') {
            *to++ = *s->at++;
            continue;
        }
        r = scan_escape(s, &to);
        if (r)
            return r;
    }
    s->at++;
    *to = '\0';
    *ret_text = text;
    return 0;
}

static int scan_key(struct scanner *s, char **ret_key) {
    int r = scan_string(s, ret_key);

    return r ? r : expect(s, ':');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int scan_u64(struct scanner *s, uint64_t *ret_value) {
    uint64_t value = 0;

    skip_space(s);
    if (!is_digit(*s->at) || (*s->at == '0' && is_digit(s->at[1])))
        return bad(s, "expected an integer that is not negative");
    for (; is_digit(*s->at); s->at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *s->at - '0', &value))
            return bad(s, "a number of more than 64 bits");
    }
    if (*s->at == '.' || *s->at == 'e' || *s->at == 'E')
        return bad(s, "expected an integer");
    *ret_value = value;
    return 0;
}

/* An array of at most @max numbers. */
static int scan_numbers(struct scanner *s, int max, uint64_t *ret_numbers, int *ret_n) {
    int n = 0, r;

    r = expect(s, '[');
    if (r)
        return r;
    if (accept(s, ']')) {
        *ret_n = 0;
        return 0;
    }
    do {
        if (n == max)
            return bad(s, "the array has too many numbers");
        r = scan_u64(s, &ret_numbers[n++]);
        if (r)
            return r;
        r = scan_next(s, ']');
    } while (r > 0);
    *ret_n = n;
    return r;
}

static int scan_dtype(struct scanner *s, struct tensor *tensor) {
    char *name;
    int r;

    r = scan_string(s, &name);
    if (r)
        return r;
    if (dtype_from_name(name, &tensor->dtype))
        return failure_set(s->failure, -EBADMSG, "model_invalid",
                           "convert the model to F32, F16 or BF16",
                           "cannot read '%s': tensor '%s' has dtype '%.32s', which is not "
                           "supported",
                           s->path, tensor->name, name);
    return 0;
}

static int scan_offsets(struct scanner *s, struct header_entry *entry) {
    uint64_t offsets[2];
    int n = 0, r;

    r = scan_numbers(s, 2, offsets, &n);
    if (r)
        return r;
    if (n != 2)
        return bad(s, "data_offsets must be two numbers");
    entry->begin = offsets[0];
    entry->end = offsets[1];
    return 0;
}

/* One "key": value of a tensor; its bit is added to *@seen. */
static int scan_field(struct scanner *s, struct header_entry *entry, int *seen) {
    struct tensor *tensor = &entry->tensor;
    enum field field;
    char *key;
    int r;

    r = scan_key(s, &key);
    if (r)
        return r;
    if (str_equal(key, "dtype"))
        field = FIELD_DTYPE;
    else if (str_equal(key, "shape"))
        field = FIELD_SHAPE;
    else if (str_equal(key, "data_offsets"))
        field = FIELD_OFFSETS;
    else
        return bad_tensor(s, tensor->name, "has a field that is not dtype, shape or data_offsets");
    if (*seen & field)
        return bad_tensor(s, tensor->name, "has a field twice");
    *seen |= field;
    if (field == FIELD_DTYPE)
        return scan_dtype(s, tensor);
    if (field == FIELD_SHAPE)
        return scan_numbers(s, TENSOR_DIMS_MAX, tensor->shape, &tensor->n_dims);
    return scan_offsets(s, entry);
}

static int scan_tensor(struct scanner *s, const char *name, struct header_entry *entry) {
    int seen = 0, r;

    *entry = (struct header_entry){.tensor = {.name = name}};
    if (strlen(name) > NAME_BYTES_MAX)
        return bad(s, "a tensor name is too long");
    r = expect(s, '{');
    if (r)
        return r;
    if (!accept(s, '}')) {
        do {
            r = scan_field(s, entry, &seen);
            if (r)
                return r;
            r = scan_next(s, '}');
        } while (r > 0);
        if (r)
            return r;
    }
    if (seen != FIELDS_ALL)
        return bad_tensor(s, name, "lacks one of dtype, shape and data_offsets");
    return 0;
}

/* A map of strings, which nothing here needs. */
static int scan_metadata(struct scanner *s) {
    char *text;
    int r;

    r = expect(s, '{');
    if (r)
        return r;
    if (accept(s, '}'))
        return 0;
    do {
        r = scan_key(s, &text);
        if (!r)
            r = scan_string(s, &text);
        if (r)
            return r;
        r = scan_next(s, '}');
    } while (r > 0);
    return r;
}

static int header_grow(struct scanner *s, struct header *header) {
    size_t capacity = header->capacity ? 2 * header->capacity : 64;
    struct header_entry *grown;

    if (header->n_entries >= N_TENSORS_MAX)
        return bad(s, "too many tensors");
    if (header->n_entries < header->capacity)
        return 0;
    grown = realloc(header->entries, capacity * sizeof(*grown));
    if (!grown)
        return failure_oom(s->failure);
    header->entries = grown;
    header->capacity = capacity;
    return 0;
}

/* One "name": {...} of the header. */
static int scan_member(struct scanner *s, struct header *header, bool *has_metadata) {
    char *name;
    int r;

    r = scan_key(s, &name);
    if (r)
        return r;
    if (str_equal(name, "__metadata__")) {
        if (*has_metadata)
            return bad(s, "__metadata__ is there twice");
        *has_metadata = true;
        return scan_metadata(s);
    }
    r = header_grow(s, header);
    if (r)
        return r;
    return scan_tensor(s, name, &header->entries[header->n_entries++]);
}

int safetensors_header_parse(char *text, size_t size, const char *path, struct header *ret_header,
                             struct failure *failure) {
    struct scanner s = {.start = text, .at = text, .path = path, .failure = failure};
    bool has_metadata = false;
    int r = 0;

    *ret_header = (struct header){};
    if (*s.at != '{')
        return bad(&s, "expected '{'");
    s.at += str_utf8_length(text, size);
    if (s.at != text + size)
        return bad(&s, "not valid UTF-8");
    s.at = text + 1;
    if (!accept(&s, '}')) {
        do {
            r = scan_member(&s, ret_header, &has_metadata);
            if (r)
                return r;
            r = scan_next(&s, '}');
        } while (r > 0);
        if (r)
            return r;
    }
    skip_space(&s);
    return s.at == text + size ? 0 : bad(&s, "something follows the last '}'");
}
