// SPDX-License-Identifier: Apache-2.0
/* Bearer tokens on a real store, and the token file. */
#include "daemon/access/token_file.h"
#include "daemon/access/tokens.h"

#include "daemon_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

struct town {
    struct fixture *f;
    struct tokens *tokens;
    struct failure failure;
};

static void open_tokens(struct town *town, const struct token_row *fixed, int n_fixed) {
    if (tokens_open(town->f->store, fixed, n_fixed, &town->tokens, &town->failure))
        fail_msg("%s", town->failure.detail);
}

static int setup(void **state) {
    struct town *town = calloc(1, sizeof(*town));

    fixture_setup((void **)&town->f);
    open_tokens(town, NULL, 0);
    *state = town;
    return 0;
}

static int teardown(void **state) {
    struct town *town = *state;

    tokens_free(town->tokens);
    fixture_teardown((void **)&town->f);
    free(town);
    return 0;
}

/* As after kill -9. */
static void restart(struct town *town) {
    tokens_free(town->tokens);
    store_close(town->f->store);
    fixture_open(town->f);
    open_tokens(town, NULL, 0);
}

static int create(struct town *town, const char *request, char ret_text[TOKEN_TEXT_MAX]) {
    cleanup(json_decrefp) json_t *body = json_loads(request, JSON_DECODE_ANY, NULL), *token = NULL;
    int r = tokens_create(town->tokens, &caller_daemon, body, &token, &town->failure);

    if (r == 0 && ret_text)
        snprintf(ret_text, TOKEN_TEXT_MAX, "%s",
                 json_string_value(json_object_get(token, "token")));
    return r;
}

static void expect_caller(struct town *town, const char *text, const char *owner, enum role role) {
    struct caller caller = {};

    assert_int_equal(tokens_find(town->tokens, text, &caller), 0);
    assert_string_equal(caller.owner, owner);
    assert_int_equal(caller.role, role);
    assert_int_equal(caller.auth, AUTH_TOKEN);
    assert_true(tokens_hold(town->tokens, caller.token));
}

static void expect_unknown(struct town *town, const char *text) {
    struct caller caller;

    assert_int_equal(tokens_find(town->tokens, text, &caller), -ENOENT);
}

static void test_create_and_find(void **state) {
    struct town *town = *state;
    char user[TOKEN_TEXT_MAX], ci[TOKEN_TEXT_MAX], damaged[TOKEN_TEXT_MAX + 1];

    assert_false(tokens_exist(town->tokens));
    assert_int_equal(create(town, "{\"name\": \"user\"}", user), 0);
    assert_int_equal(
        create(town, "{\"name\": \"ci.1\", \"owner\": \"DOM\\\\user@x\", \"role\": \"admin\"}", ci),
        0);
    assert_true(tokens_exist(town->tokens));
    assert_true(str_has_prefix(user, "qd_1_") && strlen(user) == 5 + 2 * TOKEN_SECRET_SIZE);
    assert_true(str_has_prefix(ci, "qd_2_"));
    assert_string_not_equal(user + 5, ci + 5);
    for (int i = 0; i < 2; i++) {
        expect_caller(town, user, "user", ROLE_SUBMIT);
        expect_caller(town, ci, "DOM\\user@x", ROLE_ADMIN);
        restart(town);
    }
    /* Any character less, more or different. */
    for (size_t i = 0; i < strlen(user); i++) {
        snprintf(damaged, sizeof(damaged), "%s", user);
        damaged[i] ^= 1;
        expect_unknown(town, damaged);
        damaged[i] = '\0';
        expect_unknown(town, damaged);
    }
    snprintf(damaged, sizeof(damaged), "%s0", user);
    expect_unknown(town, damaged);
    expect_unknown(town, "");
}

static void test_revoke(void **state) {
    struct town *town = *state;
    char text[TOKEN_TEXT_MAX], again[TOKEN_TEXT_MAX];
    struct caller caller;

    assert_int_equal(create(town, "{\"name\": \"a\"}", text), 0);
    assert_int_equal(create(town, "{\"name\": \"a\"}", NULL), -EEXIST);
    assert_int_equal(tokens_find(town->tokens, text, &caller), 0);
    assert_int_equal(tokens_revoke(town->tokens, &caller_daemon, "b", &town->failure), -ENOENT);
    assert_int_equal(tokens_revoke(town->tokens, &caller_daemon, "a", &town->failure), 0);
    assert_false(tokens_hold(town->tokens, caller.token));
    assert_false(tokens_exist(town->tokens));
    expect_unknown(town, text);
    /* Its id is not given again, and the name is free. */
    restart(town);
    expect_unknown(town, text);
    assert_int_equal(create(town, "{\"name\": \"a\"}", again), 0);
    assert_true(str_has_prefix(again, "qd_2_"));
    expect_unknown(town, text);
}

static void test_bad_requests(void **state) {
    static const struct {
        const char *text, *field;
    } cases[] = {
        {"[]", ""},
        {"7", ""},
        {"{}", "name"},
        {"{\"name\": 5}", "name"},
        {"{\"name\": \"\"}", "name"},
        {"{\"name\": \"a b\"}", "name"},
        {"{\"name\": \"../a\"}", "name"},
        {"{\"name\": \"a\\u0000b\"}", ""}, /* the parser of the request refuses it */
        {"{\"name\": \"12345678901234567890123456789012345678901234567890123456789012345\"}",
         "name"},
        {"{\"name\": \"a\", \"owner\": \"\"}", "owner"},
        {"{\"name\": null}", "name"},
        {"{\"name\": \"a\", \"owner\": \"a b\"}", "owner"},
        {"{\"name\": \"a\", \"owner\": \"a'b\"}", "owner"},
        {"{\"name\": \"a\", \"owner\": \"a\\nb\"}", "owner"},
        {"{\"name\": \"a\", \"owner\": \"\\u00e4\"}", "owner"},
        {"{\"name\": \"a\", \"role\": \"root\"}", "role"},
        {"{\"name\": \"a\", \"role\": 2}", "role"},
        {"{\"name\": \"a\", \"token\": \"x\"}", "token"},
    };
    struct town *town = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(create(town, cases[i].text, NULL), -EINVAL);
        if (cases[i].field[0])
            assert_string_equal(town->failure.field, cases[i].field);
    }
    assert_false(tokens_exist(town->tokens));
}

/* The list shows neither tokens nor their hashes; the database has the hashes only. */
static void test_secrets_stay(void **state) {
    struct town *town = *state;
    cleanup(json_decrefp) json_t *list = NULL;
    cleanup(freep) char *shown = NULL, *path = NULL, *file = NULL;
    char text[TOKEN_TEXT_MAX], sha256[SHA256_TEXT_SIZE];
    static const char *const files[] = {"quantd.db", "quantd.db-wal"};
    bool hash_found = false;

    assert_int_equal(create(town, "{\"name\": \"user\"}", text), 0);
    assert_int_equal(sha256_of(text, strlen(text), sha256), 0);
    assert_int_equal(tokens_list(town->tokens, &list, &town->failure), 0);
    shown = json_dumps(list, 0);
    assert_non_null(strstr(shown, "\"user\""));
    assert_null(strstr(shown, text + 5));
    assert_null(strstr(shown, sha256));
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        size_t size = 0;

        free(steal_ptr(path));
        free(steal_ptr(file));
        path = str_format("%s/%s", town->f->dir, files[i]);
        assert_int_equal(file_read(path, 1 << 24, &file, &size), 0);
        assert_null(memmem(file, size, text + 5, strlen(text + 5)));
        hash_found |= memmem(file, size, sha256, strlen(sha256)) != NULL;
    }
    assert_true(hash_found);
}

static void test_too_many(void **state) {
    struct town *town = *state;
    char request[64];
    int n = 0;

    while (n <= TOKENS_MAX) {
        snprintf(request, sizeof(request), "{\"name\": \"t%d\"}", n);
        if (create(town, request, NULL))
            break;
        n++;
    }
    assert_int_equal(n, TOKENS_MAX - TOKENS_FILE_MAX);
    assert_string_equal(town->failure.code, "too_many_tokens");
    restart(town);
    assert_int_equal(tokens_revoke(town->tokens, &caller_daemon, "t7", &town->failure), 0);
    assert_int_equal(create(town, "{\"name\": \"one-more\"}", NULL), 0);
}

static void test_last_use(void **state) {
    struct town *town = *state;
    char text[TOKEN_TEXT_MAX];
    struct caller caller;

    assert_int_equal(create(town, "{\"name\": \"a\"}", text), 0);
    for (int i = 0; i < 3; i++) {
        cleanup(json_decrefp) json_t *list = NULL;
        json_t *token;

        assert_int_equal(tokens_list(town->tokens, &list, &town->failure), 0);
        token = json_array_get(json_object_get(list, "data"), 0);
        assert_int_equal(json_is_string(json_object_get(token, "last_used_at")), i > 0);
        assert_int_equal(tokens_find(town->tokens, text, &caller), 0);
        if (i == 1)
            restart(town);
    }
}

/* -------- the token file -------- */

static int read_text(struct town *town, const char *text, mode_t mode, struct token_row **ret_rows,
                     int *ret_n) {
    cleanup(freep) char *path = str_format("%s/tokens", town->f->dir);

    assert_int_equal(file_replace(path, text, strlen(text)), 0);
    assert_int_equal(chmod(path, mode), 0);
    return token_file_read(path, ret_rows, ret_n, &town->failure);
}

static void test_file(void **state) {
    static const char text[] = "# tokens\n\n"
                               "user submit user-0123456789-0123456789\n"
                               "  ci\tread  other   ci-0123456789-0123456789 # a comment\r\n"
                               "admin admin admin-0123456789-012345678";
    struct town *town = *state;
    cleanup(freep) struct token_row *rows = NULL, *fewer = NULL;
    struct caller caller;
    int n = 0, n_fewer = 0;

    assert_int_equal(read_text(town, text, 0640, &rows, &n), 0);
    assert_int_equal(n, 3);
    tokens_free(town->tokens);
    open_tokens(town, rows, n);
    expect_caller(town, "user-0123456789-0123456789", "user", ROLE_SUBMIT);
    expect_caller(town, "ci-0123456789-0123456789", "other", ROLE_READ);
    expect_caller(town, "admin-0123456789-012345678", "admin", ROLE_ADMIN);
    assert_int_equal(tokens_revoke(town->tokens, &caller_daemon, "ci", &town->failure), -EBUSY);
    assert_string_equal(town->failure.code, "token_fixed");
    assert_int_equal(create(town, "{\"name\": \"ci\"}", NULL), -EEXIST);
    assert_int_equal(create(town, "{\"name\": \"mine\"}", NULL), 0);

    /* Another file: a token in both stays the same one. */
    assert_int_equal(tokens_find(town->tokens, "admin-0123456789-012345678", &caller), 0);
    assert_int_equal(
        read_text(town, "admin admin admin-0123456789-012345678\n", 0600, &fewer, &n_fewer), 0);
    tokens_set_fixed(town->tokens, fewer, n_fewer);
    assert_true(tokens_hold(town->tokens, caller.token));
    expect_caller(town, "admin-0123456789-012345678", "admin", ROLE_ADMIN);
    expect_unknown(town, "user-0123456789-0123456789");
    assert_int_equal(tokens_revoke(town->tokens, &caller_daemon, "mine", &town->failure), 0);
    tokens_set_fixed(town->tokens, NULL, 0);
    assert_false(tokens_exist(town->tokens));
}

static void test_bad_files(void **state) {
#define T "0123456789-0123456789"
    static const struct {
        const char *text;
        mode_t mode;
        const char *why;
    } cases[] = {
        {"a submit " T "\n", 0644, "other users"},
        {"a submit " T "\n", 0602, "other users"},
        {"a\n", 0600, "line 1: it has 1 words"},
        {"\na submit x " T " more\n", 0600, "line 2: it has 5 words"},
        {"a root " T "\n", 0600, "role"},
        {"a/b read " T "\n", 0600, "name"},
        {"a read o'b " T "\n", 0600, "owner"},
        {"a read short\n", 0600, "a token has 20 to 255"},
        {"a read 0123456789\xff" T "\n", 0600, "a token has"},
        {"a read " T "\na read 1" T "\n", 0600, "line 2: its name or its token"},
        {"a read " T "\nb read " T "\n", 0600, "line 2: its name or its token"},
    };
    struct town *town = *state;
    cleanup(freep) struct token_row *rows = NULL;
    int n;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(read_text(town, cases[i].text, cases[i].mode, &rows, &n), -EINVAL);
        if (!strstr(town->failure.detail, cases[i].why))
            fail_msg("'%s', not '%s'", town->failure.detail, cases[i].why);
        /* The message does not hold the token. */
        assert_null(strstr(town->failure.detail, "0123456789"));
    }
    assert_int_equal(token_file_read("/nowhere/tokens", &rows, &n, &town->failure), -ENOENT);
    assert_int_equal(token_file_read(town->f->dir, &rows, &n, &town->failure), -EINVAL);
    assert_null(rows);
}

static void test_long_files(void **state) {
    struct town *town = *state;
    cleanup(freep) struct token_row *rows = NULL;
    struct strbuf text = {};
    int n = 0;

    for (int i = 0; i < TOKENS_FILE_MAX; i++)
        strbuf_printf(&text, "t%d read token-of-%d-0123456789\n", i, i);
    assert_int_equal(read_text(town, text.data, 0600, &rows, &n), 0);
    assert_int_equal(n, TOKENS_FILE_MAX);
    strbuf_puts(&text, "one read more-0123456789-0123456789\n");
    free(steal_ptr(rows));
    assert_int_equal(read_text(town, text.data, 0600, &rows, &n), -EINVAL);
    assert_non_null(strstr(town->failure.detail, "too many"));
    while (text.length <= 64 * 1024)
        strbuf_puts(&text, "# and so on\n");
    assert_int_equal(read_text(town, text.data, 0600, &rows, &n), -EFBIG);
    strbuf_done(&text);
}

/* -------- threads -------- */

struct asker {
    struct town *town;
    const char *text;
    int n_found;
};

static void *ask_often(void *arg) {
    struct asker *asker = arg;
    struct caller caller;

    for (int i = 0; i < 2000; i++) {
        int r = tokens_find(asker->town->tokens, asker->text, &caller);

        if (r == 0 && tokens_hold(asker->town->tokens, caller.token))
            asker->n_found++;
        else if (r && r != -ENOENT)
            return asker;
    }
    return NULL;
}

/* Tokens come and go while others ask: a token that stays is always known. */
static void test_threads(void **state) {
    struct town *town = *state;
    char text[TOKEN_TEXT_MAX];
    struct asker askers[2] = {{town, text}, {town, "qd_9_nobody"}};
    pthread_t threads[2];
    void *failed;

    assert_int_equal(create(town, "{\"name\": \"first\"}", NULL), 0);
    assert_int_equal(create(town, "{\"name\": \"kept\"}", text), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(
            tokens_revoke(town->tokens, &caller_daemon, i ? "other" : "first", &town->failure), 0);
        assert_int_equal(create(town, "{\"name\": \"other\"}", NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(askers[0].n_found, 2000);
    assert_int_equal(askers[1].n_found, 0);
}

static void test_digests_compare(void **state) {
    char a[SHA256_TEXT_SIZE], b[SHA256_TEXT_SIZE];

    (void)state;
    assert_int_equal(sha256_of("a", 1, a), 0);
    memcpy(b, a, sizeof(b));
    assert_true(sha256_equal(a, b));
    for (int i = 0; i < SHA256_TEXT_SIZE - 1; i++) {
        b[i] ^= 1;
        assert_false(sha256_equal(a, b));
        b[i] = a[i];
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_create_and_find),
        TEST(test_revoke),
        TEST(test_bad_requests),
        TEST(test_secrets_stay),
        TEST(test_too_many),
        TEST(test_last_use),
        TEST(test_file),
        TEST(test_bad_files),
        TEST(test_long_files),
        TEST(test_threads),
        cmocka_unit_test(test_digests_compare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
