// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/reply.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* -------- headers -------- */

/* The value of a header of the last answer, NULL without it; borrowed. */
static const char *header(CURL *easy, const char *name) {
    struct curl_header *found;

    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &found) ? NULL : found->value;
}

static bool is_hex(const char *text, size_t n) {
    return strspn(text, "0123456789abcdef") == n && !text[n];
}

/* An ETag without W/ and quotes, when it is the hash of content: else "". */
static void read_etag(const char *text, char etag[DIGEST_TEXT_SIZE]) {
    char copy[DIGEST_TEXT_SIZE + 8];
    char *at = copy;

    if (!text || strlen(text) >= sizeof(copy))
        return;
    snprintf(copy, sizeof(copy), "%s", text);
    if (str_has_prefix(at, "W/"))
        at += 2;
    if (*at == '"') {
        at++;
        at[strcspn(at, "\"")] = '\0';
    }
    if (is_hex(at, 64) || is_hex(at, 40))
        snprintf(etag, DIGEST_TEXT_SIZE, "%.64s", at);
}

static void read_range(const char *text, struct hub_reply *reply) {
    unsigned long long first, last, total;

    reply->total = 0;
    if (text && sscanf(text, "bytes %19llu-%19llu/%19llu", &first, &last, &total) == 3) {
        reply->first = first;
        reply->total = total;
    }
}

static void read_retry(CURL *easy, struct hub_reply *reply) {
    const char *limit = header(easy, "RateLimit");
    const char *reset = limit ? strstr(limit, "t=") : NULL;
    curl_off_t seconds = 0;

    /* Also a date; curl reads both. */
    if (!curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds) && seconds > 0)
        reply->retry_after = (double)seconds;
    else if (reset && reply->status == 429)
        reply->retry_after = (double)strtoul(reset + 2, NULL, 10);
}

void hub_reply_read(CURL *easy, struct hub_reply *reply) {
    const char *commit = header(easy, "X-Repo-Commit"), *size = header(easy, "X-Linked-Size");
    const char *linked = header(easy, "X-Linked-Etag");
    curl_off_t length = -1;

    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply->status);
    if (commit && !reply->commit[0] && is_hex(commit, HUB_COMMIT_SIZE - 1))
        snprintf(reply->commit, sizeof(reply->commit), "%s", commit);
    if (!reply->linked)
        read_etag(linked                     ? linked
                  : reply->status / 100 == 2 ? header(easy, "ETag")
                                             : NULL,
                  reply->etag);
    reply->linked = reply->linked || linked;
    if (size && !reply->has_size)
        reply->has_size = !str_parse_u64(size, INT64_MAX, &reply->size);
    if (!reply->has_size && reply->status / 100 == 2 &&
        !curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) && length >= 0) {
        reply->has_size = true;
        reply->size = (uint64_t)length;
    }
    read_range(reply->status == 206 ? header(easy, "Content-Range") : NULL, reply);
    read_retry(easy, reply);
}

int hub_reply_check(CURL *easy, const char *url, struct failure *failure) {
    const char *encoding = header(easy, "Content-Encoding");

    if (!encoding || !strcasecmp(encoding, "identity"))
        return 0;
    return failure_set(failure, -EPROTO, "hub_invalid",
                       "check the proxy between quantd and the hub",
                       "cannot use the answer of '%.256s': it is encoded as '%.32s', which was not "
                       "requested",
                       url, encoding);
}

/* -------- errors -------- */

static int refused(const struct hub_site *site, const char *url, const char *why,
                   struct failure *failure) {
    return failure_set(failure, -EACCES, "hub_forbidden",
                       site->token ? "accept the terms of the model on its page with the account "
                                     "that the token belongs to"
                                   : "give the daemon a token: HF_TOKEN or the credential hf_token",
                       "the hub refuses '%.256s'%s%.64s", url, why ? ": " : "", why ? why : "");
}

int hub_reply_fail(CURL *easy, const struct hub_site *site, const char *url, const char *last,
                   const struct hub_reply *reply, struct failure *failure) {
    const char *why = header(easy, "X-Error-Code");
    cleanup(freep) char *origin = hub_origin(last);
    bool elsewhere = !str_equal(origin, site->origin);
    bool again = reply->status == 408 || reply->status == 425 || reply->status == 429 ||
                 reply->status / 100 == 5 || (elsewhere && reply->status == 403);

    if (again) {
        /* A signed address of a CDN ends with 403 when its time is over: then a new one is asked
         * for. */
        failure_set(failure, -EAGAIN, "hub_busy", "try again later",
                    "cannot fetch '%.256s': status %ld", url, reply->status);
        if (failure)
            failure->retryable = true;
        return -EAGAIN;
    }
    if (reply->status == 401 || reply->status == 403)
        return refused(site, url, why, failure);
    if (reply->status == 404 || reply->status == 410)
        return failure_set(failure, -ENOENT, "hub_not_found",
                           "check the name and the revision; a private model looks like a missing "
                           "one without a token",
                           "the hub has no '%.256s'%s%.64s", url, why ? ": " : "", why ? why : "");
    return failure_set(failure, -EPROTO, "hub_invalid", NULL, "cannot fetch '%.256s': status %ld",
                       url, reply->status);
}
