// SPDX-License-Identifier: Apache-2.0
#include "daemon/access/tokens.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log/log.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define USED_EVERY_MS (3600 * 1000) /* how exact last_used_at is after a restart */

struct tokens {
    struct store *store;
    pthread_mutex_t mutex; /* guards all below */
    struct token_row at[TOKENS_MAX];
    int64_t stored_used_at[TOKENS_MAX]; /* the last_used_at that the store has */
    int n;
};

/* -------- the table; under the lock -------- */

static int find_name(const struct tokens *tokens, const char *name, bool fixed) {
    for (int i = 0; i < tokens->n; i++)
        if ((tokens->at[i].id < 0) == fixed && str_equal(tokens->at[i].name, name))
            return i;
    return -1;
}

static void add(struct tokens *tokens, const struct token_row *row) {
    tokens->stored_used_at[tokens->n] = row->last_used_at;
    tokens->at[tokens->n++] = *row;
}

static void drop(struct tokens *tokens, int i) {
    tokens->n--;
    memmove(&tokens->at[i], &tokens->at[i + 1], (size_t)(tokens->n - i) * sizeof(tokens->at[0]));
    memmove(&tokens->stored_used_at[i], &tokens->stored_used_at[i + 1],
            (size_t)(tokens->n - i) * sizeof(tokens->stored_used_at[0]));
}

static int add_stored(void *ctx, const struct token_row *row) {
    struct tokens *tokens = ctx;
    enum role role;

    if (tokens->n == TOKENS_MAX - TOKENS_FILE_MAX || role_from_name(row->role, &role))
        return -EBADMSG;
    add(tokens, row);
    return 0;
}

static void add_fixed(struct tokens *tokens, const struct token_row *fixed, int n_fixed) {
    for (int i = 0; i < MIN(n_fixed, TOKENS_FILE_MAX); i++)
        add(tokens, &fixed[i]);
}

/* -------- opening -------- */

int tokens_open(struct store *store, const struct token_row *fixed, int n_fixed,
                struct tokens **ret_tokens, struct failure *failure) {
    cleanup(tokens_freep) struct tokens *tokens = calloc(1, sizeof(*tokens));
    int r;

    if (!tokens)
        return failure_oom(failure);
    tokens->store = store;
    pthread_mutex_init(&tokens->mutex, NULL);
    r = store_begin(store, STORE_READ, failure);
    if (r)
        return r;
    r = store_list_tokens(store, add_stored, tokens);
    if (r == -EBADMSG)
        failure_set(failure, r, "store_corrupt", "restore quantd.db from a backup",
                    "cannot read the tokens of the database");
    r = store_end(store, r, failure);
    if (r)
        return r;
    add_fixed(tokens, fixed, n_fixed);
    *ret_tokens = steal_ptr(tokens);
    return 0;
}

void tokens_free(struct tokens *tokens) {
    if (!tokens)
        return;
    pthread_mutex_destroy(&tokens->mutex);
    free(tokens);
}

void tokens_set_fixed(struct tokens *tokens, const struct token_row *fixed, int n_fixed) {
    pthread_mutex_lock(&tokens->mutex);
    for (int i = tokens->n - 1; i >= 0; i--)
        if (tokens->at[i].id < 0)
            drop(tokens, i);
    add_fixed(tokens, fixed, n_fixed);
    pthread_mutex_unlock(&tokens->mutex);
}

/* -------- asking -------- */

bool tokens_exist(struct tokens *tokens) {
    bool exist;

    pthread_mutex_lock(&tokens->mutex);
    exist = tokens->n > 0;
    pthread_mutex_unlock(&tokens->mutex);
    return exist;
}

/* Notes a use in the store. That it fails is no reason to refuse the request. */
static void store_use(struct tokens *tokens, int64_t id, int64_t now) {
    int r = store_begin(tokens->store, STORE_WRITE, NULL);

    if (r)
        return;
    r = store_touch_token(tokens->store, id, now);
    store_end(tokens->store, r, NULL);
}

int tokens_find(struct tokens *tokens, const char *text, struct caller *ret_caller) {
    struct caller caller = {.auth = AUTH_TOKEN};
    int64_t now = clock_wall_ms();
    char sha256[SHA256_TEXT_SIZE];
    bool due = false;
    int found = -1;

    if (sha256_of(text, strlen(text), sha256))
        return -ENOMEM;
    pthread_mutex_lock(&tokens->mutex);
    /* All of them, whichever it is. */
    for (int i = 0; i < tokens->n; i++)
        if (sha256_equal(tokens->at[i].sha256, sha256))
            found = i;
    if (found >= 0) {
        struct token_row *row = &tokens->at[found];

        caller.token = row->id;
        snprintf(caller.owner, sizeof(caller.owner), "%s", row->owner);
        role_from_name(row->role, &caller.role);
        row->last_used_at = now;
        due = row->id > 0 && now - tokens->stored_used_at[found] >= USED_EVERY_MS;
        if (due)
            tokens->stored_used_at[found] = now;
    }
    pthread_mutex_unlock(&tokens->mutex);
    if (found < 0)
        return -ENOENT;
    if (due)
        store_use(tokens, caller.token, now);
    *ret_caller = caller;
    return 0;
}

bool tokens_hold(struct tokens *tokens, int64_t id) {
    bool held = false;

    pthread_mutex_lock(&tokens->mutex);
    for (int i = 0; i < tokens->n && !held; i++)
        held = tokens->at[i].id == id;
    pthread_mutex_unlock(&tokens->mutex);
    return held;
}

static json_t *token_json(const struct token_row *row) {
    return json_pack("{ss ss ss ss so so sb}", "object", "token", "name", row->name, "owner",
                     row->owner, "role", row->role, "created_at", json_time(row->created_at),
                     "last_used_at", json_time(row->last_used_at), "fixed", row->id < 0);
}

int tokens_list(struct tokens *tokens, json_t **ret_list, struct failure *failure) {
    json_t *data = json_array(), *list;
    int r = 0;

    pthread_mutex_lock(&tokens->mutex);
    for (int i = 0; i < tokens->n && !r; i++)
        r = json_array_append_new(data, token_json(&tokens->at[i]));
    pthread_mutex_unlock(&tokens->mutex);
    list = json_pack("{ss so sb}", "object", "list", "data", data, "has_more", 0);
    if (r || !list) {
        json_decref(list);
        return failure_oom(failure);
    }
    *ret_list = list;
    return 0;
}

/* -------- making and revoking -------- */

int owner_check(const char *owner, struct failure *failure) {
    if (!owner[0] || strlen(owner) >= OWNER_SIZE)
        return failure_field(failure, "owner", NULL, "must have 1 to %d characters",
                             OWNER_SIZE - 1);
    for (const char *s = owner; *s; s++)
        if (*s <= ' ' || *s > '~' || *s == '\'' || *s == '"')
            return failure_field(failure, "owner", NULL,
                                 "must be printable ASCII without blanks and quotes");
    return 0;
}

int token_check(const char *name, const char *owner, const char *role, struct failure *failure) {
    enum role known;
    int r;

    if (!str_is_safe_name(name) || strlen(name) >= sizeof(((struct token_row *)0)->name))
        return failure_field(failure, "name", NULL,
                             "must be 1 to 64 letters, digits, '.', '_' and '-', the first no '.'");
    r = owner_check(owner, failure);
    if (r)
        return r;
    if (role_from_name(role, &known))
        return failure_field(failure, "role", NULL, "must be read, submit or admin");
    return 0;
}

/* A text field of the request; *ret_text is @otherwise without it, or when it is null. */
static int read_text(const json_t *request, const char *field, const char *otherwise,
                     const char **ret_text, struct failure *failure) {
    const json_t *value = json_object_get(request, field);

    *ret_text = value && !json_is_null(value) ? json_string_value(value) : otherwise;
    if (!*ret_text)
        return failure_field(failure, field, NULL, "must be a string");
    return 0;
}

static int read_request(const json_t *request, struct token_row *row, struct failure *failure) {
    const char *name, *owner, *role, *key;
    json_t *value;
    int r;

    if (!json_is_object(request))
        return failure_set(failure, -EINVAL, "invalid_request",
                           "send {\"name\": ..., \"role\": \"submit\"}",
                           "cannot read the request: it is not a JSON object");
    json_object_foreach((json_t *)request, key, value) {
        if (!str_equal(key, "name") && !str_equal(key, "owner") && !str_equal(key, "role"))
            return failure_field(failure, key, "known are name, owner and role", "unknown field");
    }
    if ((r = read_text(request, "name", NULL, &name, failure)) ||
        (r = read_text(request, "owner", name, &owner, failure)) ||
        (r = read_text(request, "role", "submit", &role, failure)) ||
        (r = token_check(name, owner, role, failure)))
        return r;
    snprintf(row->name, sizeof(row->name), "%s", name);
    snprintf(row->owner, sizeof(row->owner), "%s", owner);
    snprintf(row->role, sizeof(row->role), "%s", role);
    return 0;
}

/* "qd_ID_SECRET" of a row whose id is known, and its hash. */
static int make_text(struct token_row *row, char ret_text[TOKEN_TEXT_MAX]) {
    unsigned char secret[TOKEN_SECRET_SIZE];
    size_t n;

    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        return -EIO;
    n = (size_t)snprintf(ret_text, TOKEN_TEXT_MAX, "qd_%" PRId64 "_", row->id);
    for (size_t i = 0; i < sizeof(secret); i++)
        n += (size_t)snprintf(ret_text + n, TOKEN_TEXT_MAX - n, "%02x", secret[i]);
    explicit_bzero(secret, sizeof(secret));
    return sha256_of(ret_text, n, row->sha256);
}

static int check_new(const struct tokens *tokens, const char *name, struct failure *failure) {
    int n_stored = 0;

    if (find_name(tokens, name, true) >= 0 || find_name(tokens, name, false) >= 0)
        return failure_set(failure, -EEXIST, "token_exists",
                           "choose another name, or revoke that one first", "there is a token '%s'",
                           name);
    for (int i = 0; i < tokens->n; i++)
        n_stored += tokens->at[i].id > 0;
    if (n_stored < TOKENS_MAX - TOKENS_FILE_MAX)
        return 0;
    return failure_set(failure, -EBUSY, "too_many_tokens", "revoke tokens that are not in use",
                       "there are %d tokens already", n_stored);
}

/* The row and its text; durable when it returns. */
static int locked_create(struct tokens *tokens, struct token_row *row,
                         char ret_text[TOKEN_TEXT_MAX], struct failure *failure) {
    int r = store_begin(tokens->store, STORE_WRITE, failure);

    if (r)
        return r;
    r = store_next_token(tokens->store, &row->id);
    if (!r)
        r = make_text(row, ret_text);
    if (r == -EIO)
        failure_errno(failure, r, "cannot read", "random numbers");
    if (!r)
        r = store_insert_token(tokens->store, row);
    r = store_end(tokens->store, r, failure);
    if (!r)
        add(tokens, row);
    return r;
}

int tokens_create(struct tokens *tokens, const struct caller *caller, const json_t *request,
                  json_t **ret_token, struct failure *failure) {
    struct token_row row = {.created_at = clock_wall_ms()};
    char text[TOKEN_TEXT_MAX] = "";
    json_t *token = NULL;
    int r = read_request(request, &row, failure);

    if (r)
        return r;
    pthread_mutex_lock(&tokens->mutex);
    r = check_new(tokens, row.name, failure);
    if (!r)
        r = locked_create(tokens, &row, text, failure);
    pthread_mutex_unlock(&tokens->mutex);
    if (!r) {
        log_notice("token '%s' of '%s' with the role '%s' created by '%s'", row.name, row.owner,
                   row.role, caller->owner);
        token = token_json(&row);
        if (!token || json_object_set_new(token, "token", json_string(text)))
            r = failure_oom(failure);
    }
    explicit_bzero(text, sizeof(text));
    if (r) {
        json_decref(token);
        return r;
    }
    *ret_token = token;
    return 0;
}

static int locked_revoke(struct tokens *tokens, const char *name, struct failure *failure) {
    int i = find_name(tokens, name, false), r;

    if (i < 0 && find_name(tokens, name, true) >= 0)
        return failure_set(failure, -EBUSY, "token_fixed",
                           "remove its line from the token file, then reload quantd",
                           "cannot revoke token '%s': it is one of the token file", name);
    if (i < 0)
        return failure_set(failure, -ENOENT, "token_not_found",
                           "list the tokens to see their names", "no token '%s'", name);
    r = store_begin(tokens->store, STORE_WRITE, failure);
    if (r)
        return r;
    r = store_delete_token(tokens->store, tokens->at[i].id);
    r = store_end(tokens->store, r == -ENOENT ? 0 : r, failure);
    if (!r)
        drop(tokens, i);
    return r;
}

int tokens_revoke(struct tokens *tokens, const struct caller *caller, const char *name,
                  struct failure *failure) {
    int r;

    pthread_mutex_lock(&tokens->mutex);
    r = locked_revoke(tokens, name, failure);
    pthread_mutex_unlock(&tokens->mutex);
    if (!r)
        log_notice("token '%s' revoked by '%s'", name, caller->owner);
    return r;
}
