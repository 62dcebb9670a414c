// SPDX-License-Identifier: Apache-2.0
#include "client/screen/label.h"

#include "base/cleanup.h"
#include "client/screen/text.h"

#include <stdarg.h>

#define LABEL_WIDTH 9

void label_print(const struct terminal *terminal, const char *label, const char *format, ...) {
    cleanup(freep) char *text = NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        text = NULL;
    if (n <= 0)
        return;
    text_clean(text);
    fprintf(terminal->file, "%s%-*s%s ", terminal_style(terminal, STYLE_DIM), LABEL_WIDTH, label,
            terminal_style(terminal, STYLE_PLAIN));
    terminal_wrap(terminal, LABEL_WIDTH + 1, text);
}
