// SPDX-License-Identifier: Apache-2.0
/* Following a group: its state is asked for again and again, for all its jobs change together. */
#include "client/job/group/group.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "client/http/answer.h"
#include "client/job/job.h"
#include "client/screen/block.h"
#include "client/screen/interrupt.h"
#include "client/screen/progress.h"
#include "client/screen/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#define ASK_SECONDS 1.0
#define GIVE_UP_SECONDS 600.0
#define BAR_WIDTH 40
#define SHOWN_MAX 500 /* members that an answer has at most */

struct follow {
    struct client *client;
    struct block block;
    double lost_at; /* clock_monotonic() when the connection broke; 0: connected */
};

/* ---- a line for each job ---- */

/* "succeeded in 7.3 s, 6.90 MB" */
static void put_end(struct line *line, const json_t *member) {
    static const struct {
        const char *status;
        enum style style;
    } styles[] = {{"succeeded", STYLE_GREEN}, {"failed", STYLE_RED}, {"cancelled", STYLE_YELLOW}};
    const char *status = answer_text(member, "status");
    double seconds = answer_number(member, "seconds"), size = answer_number(member, "size_bytes");
    enum style style = STYLE_DIM;
    char text[TEXT_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(styles); i++)
        if (str_equal(styles[i].status, status))
            style = styles[i].style;
    line_put(line, style, "%s", status);
    text_duration(seconds, text);
    if (isfinite(seconds))
        line_put(line, STYLE_PLAIN, " in %s", text);
    bytes_text(size, text);
    if (isfinite(size))
        line_put(line, STYLE_PLAIN, ", %s", text);
    if (json_is_object(json_object_get(member, "error")))
        line_put(line, STYLE_PLAIN, ": %s",
                 answer_text(json_object_get(member, "error"), "detail"));
}

static void put_member(struct line *line, const struct terminal *terminal, const json_t *member,
                       int column) {
    const json_t *progress = json_object_get(member, "progress");
    double fraction = answer_number(progress, "fraction");
    cleanup(freep) char *values = group_values(member);
    bool runs = !job_has_ended(member) && !str_equal(answer_text(member, "status"), "queued");

    line_put(line, STYLE_BOLD, "job %" PRId64, job_id(member));
    line_put(line, STYLE_PLAIN, "  %s", values ? values : "");
    line_pad(line, column);
    if (runs && isfinite(fraction)) {
        line_put(line, STYLE_CYAN, "%-9s ", answer_text(progress, "phase"));
        progress_bar(line, terminal, MIN(BAR_WIDTH, terminal->width - column - 12), fraction,
                     answer_number(progress, "eta_seconds"));
    } else {
        put_end(line, member);
    }
}

/* Where the second column begins. */
static int column_of(const json_t *group, int width) {
    json_t *member;
    int most = 0;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i, member) {
        cleanup(freep) char *values = group_values(member);
        char id[24];

        snprintf(id, sizeof(id), "job %" PRId64, job_id(member));
        most = MAX(most, text_width(id) + (values ? text_width(values) : 0));
    }
    return MIN(most + 4, width / 2);
}

/* What runs, and what there is room for besides: what comes next, then what has ended. */
static int choose(const json_t *group, int most, size_t chosen[BLOCK_LINES_MAX]) {
    static const char *const order[] = {"running", "cancelling", "queued",
                                        "failed",  "cancelled",  "succeeded"};
    const json_t *members = json_object_get(group, "members");
    bool shown[SHOWN_MAX] = {};
    size_t n_members = MIN(json_array_size(members), (size_t)SHOWN_MAX);
    int left = most, n = 0;

    for (size_t s = 0; s < ARRAY_SIZE(order); s++)
        for (size_t i = 0; i < n_members && left > 0; i++)
            if (str_equal(answer_text(json_array_get(members, i), "status"), order[s])) {
                shown[i] = true;
                left--;
            }
    for (size_t i = 0; i < n_members && n < most; i++)
        if (shown[i])
            chosen[n++] = i;
    return n;
}

static void put_head(struct line *line, const struct follow *follow, const json_t *group) {
    const json_t *counts = json_object_get(group, "counts");
    const char *name = answer_text(group, "name");

    line_put(line, STYLE_BOLD, "group %" PRId64 "%s%s", job_id(group), name[0] ? ": " : "", name);
    line_put(line, STYLE_DIM, "  %" PRId64 " of %zu jobs have ended",
             answer_int(counts, "succeeded", 0) + answer_int(counts, "failed", 0) +
                 answer_int(counts, "cancelled", 0),
             json_array_size(json_object_get(group, "members")));
    if (follow->lost_at)
        line_put(line, STYLE_YELLOW, "  connection lost; the jobs continue on quantd");
}

static void draw(struct follow *follow, const json_t *group) {
    struct terminal *terminal = follow->block.terminal;
    struct line lines[BLOCK_LINES_MAX] = {};
    size_t chosen[BLOCK_LINES_MAX];
    int n, column;

    if (!terminal->redraw)
        return;
    terminal_measure(terminal);
    column = column_of(group, terminal->width);
    put_head(&lines[0], follow, group);
    n = choose(group, MAX(MIN(BLOCK_LINES_MAX, terminal->height - 1) - 1, 0), chosen);
    for (int i = 0; i < n; i++)
        put_member(&lines[i + 1], terminal,
                   json_array_get(json_object_get(group, "members"), chosen[i]), column);
    block_draw(&follow->block, lines, n + 1);
    for (int i = 0; i <= n; i++)
        line_done(&lines[i]);
}

/* The member of @group with the number @id, or NULL. */
static const json_t *member_of(const json_t *group, int64_t id) {
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i, member) {
        if (job_id(member) == id)
            return member;
    }
    return NULL;
}

/* In a pipe or file: a line for each change of a status. */
static void say_changes(struct follow *follow, const json_t *before, const json_t *group) {
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(group, "members"), i, member) {
        const json_t *old = member_of(before, job_id(member)); /* others may have been deleted */
        cleanup(freep) char *values = group_values(member);
        struct strbuf out = {};
        struct line line = {};

        if (follow->block.terminal->redraw || str_equal(answer_text(member, "status"), "queued") ||
            str_equal(answer_text(old, "status"), answer_text(member, "status")))
            continue;
        line_put(&line, STYLE_PLAIN, "job %" PRId64 " (%s) ", job_id(member), values ? values : "");
        put_end(&line, member);
        line_render(&line, follow->block.terminal, 1000, &out);
        if (!out.failed && out.length)
            block_say(&follow->block, STYLE_PLAIN, "%s", out.data);
        strbuf_done(&out);
        line_done(&line);
    }
}

/* ---- until the end ---- */

/* Takes the newest state into *group; a connection that is lost is tried again for a while. */
static int ask(struct follow *follow, json_t **group, struct failure *failure) {
    json_t *newer = NULL;
    int r = group_get(follow->client, (uint64_t)job_id(*group), &newer, failure);

    if (r && http_is_transient(follow->client->http, r)) {
        if (!follow->lost_at)
            follow->lost_at = clock_monotonic();
        return clock_monotonic() - follow->lost_at > GIVE_UP_SECONDS ? r : 0;
    }
    if (r)
        return r;
    follow->lost_at = 0;
    say_changes(follow, *group, newer);
    json_decref(*group);
    *group = newer;
    return 0;
}

int group_follow(struct client *client, json_t **group, struct failure *failure) {
    struct follow follow = {.client = client};
    int r = 0;

    interrupt_catch();
    block_begin(&follow.block, &client->terminal);
    say_changes(&follow, NULL, *group);
    draw(&follow, *group);
    while (!r && !group_has_ended(*group)) {
        interrupt_sleep(ASK_SECONDS);
        r = interrupt_caught() ? failure_set(failure, -EINTR, "interrupted", NULL, "interrupted")
                               : ask(&follow, group, failure);
        draw(&follow, *group);
    }
    block_end(&follow.block);
    return r;
}

int group_follow_to_the_end(struct client *client, json_t **group, struct failure *failure) {
    int64_t id = job_id(*group);
    int r = group_follow(client, group, failure);

    if (r == -EINTR) {
        fprintf(client->terminal.file,
                "group %" PRId64 " continues\n"
                "  follow it: quantctl watch group:%" PRId64 "\n"
                "  stop it: quantctl cancel group:%" PRId64 "\n",
                id, id, id);
        return EXIT_DETACHED;
    }
    if (!r)
        r = group_table(client, *group, failure);
    return r ? r : job_exit_status(*group);
}
