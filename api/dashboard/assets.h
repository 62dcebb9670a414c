// SPDX-License-Identifier: Apache-2.0
/* The files of the dashboard, embedded by dashboard/embed.py; none when it is left out. */
#pragma once

#include <stddef.h>

struct asset {
    const char *name, *type; /* "lib/dom.js", its media type */
    const char *tag, *packed_tag;
    const char *data;
    size_t size;
    const char *packed; /* the same by gzip */
    size_t packed_size;
};

extern const struct asset assets[];
extern const size_t n_assets;
