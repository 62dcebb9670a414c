// SPDX-License-Identifier: Apache-2.0
#include "api/header/media.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#define SPACE " \t"

/* Bytes of @s up to one of @stops or its end, without the blanks before it. */
static size_t token_size(const char *s, const char *stops) {
    size_t n = strcspn(s, stops);

    while (n > 0 && strchr(SPACE, s[n - 1]))
        n--;
    return n;
}

static bool same(const char *s, size_t size, const char *text) {
    return size == strlen(text) && strncasecmp(s, text, size) == 0;
}

bool media_is(const char *value, const char *type) {
    if (!value)
        return false;
    value += strspn(value, SPACE);
    return same(value, token_size(value, ";"), type);
}

/* How closely the range at @range names @type: 3 exactly, 2 as type/?, 1 as anything, 0 not. */
static int closeness(const char *range, size_t size, const char *type) {
    size_t slash = strcspn(type, "/");

    if (same(range, size, type))
        return 3;
    if (size == slash + 2 && strncasecmp(range, type, slash + 1) == 0 && range[size - 1] == '*')
        return 2;
    return same(range, size, "*/*") ? 1 : 0;
}

/* Does the element of @size bytes have a weight of zero: ";q=0", ";q=0.000"? */
static bool is_refused(const char *element, size_t size) {
    const char *end = element + size, *s = element;

    while ((s = memchr(s, ';', (size_t)(end - s)))) {
        s++;
        while (s < end && strchr(SPACE, *s))
            s++;
        if (end - s < 3 || strncasecmp(s, "q=0", 3) != 0)
            continue;
        for (s += 3; s < end && (*s == '.' || *s == '0'); s++)
            ;
        return s == end || strchr(SPACE ";", *s);
    }
    return false;
}

/* The closest range of @accept that covers @type; *ret_refused: it has a weight of zero. */
static int closest(const char *accept, const char *type, bool *ret_refused) {
    int best = 0;

    while (*accept) {
        size_t size = strcspn(accept, ",");
        const char *element = accept + strspn(accept, SPACE);
        int close;

        accept += size;
        if (element < accept) {
            close = closeness(element, token_size(element, ";,"), type);
            if (close > best) {
                best = close;
                *ret_refused = is_refused(element, (size_t)(accept - element));
            }
        }
        if (*accept)
            accept++;
    }
    return best;
}

bool media_accepts(const char *accept, const char *type) {
    bool refused = false;

    if (!accept || !accept[strspn(accept, SPACE)])
        return true;
    return closest(accept, type, &refused) > 0 && !refused;
}

bool media_asks(const char *accept, const char *type) {
    bool refused = false;

    return accept && closest(accept, type, &refused) == 3 && !refused;
}
