// SPDX-License-Identifier: Apache-2.0
/* "label     text", one below the other. One thread. */
#pragma once

#include "base/macros.h"
#include "client/screen/terminal.h"

/*
 * label_print() - a line with @label, of at most nine characters, and what follows, cleaned and in
 * as many lines as it takes; nothing for an empty text.
 */
void label_print(const struct terminal *terminal, const char *label, const char *format, ...)
    printf_format(3, 4);
