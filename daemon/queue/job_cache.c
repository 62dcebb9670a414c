// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/job_cache.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

struct slot {
    struct cached_state now; /* job NULL: free */
    uint64_t stamp;          /* of the store, when now was true */
};

struct job_cache {
    struct store *store;
    pthread_mutex_t mutex;             /* taken inside the store's, never around it */
    struct slot slots[JOB_CACHE_JOBS]; /* by id */
    struct cached_list *lists[JOB_CACHE_LISTS];
    unsigned next_list; /* to be replaced */
};

struct job_cache *job_cache_new(struct store *store) {
    struct job_cache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        return NULL;
    cache->store = store;
    pthread_mutex_init(&cache->mutex, NULL);
    return cache;
}

void job_cache_free(struct job_cache *cache) {
    if (!cache)
        return;
    for (size_t i = 0; i < JOB_CACHE_JOBS; i++)
        cached_job_free(cache->slots[i].now.job);
    for (size_t i = 0; i < JOB_CACHE_LISTS; i++)
        cached_list_free(cache->lists[i]);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

void cached_job_free(struct cached_job *job) {
    if (!job || atomic_fetch_sub(&job->n_users, 1) > 1)
        return;
    job_row_free(job->row);
    json_decref(job->object);
    free(job);
}

static struct cached_job *cached_job_use(struct cached_job *job) {
    atomic_fetch_add(&job->n_users, 1);
    return job;
}

/* Takes *@row over. */
static int cached_job_new(struct job_row **row, struct cached_job **ret_cached) {
    struct cached_job *job = calloc(1, sizeof(*job));

    if (!job)
        return -ENOMEM;
    atomic_init(&job->n_users, 1);
    job->row = steal_ptr(*row);
    job->object = job_to_json(job->row, NULL);
    if (!job->object) {
        cached_job_free(job);
        return -ENOMEM;
    }
    *ret_cached = job;
    return 0;
}

/* -------- one job -------- */

static struct slot *slot_of(struct job_cache *cache, int64_t id) {
    return &cache->slots[(uint64_t)id % JOB_CACHE_JOBS];
}

/* Return: is there one of job @id that holds at @stamp? */
static bool find(struct job_cache *cache, int64_t id, uint64_t stamp,
                 struct cached_state *ret_now) {
    const struct slot *slot = slot_of(cache, id);
    bool found;

    pthread_mutex_lock(&cache->mutex);
    found = slot->now.job && slot->now.job->row->id == id && slot->stamp == stamp;
    if (found) {
        *ret_now = slot->now;
        cached_job_use(ret_now->job);
    }
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

/* The job of job @id at @version, used; NULL: there is none. */
static struct cached_job *find_version(struct job_cache *cache, int64_t id, uint64_t version) {
    const struct slot *slot = slot_of(cache, id);
    struct cached_job *job = NULL;

    pthread_mutex_lock(&cache->mutex);
    if (slot->now.job && slot->now.job->row->id == id && slot->now.job->row->version == version)
        job = cached_job_use(slot->now.job);
    pthread_mutex_unlock(&cache->mutex);
    return job;
}

static void keep(struct job_cache *cache, const struct cached_state *now, uint64_t stamp) {
    struct slot *slot = slot_of(cache, now->job->row->id);
    struct cached_job *old;

    pthread_mutex_lock(&cache->mutex);
    old = slot->now.job;
    slot->now = *now;
    slot->stamp = stamp;
    cached_job_use(slot->now.job);
    pthread_mutex_unlock(&cache->mutex);
    cached_job_free(old);
}

/* Inside a transaction: the job of which @summary is the newest. */
static int load(struct job_cache *cache, const struct job_summary *summary,
                struct cached_state *ret_now) {
    struct cached_state now = {.position = summary->position,
                               .queue_version = store_version_queue(cache->store)};
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r = 0;

    now.job = find_version(cache, summary->id, summary->version);
    if (!now.job) {
        r = store_get_job(cache->store, summary->id, &row);
        if (!r)
            r = cached_job_new(&row, &now.job);
    }
    if (r)
        return r;
    keep(cache, &now, store_stamp(cache->store));
    *ret_now = now;
    return 0;
}

int job_cache_find(struct job_cache *cache, int64_t id, struct cached_state *ret_now,
                   struct failure *failure) {
    struct cached_state now = {};
    struct job_summary summary;
    int r;

    if (find(cache, id, store_stamp(cache->store), ret_now))
        return 0;
    r = store_begin(cache->store, STORE_READ, failure);
    if (r)
        return r;
    r = store_get_summary(cache->store, id, &summary);
    if (!r)
        r = load(cache, &summary, &now);
    r = store_end(cache->store, r, failure);
    if (r) {
        cached_job_free(now.job);
        return r;
    }
    *ret_now = now;
    return 0;
}

/* -------- lists -------- */

void cached_list_free(struct cached_list *list) {
    if (!list || atomic_fetch_sub(&list->n_users, 1) > 1)
        return;
    for (int i = 0; i < list->n; i++)
        cached_job_free(list->at[i].job);
    free(list->key);
    free(list);
}

/* No two filters have the same text: each word comes with its length. */
static char *key_of(const struct store_filter *filter) {
    const char *const words[] = {filter->viewer, filter->status, filter->owner,  filter->kind,
                                 filter->text,   filter->label,  filter->method, filter->sort};
    struct strbuf key = {};

    strbuf_printf(&key, "%d %" PRId64 " %" PRId64 " %d %.17g %.17g", filter->limit, filter->after,
                  filter->group, filter->wbits, filter->perplexity_min, filter->perplexity_max);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (words[i])
            strbuf_printf(&key, " %zu:%s", strlen(words[i]), words[i]);
        else
            strbuf_puts(&key, " -");
    }
    return strbuf_steal(&key);
}

static struct cached_list *find_list(struct job_cache *cache, const char *key, uint64_t stamp) {
    struct cached_list *found = NULL;

    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < JOB_CACHE_LISTS && !found; i++) {
        struct cached_list *list = cache->lists[i];

        if (list && list->stamp == stamp && str_equal(list->key, key)) {
            atomic_fetch_add(&list->n_users, 1);
            found = list;
        }
    }
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

/* Instead of what it was before, else of the one that is there the longest. */
static void keep_list(struct job_cache *cache, struct cached_list *list) {
    struct cached_list *old;
    size_t i = 0;

    if (list->n > JOB_CACHE_LIST_MAX)
        return;
    pthread_mutex_lock(&cache->mutex);
    while (i < JOB_CACHE_LISTS && !(cache->lists[i] && str_equal(cache->lists[i]->key, list->key)))
        i++;
    if (i == JOB_CACHE_LISTS)
        i = cache->next_list++ % JOB_CACHE_LISTS;
    old = cache->lists[i];
    cache->lists[i] = list;
    atomic_fetch_add(&list->n_users, 1);
    pthread_mutex_unlock(&cache->mutex);
    cached_list_free(old);
}

struct loading {
    struct job_cache *cache;
    struct cached_list *list;
    int limit;
};

static int add_to_list(void *ctx, const struct job_summary *summary) {
    struct loading *loading = ctx;
    struct cached_list *list = loading->list;
    int r;

    if (list->n == loading->limit) {
        list->has_more = true;
        return 0;
    }
    r = load(loading->cache, summary, &list->at[list->n]);
    if (!r)
        list->n++;
    return r;
}

int job_cache_list(struct job_cache *cache, const struct store_filter *filter,
                   struct cached_list **ret_list, struct failure *failure) {
    cleanup(freep) char *key = key_of(filter);
    cleanup(cached_list_freep) struct cached_list *list = NULL;
    struct store_filter rows = *filter;
    struct loading loading = {.cache = cache, .limit = filter->limit};
    int r;

    if (!key)
        return failure_oom(failure);
    *ret_list = find_list(cache, key, store_stamp(cache->store));
    if (*ret_list)
        return 0;
    list = calloc(1, sizeof(*list) + (size_t)filter->limit * sizeof(list->at[0]));
    if (!list)
        return failure_oom(failure);
    atomic_init(&list->n_users, 1);
    list->key = steal_ptr(key);
    loading.list = list;
    rows.limit++; /* one more shows whether there are more */
    r = store_begin(cache->store, STORE_READ, failure);
    if (r)
        return r;
    list->version = store_version(cache->store);
    list->stamp = store_stamp(cache->store);
    r = store_list_summaries(cache->store, &rows, add_to_list, &loading);
    r = store_end(cache->store, r, failure);
    if (r)
        return r;
    keep_list(cache, list);
    *ret_list = steal_ptr(list);
    return 0;
}
