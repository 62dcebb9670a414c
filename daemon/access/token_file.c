// SPDX-License-Identifier: Apache-2.0
#include "daemon/access/token_file.h"

#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (64 * 1024)
#define BLANKS " \t\r"

static int refuse(struct failure *failure, const char *path, int line, const char *why) {
    return failure_set(failure, -EINVAL, "config_invalid",
                       "a line is NAME ROLE [OWNER] TOKEN, with a ROLE of read, submit or admin",
                       "cannot use token file '%s': line %d: %s", path, line, why);
}

static int check_mode(const char *path, struct failure *failure) {
    struct stat st;

    if (stat(path, &st))
        return failure_errno(failure, -errno, "cannot read the token file", path);
    if (!S_ISREG(st.st_mode))
        return failure_set(failure, -EINVAL, "config_invalid", NULL,
                           "cannot use token file '%s': it is no regular file", path);
    if (st.st_mode & S_IRWXO)
        return failure_set(failure, -EINVAL, "config_invalid", "chmod o= the file",
                           "cannot use token file '%s': other users may read or write it", path);
    return 0;
}

static bool is_token(const char *text) {
    size_t n = strlen(text);

    return n >= TOKEN_FIXED_MIN && n < TOKEN_TEXT_MAX && strspn(text, TOKEN_CHARACTERS) == n;
}

/* An id that another token does not get, from its hash: 60 bits, and negative. */
static int64_t id_of(const char *sha256) {
    char digits[16];

    snprintf(digits, sizeof(digits), "%.15s", sha256);
    return -1 - (int64_t)strtoull(digits, NULL, 16);
}

/* The words of one line as a row; 1: it has none. */
static int read_line(char *line, struct token_row *row, struct failure *why) {
    char *words[5] = {}, *rest = NULL, *text;
    int n = 0;

    line[strcspn(line, "#")] = '\0';
    for (char *word = strtok_r(line, BLANKS, &rest); word && n < 5;
         word = strtok_r(NULL, BLANKS, &rest))
        words[n++] = word;
    if (n == 0)
        return 1;
    if (n != 3 && n != 4)
        return failure_set(why, -EINVAL, "", NULL, "it has %d words, not 3 or 4", n);
    text = words[n - 1];
    if (token_check(words[0], n == 4 ? words[2] : words[0], words[1], why))
        return -EINVAL;
    if (!is_token(text))
        return failure_set(why, -EINVAL, "", NULL,
                           "a token has %d to %d letters, digits and '-._~+/='", TOKEN_FIXED_MIN,
                           TOKEN_TEXT_MAX - 1);
    snprintf(row->name, sizeof(row->name), "%s", words[0]);
    snprintf(row->role, sizeof(row->role), "%s", words[1]);
    snprintf(row->owner, sizeof(row->owner), "%s", n == 4 ? words[2] : words[0]);
    if (sha256_of(text, strlen(text), row->sha256))
        return failure_oom(why);
    row->id = id_of(row->sha256);
    return 0;
}

static bool is_new(const struct token_row *rows, int n, const struct token_row *row) {
    for (int i = 0; i < n; i++)
        if (str_equal(rows[i].name, row->name) || str_equal(rows[i].sha256, row->sha256))
            return false;
    return true;
}

static int read_lines(const char *path, char *text, struct token_row *rows, int *ret_n,
                      struct failure *failure) {
    int n = 0, number = 0;

    for (char *line = text, *next; line; line = next) {
        struct token_row row = {};
        struct failure why = {};
        int r;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        number++;
        r = read_line(line, &row, &why);
        if (r == 1)
            continue;
        if (r)
            return refuse(failure, path, number, why.detail);
        if (!is_new(rows, n, &row))
            return refuse(failure, path, number, "its name or its token is in an earlier line");
        if (n == TOKENS_FILE_MAX)
            return refuse(failure, path, number, "there are too many tokens");
        rows[n++] = row;
    }
    *ret_n = n;
    return 0;
}

int token_file_read(const char *path, struct token_row **ret_rows, int *ret_n,
                    struct failure *failure) {
    cleanup(freep) struct token_row *rows = calloc(TOKENS_FILE_MAX, sizeof(*rows));
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    if (!rows)
        return failure_oom(failure);
    r = check_mode(path, failure);
    if (r)
        return r;
    r = file_read(path, FILE_MAX, &text, &size);
    if (r)
        return failure_errno(failure, r, "cannot read the token file", path);
    if (strlen(text) != size)
        r = refuse(failure, path, 1, "the file has a NUL in it");
    else
        r = read_lines(path, text, rows, ret_n, failure);
    explicit_bzero(text, size);
    if (r == 0)
        *ret_rows = steal_ptr(rows);
    return r;
}

bool token_rows_equal(const struct token_row *a, int n_a, const struct token_row *b, int n_b) {
    bool same = n_a == n_b;

    for (int i = 0; i < n_a && same; i++)
        same = a[i].id == b[i].id && str_equal(a[i].name, b[i].name) &&
               str_equal(a[i].owner, b[i].owner) && str_equal(a[i].role, b[i].role);
    return same;
}
