// SPDX-License-Identifier: Apache-2.0
/* Lines of the form "label     text". One thread. */
#pragma once

#include "base/macros.h"
#include "client/screen/terminal.h"

/*
 * label_print() - print @label, of at most nine characters, and the text, cleaned and wrapped;
 * nothing for an empty text.
 */
void label_print(const struct terminal *terminal, const char *label, const char *format, ...)
    printf_format(3, 4);
