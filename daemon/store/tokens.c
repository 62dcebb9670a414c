// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "daemon/store/sql.h"
#include "daemon/store/store.h"

#include <errno.h>
#include <stdio.h>

static int read_token(struct store *store, sqlite3_stmt *statement, struct token_row *row) {
    struct {
        char *at;
        size_t size;
    } texts[] = {{row->name, sizeof(row->name)},
                 {row->owner, sizeof(row->owner)},
                 {row->role, sizeof(row->role)},
                 {row->sha256, sizeof(row->sha256)}};

    row->id = sqlite3_column_int64(statement, 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cleanup(freep) char *text = NULL;
        int r = store_column_text(store, statement, (int)i + 1, &text);

        if (r)
            return r;
        snprintf(texts[i].at, texts[i].size, "%s", text ? text : "");
    }
    row->created_at = sqlite3_column_int64(statement, 5);
    row->last_used_at = sqlite3_column_int64(statement, 6);
    return 0;
}

int store_list_tokens(struct store *store, int (*each)(void *ctx, const struct token_row *row),
                      void *ctx) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT id, name, owner, role, sha256, created_at, last_used_at "
                        "FROM tokens ORDER BY id",
                        "");

    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        struct token_row row = {};

        r = read_token(store, statement, &row);
        if (!r)
            r = each(ctx, &row);
        if (r)
            return r;
    }
    return r;
}

int store_next_token(struct store *store, int64_t *ret_id) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = store_query(store, &statement,
                        "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence "
                        "WHERE name = 'tokens'",
                        "");

    if (!r)
        r = store_step(store, statement);
    if (r <= 0)
        return r ? r : -EIO;
    *ret_id = sqlite3_column_int64(statement, 0);
    return 0;
}

int store_insert_token(struct store *store, const struct token_row *row) {
    int r = store_exec(store,
                       "INSERT INTO tokens (id, name, owner, role, sha256, created_at) "
                       "VALUES (?, ?, ?, ?, ?, ?)",
                       "issssi", row->id, row->name, row->owner, row->role, row->sha256,
                       row->created_at);

    return r < 0 ? r : 0;
}

int store_delete_token(struct store *store, int64_t id) {
    int r = store_exec(store, "DELETE FROM tokens WHERE id = ?", "i", id);

    if (r < 0)
        return r;
    return r == 1 ? 0 : -ENOENT;
}

int store_touch_token(struct store *store, int64_t id, int64_t at) {
    int r = store_exec(store, "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1", "ii", id, at);

    return r < 0 ? r : 0;
}
