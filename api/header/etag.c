// SPDX-License-Identifier: Apache-2.0
#include "api/header/etag.h"

#include "base/macros.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void etag_of_version(uint32_t boot, uint64_t version, char ret_tag[ETAG_SIZE]) {
    snprintf(ret_tag, ETAG_SIZE, "\"%08" PRIx32 "-%" PRIu64 "\"", boot, version);
}

/* The next tag of *@list with its quotes and without W/; NULL at the end or where it is broken. */
static const char *next_tag(const char **list, size_t *ret_size) {
    const char *s = *list, *end;

    s += strspn(s, " \t,");
    if (s[0] == 'W' && s[1] == '/')
        s += 2;
    if (*s != '"')
        return NULL;
    end = strchr(s + 1, '"');
    if (!end)
        return NULL;
    *list = end + 1;
    *ret_size = (size_t)(end + 1 - s);
    return s;
}

uint64_t etag_known_version(const char *list, uint32_t boot) {
    const char *tag;
    size_t size;

    while (list && (tag = next_tag(&list, &size))) {
        char text[ETAG_SIZE], canonical[ETAG_SIZE];
        uint32_t tag_boot;
        uint64_t version;

        if (size >= sizeof(text))
            continue;
        memcpy(text, tag, size);
        text[size] = '\0';
        if (sscanf(text, "\"%8" SCNx32 "-%19" SCNu64 "\"", &tag_boot, &version) != 2)
            continue;
        /* Only what this process wrote itself: no other spelling of the same numbers. */
        etag_of_version(boot, version, canonical);
        if (strcmp(text, canonical) == 0)
            return version;
    }
    return 0;
}

bool etag_matches(const char *list, const char *tag) {
    size_t length = strlen(tag), size;
    const char *s;

    if (!list)
        return false;
    if (list[strspn(list, " \t")] == '*')
        return true;
    while ((s = next_tag(&list, &size)))
        if (size == length && memcmp(s, tag, length) == 0)
            return true;
    return false;
}
