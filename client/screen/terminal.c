// SPDX-License-Identifier: Apache-2.0
#include "client/screen/terminal.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/screen/text.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_LEAST 8
#define WIDTH_MOST 1000
#define WIDTH_UNKNOWN 80 /* of a terminal; a file or pipe takes what comes */
#define HEIGHT_LEAST 3
#define HEIGHT_UNKNOWN 24

void terminal_measure(struct terminal *terminal) {
    const char *columns = getenv("COLUMNS");
    struct winsize size = {};
    uint64_t width = 0;

    if (ioctl(fileno(terminal->file), TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    terminal->height = size.ws_row ? MAX(size.ws_row, HEIGHT_LEAST) : HEIGHT_UNKNOWN;
    if (!width && (!columns || str_parse_u64(columns, WIDTH_MOST, &width)))
        width = isatty(fileno(terminal->file)) ? WIDTH_UNKNOWN : WIDTH_MOST;
    terminal->width = (int)MIN(MAX(width, WIDTH_LEAST), WIDTH_MOST);
}

void terminal_init(struct terminal *terminal, FILE *file) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

    *terminal = (struct terminal){.file = file};
    terminal->redraw = isatty(fileno(file)) && term && term[0] && !str_equal(term, "dumb");
    terminal->color = terminal->redraw && !(no_color && no_color[0]);
    terminal->utf8 = str_equal(nl_langinfo(CODESET), "UTF-8");
    terminal_measure(terminal);
}

void terminal_wrap(const struct terminal *terminal, int indent, const char *text) {
    int room = MAX(terminal->width - 1 - indent, 1), used = 0;

    while (*text && text_width(text) > room - used - (used > 0)) {
        size_t n = strcspn(text, " ");
        cleanup(freep) char *word = strndup(text, n);
        int width = word ? text_width(word) : 0;

        if (used && used + 1 + width > room) {
            fprintf(terminal->file, "\n%*s", indent, "");
            used = 0;
            continue; /* the rest may fit here */
        }
        fprintf(terminal->file, "%s%s", used ? " " : "", word ? word : "");
        used += width + (used > 0);
        text += n + strspn(text + n, " ");
    }
    fprintf(terminal->file, "%s%s\n", used && *text ? " " : "", text);
}

const char *terminal_style(const struct terminal *terminal, enum style style) {
    static const char *const codes[] = {
        [STYLE_PLAIN] = "\033[0m",  [STYLE_BOLD] = "\033[1m",    [STYLE_DIM] = "\033[2m",
        [STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m", [STYLE_RED] = "\033[31m",
        [STYLE_CYAN] = "\033[36m",
    };

    return terminal->color ? codes[style] : "";
}
