// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"
#include "daemon/notification/send.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_SECONDS 10L
#define TOTAL_SECONDS 30L

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    const struct target_policy *policy = ctx;

    (void)purpose;
    if (!policy->private && target_is_private(&address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const struct notification *notification = ctx;

    (void)a, (void)b, (void)c, (void)d;
    return *notification->stop;
}

/* What the receiver says beside its status is of no use. */
static size_t drop(char *data, size_t one, size_t size, void *ctx) {
    (void)data, (void)one, (void)ctx;
    return size;
}

static int add(struct curl_slist **headers, const char *line) {
    struct curl_slist *longer = line ? curl_slist_append(*headers, line) : NULL;

    if (!longer)
        return -ENOMEM;
    *headers = longer;
    return 0;
}

/* The signature is over "SECONDS.BODY", so that an old notification cannot be replayed as new. */
static int make_headers(const struct notification *notification, const char *key,
                        struct curl_slist **headers) {
    int64_t seconds = clock_wall_ms() / 1000;
    cleanup(freep) char *text = str_format("%" PRId64 ".%s", seconds, notification->body);
    cleanup(freep) char *id = str_format("Quantd-Notification: %" PRId64, notification->id);
    cleanup(freep) char *time = str_format("Quantd-Timestamp: %" PRId64, seconds);
    cleanup(freep) char *signature = NULL;
    char hmac[SHA256_TEXT_SIZE];

    if (!text || sha256_hmac(key, strlen(key), text, strlen(text), hmac))
        return -ENOMEM;
    signature = str_format("Quantd-Signature: sha256=%s", hmac);
    return add(headers, "Content-Type: application/json") || add(headers, "Expect:") ||
                   add(headers, id) || add(headers, time) || add(headers, signature)
               ? -ENOMEM
               : 0;
}

static void set_options(CURL *curl, const struct notification *notification,
                        const struct target_policy *policy, const char *url,
                        struct curl_slist *headers, char *error) {
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, policy->private ? "http,https" : "https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* it would hide the address */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TOTAL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "quantd/" QUANTD_VERSION);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, notification->body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(notification->body));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, (void *)policy);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)notification);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
}

static int judge(CURL *curl, CURLcode code, const char *error, struct failure *failure) {
    long status = 0;

    if (code == CURLE_ABORTED_BY_CALLBACK)
        return -ECANCELED;
    if (code == CURLE_OUT_OF_MEMORY)
        return failure_oom(failure);
    if (code != CURLE_OK)
        return failure_set(failure, -EIO, "notify_failed", NULL, "%s",
                           error[0] ? error : curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status <= 299)
        return 0;
    return failure_set(failure, -EIO, "notify_failed", NULL, "it answered with status %ld%s",
                       status,
                       status >= 300 && status <= 399 ? "; redirects are not followed" : "");
}

int send_webhook(const struct notification *notification, const struct target_policy *policy,
                 const char *url, struct failure *failure) {
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "";
    int r = target_check(policy, url, failure);
    CURL *curl;

    if (r)
        return r;
    curl = curl_easy_init();
    r = curl ? make_headers(notification, policy->key, &headers) : -ENOMEM;
    if (!r) {
        set_options(curl, notification, policy, url, headers, error);
        r = judge(curl, curl_easy_perform(curl), error, failure);
    } else {
        failure_oom(failure);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return r;
}
