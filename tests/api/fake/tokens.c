// SPDX-License-Identifier: Apache-2.0
#include "tests/api/fake/fake.h"

#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool has_tokens(void *ctx) {
    struct fake *fake = ctx;
    bool found = false;

    pthread_mutex_lock(&fake->mutex);
    for (int i = 0; i < FAKE_TOKENS; i++)
        found |= fake->tokens[i].name[0] != '\0';
    pthread_mutex_unlock(&fake->mutex);
    return found;
}

static int find_token(void *ctx, const char *text, struct caller *ret_caller) {
    struct fake *fake = ctx;
    int r = -ENOENT;

    pthread_mutex_lock(&fake->mutex);
    for (int i = 0; i < FAKE_TOKENS; i++) {
        if (fake->tokens[i].name[0] && str_equal(fake->tokens[i].text, text)) {
            *ret_caller = fake->tokens[i].caller;
            r = 0;
        }
    }
    pthread_mutex_unlock(&fake->mutex);
    return r;
}

static bool is_current(void *ctx, const struct caller *caller) {
    struct fake *fake = ctx;
    bool current = caller->auth == AUTH_PEER;

    if (caller->auth == AUTH_NONE)
        return !has_tokens(ctx);
    pthread_mutex_lock(&fake->mutex);
    for (int i = 0; i < FAKE_TOKENS; i++)
        current |= fake->tokens[i].name[0] && fake->tokens[i].caller.token == caller->token;
    pthread_mutex_unlock(&fake->mutex);
    return current;
}

static int tokens(void *ctx, json_t **ret_list, struct failure *failure) {
    (void)ctx;
    (void)failure;
    *ret_list = json_pack("{s:s, s:[{s:s, s:s, s:s, s:s, s:n, s:n, s:b}], s:b}", "object", "list",
                          "data", "object", "token", "name", "ci", "owner", "ci", "role", "read",
                          "created_at", "last_used_at", "fixed", 1, "has_more", 0);
    return 0;
}

/* The name decides how it ends; the token is not one that works. */
static int create_token(void *ctx, const struct caller *caller, const json_t *request,
                        json_t **ret_token, struct failure *failure) {
    const char *name = json_string_value(json_object_get(request, "name"));

    (void)ctx;
    (void)caller;
    if (!name)
        return failure_field(failure, "name", NULL, "must be a string");
    if (str_equal(name, "taken"))
        return failure_set(failure, -EEXIST, "token_exists", "a hint", "there is one");
    *ret_token = json_pack("{s:s, s:s, s:s, s:s, s:n, s:n, s:b, s:s}", "object", "token", "name",
                           name, "owner", name, "role", "submit", "created_at", "last_used_at",
                           "fixed", 0, "token", "qd_1_secret");
    return 0;
}

static int revoke_token(void *ctx, const struct caller *caller, const char *name,
                        struct failure *failure) {
    (void)ctx;
    (void)caller;
    if (str_equal(name, "fixed"))
        return failure_set(failure, -EBUSY, "token_fixed", "a hint", "it is of the file");
    if (str_equal(name, "missing"))
        return failure_set(failure, -ENOENT, "token_not_found", "a hint", "no token '%s'", name);
    return 0;
}

void fake_tokens_init(struct service *service) {
    service->has_tokens = has_tokens;
    service->find_token = find_token;
    service->is_current = is_current;
    service->tokens = tokens;
    service->create_token = create_token;
    service->revoke_token = revoke_token;
}

void fake_token(struct fake *fake, const char *name, const char *owner, enum role role) {
    int i = 0;

    pthread_mutex_lock(&fake->mutex);
    while (fake->tokens[i].name[0])
        if (++i == FAKE_TOKENS)
            abort();
    snprintf(fake->tokens[i].name, sizeof(fake->tokens[i].name), "%s", name);
    snprintf(fake->tokens[i].text, sizeof(fake->tokens[i].text), "%s-token", name);
    fake->tokens[i].caller = (struct caller){.role = role, .auth = AUTH_TOKEN, .token = i + 1};
    snprintf(fake->tokens[i].caller.owner, OWNER_SIZE, "%s", owner);
    pthread_mutex_unlock(&fake->mutex);
}

void fake_revoke(struct fake *fake, const char *name) {
    pthread_mutex_lock(&fake->mutex);
    for (int i = 0; i < FAKE_TOKENS; i++)
        if (str_equal(fake->tokens[i].name, name))
            fake->tokens[i].name[0] = '\0';
    pthread_mutex_unlock(&fake->mutex);
}
