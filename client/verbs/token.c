// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "client/client.h"
#include "client/http/answer.h"
#include "client/screen/table.h"
#include "client/screen/text.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define TOKENS_PATH "/v1/tokens"

/* Only the token goes to stdout, for a file or a variable; the explanation goes to stderr. */
static int print_created(const struct client *client, const json_t *token,
                         struct failure *failure) {
    cleanup(freep) char *text = text_cleaned(answer_text(token, "token"));
    cleanup(freep) char *name = text_cleaned(answer_text(token, "name"));
    cleanup(freep) char *owner = text_cleaned(answer_text(token, "owner"));
    cleanup(freep) char *role = text_cleaned(answer_text(token, "role"));

    if (!text || !name || !owner || !role)
        return failure_oom(failure);
    fprintf(client->terminal.file, "%s\n", text);
    fprintf(stderr,
            "token '%s' of '%s' with the role %s; it is not shown again. quantctl reads it from\n"
            "QUANTD_TOKEN. As long as a token exists, connections over TCP need one.\n",
            name, owner, role);
    return EXIT_OK;
}

static int create_token(struct client *client, const struct args *args, struct failure *failure) {
    const char *role = args_get(args, "role"), *owner = args_get(args, "owner");
    cleanup(json_decrefp) json_t *request =
        json_pack("{s:s, s:s*, s:s*}", "name", args->positional[1], "role", role, "owner", owner);
    cleanup(json_decrefp) json_t *token = NULL;
    int r;

    if (!request)
        return failure_set(failure, -EINVAL, "usage", NULL, "name, role and owner must be UTF-8");
    r = http_call(client->http, "POST", TOKENS_PATH, request, NULL, &token, failure);
    if (r)
        return r;
    return client->json ? client_print_json(token, failure) : print_created(client, token, failure);
}

static void add_age(struct table *table, double then) {
    char age[TEXT_SIZE];

    text_age(fmax((double)time(NULL) - then, 0), age);
    table_cell(table, "%s%s", isfinite(then) ? age : "", isfinite(then) ? " ago" : "");
}

static int print_tokens(const struct client *client, const json_t *tokens,
                        struct failure *failure) {
    struct table_column columns[] = {{"token", false, true},
                                     {"owner", false, true},
                                     {"role"},
                                     {"created"},
                                     {"last used"},
                                     {"from"}};
    struct table table;
    json_t *token;
    size_t i;
    int r;

    if (json_array_size(tokens) == 0) {
        fprintf(client->terminal.file, "no tokens\n");
        return EXIT_OK;
    }
    table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(tokens, i, token) {
        table_cell(&table, "%s", answer_text(token, "name"));
        table_cell(&table, "%s", answer_text(token, "owner"));
        table_cell(&table, "%s", answer_text(token, "role"));
        add_age(&table, answer_time(token, "created_at"));
        add_age(&table, answer_time(token, "last_used_at"));
        table_cell(&table, "%s", json_is_true(json_object_get(token, "fixed")) ? "file" : "");
    }
    r = table_print(&table, &client->terminal);
    table_done(&table);
    return r ? failure_oom(failure) : EXIT_OK;
}

static int list_tokens(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *tokens = NULL;
    int r = http_get(client->http, TOKENS_PATH, &tokens, failure);

    (void)args;
    if (r)
        return r;
    if (client->json)
        return client_print_json(tokens, failure);
    return print_tokens(client, json_object_get(tokens, "data"), failure);
}

static int revoke_token(struct client *client, const struct args *args, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL, *done = NULL;
    cleanup(freep) char *path = NULL;
    struct strbuf buf = {};
    int r;

    strbuf_puts(&buf, TOKENS_PATH "/");
    text_escape(&buf, args->positional[1]);
    path = strbuf_steal(&buf);
    if (!path)
        return failure_oom(failure);
    r = http_call(client->http, "DELETE", path, NULL, NULL, &answer, failure);
    if (r)
        return r;
    if (!client->json) {
        cleanup(freep) char *name = text_cleaned(args->positional[1]);

        fprintf(client->terminal.file, "revoked '%s'\n", name ? name : "");
        return EXIT_OK;
    }
    done = json_pack("{s:s, s:b}", "name", args->positional[1], "revoked", 1);
    return done ? client_print_json(done, failure) : failure_oom(failure);
}

static const struct {
    const char *word;
    int n_positional;
    int (*run)(struct client *client, const struct args *args, struct failure *failure);
} actions[] = {{"create", 2, create_token}, {"list", 1, list_tokens}, {"revoke", 2, revoke_token}};

static int run(struct client *client, const struct args *args, struct failure *failure) {
    const char *hint = "use token create NAME, token list or token revoke NAME";

    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (!str_equal(actions[i].word, args->positional[0]))
            continue;
        if (args->n_positional != actions[i].n_positional)
            return failure_set(failure, -EINVAL, "usage", hint, "token %s needs %s",
                               actions[i].word, actions[i].n_positional > 1 ? "a NAME" : "no NAME");
        return actions[i].run(client, args, failure);
    }
    return failure_set(failure, -EINVAL, "usage", hint, "unknown action of token: '%s'",
                       args->positional[0]);
}

static const struct arg_option options[] = {
    {"role", "ROLE", "read: see jobs; submit (the default): also submit jobs; admin: everything"},
    {"owner", "USER", "the user that the token stands for; NAME by default"},
};

const struct verb verb_token = {
    .name = "token",
    .usage = "ACTION [NAME]",
    .summary = "create, list and revoke tokens for access over TCP",
    .details = "ACTION is create NAME, list or revoke NAME. A new token is printed once, and\n"
               "cannot be shown again. Only admins of quantd may do this: root, and the users\n"
               "that its configuration names.\n",
    .table = {options, ARRAY_SIZE(options)},
    .least = 1,
    .most = 2,
    .run = run,
};
