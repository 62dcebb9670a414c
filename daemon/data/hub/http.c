// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/http.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/macros.h"
#include "daemon/data/hub/reply.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define REDIRECTS_MAX 8
#define TRIES_MAX 6
#define WAIT_MAX 30.0        /* seconds between tries, unless the server asks for more */
#define ASKED_WAIT_MAX 600.0 /* more is as good as no */
#define CONNECT_SECONDS 10L
#define JSON_SECONDS 300L
#define IGNORED_MAX ((size_t)64 << 10)
#define POLL_MS 100 /* how long a stop may go unseen */
#define AGENT "quantd/" QUANTD_VERSION

struct hub_http {
    const struct hub_site *site;
    bool (*stopped)(void *ctx);
    void *ctx;
    CURL *easy;
    CURLM *multi;
    struct curl_slist *plain, *authorized; /* headers, without and with the token */
};

/* One answer on its way. */
struct transfer {
    struct hub_http *http;
    const struct hub_request *request;
    struct hub_reply *reply;
    struct failure *failure;
    bool begun;
    size_t ignored; /* bytes that came with an error or a redirect */
    int result;     /* why our own side stopped it */
};

void hub_http_free(struct hub_http *http) {
    if (!http)
        return;
    curl_easy_cleanup(http->easy);
    curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->plain);
    curl_slist_free_all(http->authorized);
    free(http);
}

static int make_headers(struct hub_http *http) {
    cleanup(freep) char *bearer = NULL;
    struct curl_slist *first = curl_slist_append(NULL, "Accept-Encoding: identity");

    http->plain = first;
    if (!first || !http->site->token)
        return first ? 0 : -ENOMEM;
    bearer = str_format("Authorization: Bearer %s", http->site->token);
    http->authorized = curl_slist_append(NULL, "Accept-Encoding: identity");
    if (!bearer || !http->authorized || !curl_slist_append(http->authorized, bearer))
        return -ENOMEM;
    return 0;
}

int hub_http_new(const struct hub_site *site, bool (*stopped)(void *ctx), void *ctx,
                 struct hub_http **ret_http, struct failure *failure) {
    cleanup(hub_http_freep) struct hub_http *http = calloc(1, sizeof(*http));

    if (!http)
        return failure_oom(failure);
    http->site = site;
    http->stopped = stopped;
    http->ctx = ctx;
    http->easy = curl_easy_init();
    http->multi = curl_multi_init();
    if (!http->easy || !http->multi || make_headers(http))
        return failure_oom(failure);
    *ret_http = steal_ptr(http);
    return 0;
}

static size_t take_data(char *data, size_t one, size_t size, void *ctx) {
    struct transfer *transfer = ctx;
    const struct hub_request *request = transfer->request;

    (void)one;
    if (!transfer->begun) {
        transfer->begun = true;
        hub_reply_read(transfer->http->easy, transfer->reply);
        if (transfer->reply->status / 100 == 2)
            transfer->result =
                hub_reply_check(transfer->http->easy, request->url, transfer->failure);
        if (!transfer->result && transfer->reply->status / 100 == 2 && request->begin)
            transfer->result = request->begin(request->ctx, transfer->reply, transfer->failure);
    }
    if (transfer->reply->status / 100 != 2) {
        transfer->ignored += size;
        return transfer->ignored > IGNORED_MAX ? 0 : size;
    }
    if (!transfer->result && request->data)
        transfer->result = request->data(request->ctx, data, size, transfer->failure);
    return transfer->result ? 0 : size;
}

/*
 * A handle of its own for each transfer: libcurl 7.88 keeps a pointer to the last header over
 * curl_easy_reset(), and a folded line at the top of the next answer would write through it. The
 * connections are the multi handle's, and stay.
 */
static int renew(struct hub_http *http) {
    curl_easy_cleanup(http->easy);
    http->easy = curl_easy_init();
    return http->easy ? 0 : -ENOMEM;
}

static int prepare(struct transfer *transfer, const char *url) {
    struct hub_http *http = transfer->http;
    cleanup(freep) char *origin = hub_origin(url);
    bool own = str_equal(origin, http->site->origin);
    CURL *easy;

    if (renew(http))
        return -ENOMEM;
    easy = http->easy;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, http->site->plain ? "http,https" : "https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, AGENT);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, http->site->silence_seconds);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, transfer->request->seconds);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_NOBODY, (long)transfer->request->head);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
                     own && http->authorized ? http->authorized : http->plain);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    /* A proxy of the environment is not for this machine. */
    if (hub_is_plain(url))
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (transfer->request->ranged) {
        char range[64];

        snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)transfer->request->first,
                 (unsigned long long)transfer->request->last);
        curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
    return 0;
}

/* Runs the prepared transfer. Return: 0 and its code, or -ECANCELED. */
static int perform(struct hub_http *http, CURLcode *ret_code) {
    int n_running = 1, n_messages;
    bool stopped = false;
    CURLMsg *message;

    if (curl_multi_add_handle(http->multi, http->easy))
        return -ENOMEM;
    *ret_code = CURLE_RECV_ERROR;
    while (n_running && !(stopped = http->stopped(http->ctx))) {
        if (curl_multi_perform(http->multi, &n_running))
            break;
        if (n_running)
            curl_multi_poll(http->multi, NULL, 0, POLL_MS, NULL);
    }
    while ((message = curl_multi_info_read(http->multi, &n_messages)))
        if (message->msg == CURLMSG_DONE)
            *ret_code = message->data.result;
    curl_multi_remove_handle(http->multi, http->easy);
    return stopped ? -ECANCELED : 0;
}

/* The endpoint has answered, whatever it said; or @why it has not. */
static void note_contact(const struct hub_http *http, const char *url, const char *why) {
    cleanup(freep) char *origin = hub_origin(url);
    struct hub_contact *contact = http->site->contact;

    if (!contact || !str_equal(origin, http->site->origin))
        return;
    pthread_mutex_lock(&contact->lock);
    if (why) {
        contact->failed_at = clock_wall_ms();
        contact->failed_clock = clock_monotonic();
        contact->n_failed++;
        snprintf(contact->error, sizeof(contact->error), "%s", why);
    } else {
        contact->answered_at = clock_wall_ms();
        contact->n_failed = 0;
    }
    pthread_mutex_unlock(&contact->lock);
}

/* One hop. Return: 0: an answer came; or -errno. */
static int hop(struct hub_http *http, const struct hub_request *request, const char *url,
               struct hub_reply *reply, struct failure *failure) {
    struct transfer transfer = {http, request, reply, failure};
    CURLcode code;
    int r;

    reply->retry_after = -1;
    r = prepare(&transfer, url);
    if (!r)
        r = perform(http, &code);
    if (r)
        return r == -ECANCELED ? hub_cancelled(failure) : failure_oom(failure);
    if (transfer.result)
        return transfer.result;
    note_contact(http, url, code == CURLE_OK || transfer.begun ? NULL : curl_easy_strerror(code));
    if (code != CURLE_OK && transfer.ignored <= IGNORED_MAX) {
        failure_set(failure, -ECOMM, "hub_unreachable",
                    "check the network of the daemon and the hub-endpoint in its configuration",
                    "cannot fetch '%.256s': %s", request->url, curl_easy_strerror(code));
        if (failure)
            failure->retryable = code != CURLE_URL_MALFORMAT &&
                                 code != CURLE_UNSUPPORTED_PROTOCOL &&
                                 code != CURLE_PEER_FAILED_VERIFICATION;
        return -ECOMM;
    }
    if (transfer.begun)
        return 0;
    /* No byte of a body came: also an empty file begins. */
    hub_reply_read(http->easy, reply);
    if (reply->status / 100 != 2)
        return 0;
    r = hub_reply_check(http->easy, url, failure);
    return r || !request->begin ? r : request->begin(request->ctx, reply, failure);
}

/* May a HEAD stop at this redirect? A CDN behind it does not know the file by its name. */
static bool stays_here(const struct hub_http *http, const struct hub_request *request,
                       const struct hub_reply *reply, const char *next) {
    cleanup(freep) char *origin = hub_origin(next);

    return request->head && reply->linked && !str_equal(origin, http->site->origin);
}

int hub_http_once(struct hub_http *http, const struct hub_request *request,
                  struct hub_reply *ret_reply, struct failure *failure) {
    cleanup(freep) char *url = strdup(request->url);
    struct hub_reply reply = {};
    int r = url ? 0 : failure_oom(failure);

    for (int i = 0; i < REDIRECTS_MAX && !r; i++) {
        char *next = NULL;

        r = hub_site_check(http->site, url, failure);
        if (!r)
            r = hop(http, request, url, &reply, failure);
        *ret_reply = reply;
        if (r)
            return r;
        if (reply.status / 100 == 2)
            return 0;
        if (reply.status / 100 != 3 || reply.status == 304)
            return hub_reply_fail(http->easy, http->site, request->url, url, &reply, failure);
        curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &next);
        if (!next)
            return failure_set(failure, -EPROTO, "hub_invalid", NULL,
                               "cannot fetch '%.256s': a redirect without an address",
                               request->url);
        if (stays_here(http, request, &reply, next))
            return 0;
        free(url);
        url = strdup(next);
        r = url ? 0 : failure_oom(failure);
    }
    return r ? r
             : failure_set(failure, -ELOOP, "hub_invalid", NULL,
                           "cannot fetch '%.256s': more than %d redirects", request->url,
                           REDIRECTS_MAX);
}

int hub_http_wait(struct hub_http *http, const struct hub_reply *reply, int n, int r,
                  struct failure *failure) {
    const struct timespec step = {.tv_nsec = 50000000};
    double seconds = http->site->retry_seconds * (double)(1 << MIN(n - 1, 10)), until;

    if (n >= TRIES_MAX || reply->retry_after > ASKED_WAIT_MAX)
        return r;
    until =
        clock_monotonic() + (reply->retry_after >= 0 ? reply->retry_after : MIN(seconds, WAIT_MAX));
    while (clock_monotonic() < until) {
        if (http->stopped(http->ctx))
            return hub_cancelled(failure);
        nanosleep(&step, NULL);
    }
    return 0;
}

int hub_http_ask(struct hub_http *http, const struct hub_request *request,
                 struct hub_reply *ret_reply, struct failure *failure) {
    for (int n = 1;; n++) {
        struct failure why = {};
        int r = hub_http_once(http, request, ret_reply, &why);

        if (!r)
            return 0;
        if (failure)
            *failure = why;
        if (!why.retryable)
            return r;
        r = hub_http_wait(http, ret_reply, n, r, failure);
        if (r)
            return r;
    }
}

/* A body that is collected. */
struct body {
    const char *url;
    struct strbuf text;
};

static int body_begin(void *ctx, const struct hub_reply *reply, struct failure *failure) {
    struct body *body = ctx;

    (void)reply;
    (void)failure;
    strbuf_done(&body->text); /* of an earlier try */
    return 0;
}

static int body_data(void *ctx, const char *data, size_t size, struct failure *failure) {
    struct body *body = ctx;

    if (body->text.length + size > HUB_JSON_MAX)
        return failure_set(failure, -EFBIG, "hub_invalid", NULL,
                           "cannot use the answer of '%.256s': it is longer than %llu bytes",
                           body->url, (unsigned long long)HUB_JSON_MAX);
    strbuf_append(&body->text, data, size);
    return body->text.failed ? failure_oom(failure) : 0;
}

int hub_http_json(struct hub_http *http, const char *url, json_t **ret_value,
                  struct failure *failure) {
    struct body body = {.url = url};
    struct hub_request request = {
        .url = url, .seconds = JSON_SECONDS, .ctx = &body, .begin = body_begin, .data = body_data};
    struct hub_reply reply;
    int r = hub_http_ask(http, &request, &reply, failure);

    if (!r)
        r = json_parse(body.text.data ? body.text.data : "", body.text.length, url, "hub_invalid",
                       ret_value, failure);
    strbuf_done(&body.text);
    return r;
}
