// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/list.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "daemon/store/sql.h"

#include <errno.h>
#include <string.h>

/* The perplexity that lists show: that of wikitext2, else of the first set. */
#define PERPLEXITY                                                                                 \
    "(SELECT value FROM evals WHERE job_id = jobs.id "                                             \
    "ORDER BY evals.name <> 'wikitext2', evals.id LIMIT 1)"
/* Bits per weight: as stored, else as requested. */
#define BITS                                                                                       \
    "coalesce(result ->> '$.bits_per_weight', CASE kind WHEN 'eval' THEN 16 "                      \
    "ELSE params ->> '$.wbits' END)"

/* Rows of before the parameter method have nearest. */
#define METHOD                                                                                     \
    "coalesce(params ->> '$.method', CASE WHEN params ->> '$.nearest' THEN 'rtn' ELSE 'gptq' END)"

#define CHOSEN                                                                                     \
    "(?1 IS NULL OR instr(',' || ?1 || ',', ',' || status || ',')) "                               \
    "AND (?2 IS NULL OR owner = ?2) "                                                              \
    "AND (?5 IS NULL OR private = 0 OR owner = ?5) AND (?6 IS NULL OR kind = ?6) "                 \
    "AND (?7 IS NULL OR jobs.id = ?7 OR instr(lower(name), lower(?7)) "                            \
    "OR instr(lower(json_extract(params, '$.model')), lower(?7))) "                                \
    "AND (?8 IS NULL OR EXISTS (SELECT 1 FROM json_each(labels) AS label "                         \
    "WHERE label.key = ?8 OR label.key || '=' || label.value = ?8)) "                              \
    "AND (?9 IS NULL OR kind = 'quantize' AND params ->> '$.wbits' < 16 AND " METHOD " = ?9) "     \
    "AND (?10 = 0 OR params ->> '$.wbits' = ?10) "                                                 \
    "AND (?11 = 0 OR " PERPLEXITY " >= ?11) AND (?12 = 0 OR " PERPLEXITY " <= ?12) "               \
    "AND (?13 = 0 OR group_id = ?13) "

/*
 * The rows of @page, with their places in the queue: all that waits is put in order once, and only
 * when a row of the page waits.
 */
#define PLACED(page, order)                                                                        \
    "WITH page AS MATERIALIZED (" page " ORDER BY " order " LIMIT ?4), "                           \
    "place AS MATERIALIZED (SELECT id AS job, position FROM "                                      \
    "(SELECT 1 FROM page WHERE status = 'queued' LIMIT 1) CROSS JOIN queue "                       \
    "WHERE id IN (SELECT id FROM page)) "                                                          \
    "SELECT id, version, position FROM page LEFT JOIN place ON job = id ORDER BY " order

#define LIST(which)                                                                                \
    PLACED("SELECT id, version, status FROM jobs WHERE " which CHOSEN                              \
           "AND (?3 = 0 OR jobs.id < ?3)",                                                         \
           "id DESC")

/* The smallest first, jobs without a value last; among equals the newest first. */
#define SORTED(key)                                                                                \
    PLACED("SELECT * FROM (SELECT jobs.id AS id, version, status, "                                \
           "coalesce(" key ", 9e999) AS key FROM jobs WHERE " CHOSEN ") "                          \
           "WHERE ?3 = 0 OR (key, -id) > "                                                         \
           "(SELECT coalesce(" key ", 9e999), -?3 FROM jobs WHERE id = ?3)",                       \
           "key, id DESC")

/* Jobs that have not ended have an index, which a long history does not slow down. */
static bool only_active(const char *status) {
    return status && !strstr(status, "succeeded") && !strstr(status, "failed") &&
           !strstr(status, "cancelled");
}

static const char *statement_of(const struct store_filter *filter) {
    if (str_equal(filter->sort, "perplexity"))
        return SORTED(PERPLEXITY);
    if (str_equal(filter->sort, "bits"))
        return SORTED(BITS);
    if (filter->group)
        return LIST("group_id = ?13 AND ");
    return only_active(filter->status) ? LIST("status IN ('queued', 'running', 'cancelling') AND ")
                                       : LIST("");
}

/* A page of a sorted list goes on after a job that is there, and that the reader may see. */
static int check_after(struct store *store, const struct store_filter *filter) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r;

    if (!filter->sort || !filter->after)
        return 0;
    r = store_query(store, &statement,
                    "SELECT 1 FROM jobs WHERE id = ? AND (?2 IS NULL OR private = 0 OR owner = ?2)",
                    "is", filter->after, filter->viewer);
    if (!r)
        r = store_step(store, statement);
    return r == 0 ? -ENOENT : MIN(r, 0);
}

struct job_summary store_read_summary(sqlite3_stmt *statement) {
    return (struct job_summary){.id = sqlite3_column_int64(statement, 0),
                                .version = (uint64_t)sqlite3_column_int64(statement, 1),
                                .position = sqlite3_column_int64(statement, 2)};
}

int store_list_summaries(struct store *store, const struct store_filter *filter,
                         int (*each)(void *ctx, const struct job_summary *summary), void *ctx) {
    cleanup(store_resetp) sqlite3_stmt *statement = NULL;
    int r = check_after(store, filter);

    if (!r)
        r = store_query(store, &statement, statement_of(filter), "ssiisssssiddi", filter->status,
                        filter->owner, filter->after, (int64_t)filter->limit, filter->viewer,
                        filter->kind, filter->text, filter->label, filter->method,
                        (int64_t)filter->wbits, filter->perplexity_min, filter->perplexity_max,
                        filter->group);
    if (r)
        return r;
    while ((r = store_step(store, statement)) == 1) {
        struct job_summary summary = store_read_summary(statement);

        r = each(ctx, &summary);
        if (r)
            return r;
    }
    return r;
}
