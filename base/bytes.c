// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include "base/macros.h"

#include <stdio.h>

void bytes_text(double bytes, char text[BYTES_TEXT_SIZE]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;

    while (bytes >= 999.5 && unit < ARRAY_SIZE(units) - 1) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, BYTES_TEXT_SIZE, unit && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes,
             units[unit]);
}
