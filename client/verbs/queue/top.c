// SPDX-License-Identifier: Apache-2.0
/* What ps shows, again and again in the same place. */
#include "base/cleanup.h"
#include "base/macros.h"
#include "client/screen/block.h"
#include "client/screen/interrupt.h"
#include "client/verbs/queue/now.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS 1.0

/* The text of @now for a terminal like @terminal; owned by the caller; NULL: out of memory. */
static char *text_of(const struct now *now, const struct terminal *terminal) {
    struct terminal plain = *terminal;
    char *text = NULL;
    size_t size = 0;
    int r;

    plain.file = open_memstream(&text, &size);
    plain.color = false;
    if (!plain.file)
        return NULL;
    r = now_print(now, &plain);
    if (fclose(plain.file) || r) {
        free(text);
        return NULL;
    }
    return text;
}

/* Draws the lines of @text that the screen has room for and, below them, @note. */
static void draw(struct block *block, const char *text, const char *note) {
    int room = MAX(MIN(BLOCK_LINES_MAX, block->terminal->height - 1) - 2, 1);
    struct line lines[BLOCK_LINES_MAX] = {};
    int n = 0, more = 0;

    while (*text) {
        size_t length = strcspn(text, "\n");

        if (n < room)
            line_put(&lines[n], n == 0 ? STYLE_DIM : STYLE_PLAIN, "%.*s", (int)length, text);
        n < room ? n++ : more++;
        text += length + (text[length] == '\n');
    }
    if (more > 0)
        line_put(&lines[++n], STYLE_DIM, "%d more line%s; quantctl ps shows all; %s", more,
                 more == 1 ? "" : "s", note);
    else
        line_put(&lines[++n], STYLE_DIM, "%s", note);
    block_draw(block, lines, n + 1);
    for (int i = 0; i <= n; i++)
        line_done(&lines[i]);
}

/* Asks and draws once; a quantd that does not answer is asked again. */
static int update(struct client *client, struct block *block, struct failure *failure) {
    cleanup(now_done) struct now now = {};
    cleanup(freep) char *text = NULL;
    int r = now_get(client, &now, failure);

    if (r && http_is_transient(client->http, r) && !interrupt_caught()) {
        draw(block, failure->detail, "trying again; q leaves");
        return 0;
    }
    if (r)
        return r;
    text = text_of(&now, &client->terminal);
    if (!text)
        return failure_oom(failure);
    draw(block, text, "q leaves");
    return 0;
}

static int run(struct client *client, const struct args *args, struct failure *failure) {
    struct block block;
    int r = 0, key = 0;

    (void)args;
    if (client->json || !client->terminal.redraw)
        return now_show(client, failure);
    interrupt_catch();
    block_begin(&block, &client->terminal);
    while (!r && key != 'q' && !interrupt_caught()) {
        if (interrupt_resized())
            terminal_measure(&client->terminal);
        r = update(client, &block, failure);
        if (!r)
            key = block_key(&block, SECONDS);
    }
    block_end(&block);
    return r && !interrupt_caught() ? r : EXIT_OK;
}

const struct verb verb_top = {
    .name = "top",
    .usage = "",
    .summary = "ps, kept up to date until q is pressed",
    .details = "In a pipe it prints once, as ps does.\n",
    .run = run,
};
