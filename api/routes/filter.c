// SPDX-License-Identifier: Apache-2.0
#include "api/routes/filter.h"

#include "api/wire.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 200
#define LABEL_MAX 1000
#define METHOD_MAX 32
#define WBITS_MAX 16
#define HINT_SIZE 128

static const char *const job_kinds[] = {"quantize", "eval", "export"};
static const char *const job_statuses[] = {"queued",    "running", "cancelling",
                                           "succeeded", "failed",  "cancelled"};
static const char *const sorts[] = {"id", "perplexity", "bits"};

static bool is_one_of(const char *const *names, size_t n, const char *text, size_t size) {
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == size && memcmp(names[i], text, size) == 0)
            return true;
    return false;
}

/* "some of queued, running ...": what to write instead. */
static const char *list_names(const char *intro, const char *const *names, size_t n, char *text,
                              size_t size) {
    size_t at = (size_t)snprintf(text, size, "%s", intro);

    for (size_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i ? ", " : " ", names[i]);
    return text;
}

/* NULL, or one of @names. */
static int check_name(const char *field, const char *const *names, size_t n, const char *text,
                      struct failure *failure) {
    char hint[HINT_SIZE];

    if (!text || is_one_of(names, n, text, strlen(text)))
        return 0;
    list_names("one of", names, n, hint, sizeof(hint));
    return failure_field(failure, field, hint, "'%s' is not possible", text);
}

/* NULL, or names of statuses with commas between. */
static int check_statuses(const char *list, struct failure *failure) {
    char hint[HINT_SIZE];

    for (const char *name = list; name; name = strchr(name, ',')) {
        name += name != list;
        if (is_one_of(job_statuses, ARRAY_SIZE(job_statuses), name, strcspn(name, ",")))
            continue;
        list_names("some of", job_statuses, ARRAY_SIZE(job_statuses), hint, sizeof(hint));
        return failure_field(failure, "status", hint, "'%s' has an unknown status", list);
    }
    return 0;
}

/* NULL, or a text of at most @max bytes. */
static int check_text(const char *name, const char *text, size_t max, struct failure *failure) {
    if (text && (!*text || strlen(text) > max))
        return failure_field(failure, name, NULL, "must have 1 to %zu bytes", max);
    return 0;
}

/* ?@name=, a perplexity; 0: there is none. */
static int take_perplexity(const struct request *request, const char *name, double *ret_value,
                           struct failure *failure) {
    const char *text = request_query(request, name);

    if (text && (str_parse_double(text, ret_value) || !(*ret_value > 0)))
        return failure_field(failure, name, NULL, "'%s' is not a number above 0", text);
    return 0;
}

/* ?limit= and ?after=, as all lists have them. */
static int take_page(const struct request *request, int64_t *ret_after, int *ret_limit,
                     struct failure *failure) {
    uint64_t limit = 0, after = 0;
    int r =
        request_query_u64(request, "limit", 1, WIRE_LIMIT_MAX, WIRE_LIMIT_DEFAULT, &limit, failure);

    if (r == 0)
        r = request_query_u64(request, "after", 0, INT64_MAX, 0, &after, failure);
    *ret_limit = (int)limit;
    *ret_after = (int64_t)after;
    return r;
}

static int take_numbers(const struct request *request, struct job_filter *filter,
                        struct failure *failure) {
    uint64_t wbits = 0, group = 0;
    int r = take_page(request, &filter->after, &filter->limit, failure);

    if (r == 0)
        r = request_query_u64(request, "group", 1, INT64_MAX, 0, &group, failure);
    if (r == 0)
        r = request_query_u64(request, "wbits", 1, WBITS_MAX, 0, &wbits, failure);
    if (r == 0)
        r = take_perplexity(request, "perplexity_min", &filter->perplexity_min, failure);
    if (r == 0)
        r = take_perplexity(request, "perplexity_max", &filter->perplexity_max, failure);
    filter->group = (int64_t)group;
    filter->wbits = (int)wbits;
    return r;
}

int job_filter_take(const struct request *request, struct job_filter *ret_filter,
                    struct failure *failure) {
    struct job_filter filter = {.status = request_query(request, "status"),
                                .owner = request_query(request, "owner"),
                                .kind = request_query(request, "kind"),
                                .text = request_query(request, "text"),
                                .label = request_query(request, "label"),
                                .method = request_query(request, "method"),
                                .sort = request_query(request, "sort")};
    int r;

    if ((r = check_name("kind", job_kinds, ARRAY_SIZE(job_kinds), filter.kind, failure)) ||
        (r = check_name("sort", sorts, ARRAY_SIZE(sorts), filter.sort, failure)) ||
        (r = check_statuses(filter.status, failure)) ||
        (r = check_text("owner", filter.owner, OWNER_SIZE - 1, failure)) ||
        (r = check_text("text", filter.text, TEXT_MAX, failure)) ||
        (r = check_text("label", filter.label, LABEL_MAX, failure)) ||
        (r = check_text("method", filter.method, METHOD_MAX, failure)) ||
        (r = take_numbers(request, &filter, failure)))
        return r;
    if (str_equal(filter.sort, "id"))
        filter.sort = NULL;
    *ret_filter = filter;
    return 0;
}

int groups_filter_take(const struct request *request, struct groups_filter *ret_filter,
                       struct failure *failure) {
    struct groups_filter filter = {.owner = request_query(request, "owner")};
    int r = check_text("owner", filter.owner, OWNER_SIZE - 1, failure);

    if (r == 0)
        r = take_page(request, &filter.after, &filter.limit, failure);
    if (r == 0)
        *ret_filter = filter;
    return r;
}
