// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/hub/site.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

static char *url_part(CURLU *url, CURLUPart part, unsigned flags) {
    char *text = NULL;

    return curl_url_get(url, part, &text, flags) ? NULL : text;
}

DEFINE_CLEANUP(CURLU *, urlp, curl_url_cleanup)
DEFINE_CLEANUP(char *, curlp, curl_free)

/* NULL: no http(s) URL, or one with a user in it. */
static CURLU *parse_url(const char *text) {
    cleanup(urlp) CURLU *url = curl_url();
    cleanup(curlp) char *scheme = NULL;
    cleanup(curlp) char *user = NULL;

    if (!url || curl_url_set(url, CURLUPART_URL, text, 0))
        return NULL;
    scheme = url_part(url, CURLUPART_SCHEME, 0);
    user = url_part(url, CURLUPART_USER, 0);
    if (user || (!str_equal(scheme, "https") && !str_equal(scheme, "http")))
        return NULL;
    return steal_ptr(url);
}

char *hub_origin(const char *text) {
    cleanup(urlp) CURLU *url = parse_url(text);
    cleanup(curlp) char *scheme = url ? url_part(url, CURLUPART_SCHEME, 0) : NULL;
    cleanup(curlp) char *host = url ? url_part(url, CURLUPART_HOST, 0) : NULL;
    cleanup(curlp) char *port = url ? url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT) : NULL;

    if (!scheme || !host || !port)
        return NULL;
    for (char *at = host; *at; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at += 'a' - 'A';
    return str_format("%s://%s:%s", scheme, host, port);
}

bool hub_is_plain(const char *text) {
    cleanup(urlp) CURLU *url = parse_url(text);
    cleanup(curlp) char *scheme = url ? url_part(url, CURLUPART_SCHEME, 0) : NULL;
    cleanup(curlp) char *host = url ? url_part(url, CURLUPART_HOST, 0) : NULL;
    struct in_addr address;

    if (!host || !str_equal(scheme, "http"))
        return false;
    if (!strcasecmp(host, "localhost") || str_equal(host, "[::1]"))
        return true;
    return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

int hub_site_check(const struct hub_site *site, const char *text, struct failure *failure) {
    cleanup(urlp) CURLU *url = parse_url(text);
    cleanup(curlp) char *scheme = url ? url_part(url, CURLUPART_SCHEME, 0) : NULL;

    if (str_equal(scheme, "https") || (site->plain && hub_is_plain(text)))
        return 0;
    return failure_set(failure, -EINVAL, "hub_invalid", "use an https address",
                       "cannot fetch '%.256s': it is not https", text);
}

void hub_escape(struct strbuf *buf, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("-._~", c))
            strbuf_append(buf, text, 1);
        else
            strbuf_printf(buf, "%%%02X", c);
    }
}
