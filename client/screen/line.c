// SPDX-License-Identifier: Apache-2.0
#include "client/screen/line.h"

#include "base/cleanup.h"
#include "client/screen/text.h"

#include <stdarg.h>

void line_done(struct line *line) {
    strbuf_done(&line->text);
    *line = (struct line){};
}

static void end_piece(struct line *line, enum style style) {
    line->pieces[line->n_pieces].style = style;
    line->pieces[line->n_pieces++].end = line->text.length;
}

void line_put(struct line *line, enum style style, const char *format, ...) {
    cleanup(freep) char *text = NULL;
    va_list args;
    int n;

    if (line->n_pieces == LINE_PIECES_MAX)
        return;
    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        text = NULL;
        line->text.failed = true;
        return;
    }
    text_clean(text);
    strbuf_puts(&line->text, text);
    end_piece(line, style);
}

void line_repeat(struct line *line, enum style style, const char *s, int n) {
    if (line->n_pieces == LINE_PIECES_MAX)
        return;
    for (int i = 0; i < n; i++)
        strbuf_puts(&line->text, s);
    end_piece(line, style);
}

int line_width(const struct line *line) {
    return line->text.data ? text_width(line->text.data) : 0;
}

void line_pad(struct line *line, int column) {
    line_repeat(line, STYLE_PLAIN, " ", column - line_width(line));
}

void line_render(const struct line *line, const struct terminal *terminal, int width,
                 struct strbuf *out) {
    bool cut = line_width(line) > width;
    size_t fits, at = 0;

    if (line->text.failed || !line->text.data || width < 1)
        return;
    fits = cut ? text_fit(line->text.data, width - 1) : line->text.length;
    for (int i = 0; i < line->n_pieces && at < fits; i++) {
        enum style style = line->pieces[i].style;
        size_t end = MIN(line->pieces[i].end, fits);

        if (end <= at)
            continue;
        strbuf_puts(out, style ? terminal_style(terminal, style) : "");
        strbuf_append(out, line->text.data + at, end - at);
        strbuf_puts(out, style ? terminal_style(terminal, STYLE_PLAIN) : "");
        at = end;
    }
    if (cut)
        strbuf_puts(out, terminal->utf8 ? "…" : "~");
}
