// SPDX-License-Identifier: Apache-2.0
#include "daemon/queue/views.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/queue/job_json.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

struct slot {
    struct view_now now; /* view NULL: free */
    uint64_t stamp;      /* of the store, when now was true */
};

struct views {
    pthread_mutex_t mutex;         /* taken inside the store's, never around it */
    struct slot slots[VIEWS_JOBS]; /* by id */
    struct view_list *lists[VIEWS_LISTS];
    unsigned next_list; /* to be replaced */
};

struct views *views_new(void) {
    struct views *views = calloc(1, sizeof(*views));

    if (views)
        pthread_mutex_init(&views->mutex, NULL);
    return views;
}

void views_free(struct views *views) {
    if (!views)
        return;
    for (size_t i = 0; i < VIEWS_JOBS; i++)
        view_free(views->slots[i].now.view);
    for (size_t i = 0; i < VIEWS_LISTS; i++)
        view_list_free(views->lists[i]);
    pthread_mutex_destroy(&views->mutex);
    free(views);
}

void view_free(struct view *view) {
    if (!view || atomic_fetch_sub(&view->n_users, 1) > 1)
        return;
    job_row_free(view->row);
    json_decref(view->object);
    free(view);
}

static struct view *view_use(struct view *view) {
    atomic_fetch_add(&view->n_users, 1);
    return view;
}

/* Takes *@row over. */
static int view_new(struct job_row **row, struct view **ret_view) {
    struct view *view = calloc(1, sizeof(*view));

    if (!view)
        return -ENOMEM;
    atomic_init(&view->n_users, 1);
    (*row)->position = 0;
    view->row = steal_ptr(*row);
    view->object = job_to_json(view->row, NULL);
    if (!view->object) {
        view_free(view);
        return -ENOMEM;
    }
    *ret_view = view;
    return 0;
}

/* -------- one job -------- */

static struct slot *slot_of(struct views *views, int64_t id) {
    return &views->slots[(uint64_t)id % VIEWS_JOBS];
}

/* Return: is there one of job @id that holds at @stamp? */
static bool find(struct views *views, int64_t id, uint64_t stamp, struct view_now *ret_now) {
    const struct slot *slot = slot_of(views, id);
    bool found;

    pthread_mutex_lock(&views->mutex);
    found = slot->now.view && slot->now.view->row->id == id && slot->stamp == stamp;
    if (found) {
        *ret_now = slot->now;
        view_use(ret_now->view);
    }
    pthread_mutex_unlock(&views->mutex);
    return found;
}

/* The view of job @id at @version, used; NULL: there is none. */
static struct view *find_version(struct views *views, int64_t id, uint64_t version) {
    const struct slot *slot = slot_of(views, id);
    struct view *view = NULL;

    pthread_mutex_lock(&views->mutex);
    if (slot->now.view && slot->now.view->row->id == id && slot->now.view->row->version == version)
        view = view_use(slot->now.view);
    pthread_mutex_unlock(&views->mutex);
    return view;
}

static void keep(struct views *views, const struct view_now *now, uint64_t stamp) {
    struct slot *slot = slot_of(views, now->view->row->id);
    struct view *old;

    pthread_mutex_lock(&views->mutex);
    old = slot->now.view;
    slot->now = *now;
    slot->stamp = stamp;
    view_use(slot->now.view);
    pthread_mutex_unlock(&views->mutex);
    view_free(old);
}

/* Inside a transaction: the job of which @summary is the newest. */
static int load(struct store *store, const struct job_summary *summary, struct view_now *ret_now) {
    struct views *views = store_views(store);
    struct view_now now = {.position = summary->position,
                           .queue_version = store_version_queue(store)};
    cleanup(job_row_freep) struct job_row *row = NULL;
    int r = 0;

    now.view = find_version(views, summary->id, summary->version);
    if (!now.view) {
        r = store_get_job(store, summary->id, &row);
        if (!r)
            r = view_new(&row, &now.view);
    }
    if (r)
        return r;
    keep(views, &now, store_stamp(store));
    *ret_now = now;
    return 0;
}

int views_job(struct store *store, int64_t id, struct view_now *ret_now, struct failure *failure) {
    struct view_now now = {};
    struct job_summary summary;
    int r;

    if (find(store_views(store), id, store_stamp(store), ret_now))
        return 0;
    r = store_begin(store, STORE_READ, failure);
    if (r)
        return r;
    r = store_get_summary(store, id, &summary);
    if (!r)
        r = load(store, &summary, &now);
    r = store_end(store, r, failure);
    if (r) {
        view_free(now.view);
        return r;
    }
    *ret_now = now;
    return 0;
}

/* -------- lists -------- */

void view_list_free(struct view_list *list) {
    if (!list || atomic_fetch_sub(&list->n_users, 1) > 1)
        return;
    for (int i = 0; i < list->n; i++)
        view_free(list->at[i].view);
    free(list->key);
    free(list);
}

/* No two filters have the same text: each word comes with its length. */
static char *key_of(const struct store_filter *filter) {
    const char *const words[] = {filter->viewer, filter->status, filter->owner, filter->kind,
                                 filter->text};
    struct strbuf key = {};

    strbuf_printf(&key, "%d %" PRId64, filter->limit, filter->after);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (words[i])
            strbuf_printf(&key, " %zu:%s", strlen(words[i]), words[i]);
        else
            strbuf_puts(&key, " -");
    }
    return strbuf_steal(&key);
}

static struct view_list *find_list(struct views *views, const char *key, uint64_t stamp) {
    struct view_list *found = NULL;

    pthread_mutex_lock(&views->mutex);
    for (size_t i = 0; i < VIEWS_LISTS && !found; i++) {
        struct view_list *list = views->lists[i];

        if (list && list->stamp == stamp && str_equal(list->key, key)) {
            atomic_fetch_add(&list->n_users, 1);
            found = list;
        }
    }
    pthread_mutex_unlock(&views->mutex);
    return found;
}

/* Instead of what it was before, else of the one that is there the longest. */
static void keep_list(struct views *views, struct view_list *list) {
    struct view_list *old;
    size_t i = 0;

    if (list->n > VIEWS_LIST_MAX)
        return;
    pthread_mutex_lock(&views->mutex);
    while (i < VIEWS_LISTS && !(views->lists[i] && str_equal(views->lists[i]->key, list->key)))
        i++;
    if (i == VIEWS_LISTS)
        i = views->next_list++ % VIEWS_LISTS;
    old = views->lists[i];
    views->lists[i] = list;
    atomic_fetch_add(&list->n_users, 1);
    pthread_mutex_unlock(&views->mutex);
    view_list_free(old);
}

struct loading {
    struct store *store;
    struct view_list *list;
    int limit;
};

static int add_to_list(void *ctx, const struct job_summary *summary) {
    struct loading *loading = ctx;
    struct view_list *list = loading->list;
    int r;

    if (list->n == loading->limit) {
        list->has_more = true;
        return 0;
    }
    r = load(loading->store, summary, &list->at[list->n]);
    if (!r)
        list->n++;
    return r;
}

int views_list(struct store *store, const struct store_filter *filter, struct view_list **ret_list,
               struct failure *failure) {
    cleanup(freep) char *key = key_of(filter);
    cleanup(view_list_freep) struct view_list *list = NULL;
    struct store_filter rows = *filter;
    struct loading loading = {.store = store, .limit = filter->limit};
    int r;

    if (!key)
        return failure_oom(failure);
    *ret_list = find_list(store_views(store), key, store_stamp(store));
    if (*ret_list)
        return 0;
    list = calloc(1, sizeof(*list) + (size_t)filter->limit * sizeof(list->at[0]));
    if (!list)
        return failure_oom(failure);
    atomic_init(&list->n_users, 1);
    list->key = steal_ptr(key);
    loading.list = list;
    rows.limit++; /* one more tells whether there are more */
    r = store_begin(store, STORE_READ, failure);
    if (r)
        return r;
    list->version = store_version(store);
    list->stamp = store_stamp(store);
    r = store_list_summaries(store, &rows, add_to_list, &loading);
    r = store_end(store, r, failure);
    if (r)
        return r;
    keep_list(store_views(store), list);
    *ret_list = steal_ptr(list);
    return 0;
}
