// SPDX-License-Identifier: Apache-2.0
#include "daemon/access/target.h"

#include "base/macros.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 255
#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

/* ---- the URL ---- */

/* "HOST" or "HOST:PORT" of @size bytes: bytes of the host, 0 when it is neither. */
static size_t split_host(const char *text, size_t size, const char **ret_port) {
    size_t host = strspn(text, HOST_CHARS);
    char port[8] = "";
    uint64_t number;

    *ret_port = NULL;
    if (host == 0 || host > HOST_MAX || host > size || text[0] == '-' || text[0] == '.')
        return 0;
    if (host == size)
        return host;
    if (text[host] != ':' || size - host - 1 >= sizeof(port))
        return 0;
    memcpy(port, text + host + 1, size - host - 1);
    if (str_parse_u64(port, 65535, &number) || number == 0)
        return 0;
    *ret_port = text + host + 1;
    return host;
}

bool target_check_host(const char *host) {
    const char *port;

    return split_host(host, strlen(host), &port) > 0;
}

/* Is what a URL has before its path one of the list? The port that is usual for it may be named. */
static bool is_allowed(const struct target_policy *policy, const char *text, size_t size,
                       const char *usual) {
    const char *port, *other_port;
    size_t host = split_host(text, size, &port);
    size_t port_size = port ? size - host - 1 : strlen(usual);

    for (int i = 0; i < policy->n_hosts && host; i++) {
        const char *entry = policy->hosts[i];
        size_t n = split_host(entry, strlen(entry), &other_port);

        if (n == host && strncasecmp(entry, text, host) == 0 &&
            strlen(other_port ? other_port : usual) == port_size &&
            memcmp(other_port ? other_port : usual, port ? port : usual, port_size) == 0)
            return true;
    }
    return false;
}

static int refuse(struct failure *failure, const char *hint, const char *why) {
    return failure_field(failure, "notify", hint, "%s", why);
}

static bool is_plain(const char *url) {
    for (; *url; url++) {
        if (*url <= ' ' || *url > '~' || strchr("\\\"<>^`{|}#", *url))
            return false;
    }
    return true;
}

int target_check(const struct target_policy *policy, const char *url, struct failure *failure) {
    bool secure = str_has_prefix(url, "https://");
    const char *host = url + strlen(secure ? "https://" : "http://");

    if (!policy || policy->n_hosts == 0 || !policy->key)
        return refuse(failure,
                      "the owner of this quantd can allow it: notify-host and "
                      "notify-key-file in quantd.conf",
                      "this quantd notifies no URL");
    if (strlen(url) > TARGET_URL_MAX || !is_plain(url))
        return refuse(failure, "escape other characters as %20",
                      "must be a URL of at most 1000 printable ASCII characters");
    if (!secure && !str_has_prefix(url, "http://"))
        return refuse(failure, NULL, "must begin with https://");
    if (!secure && !policy->private)
        return refuse(failure, "http:// is for private networks (notify-private)",
                      "must begin with https://");
    if (!is_allowed(policy, host, strcspn(host, "/?"), secure ? "443" : "80"))
        return refuse(failure, "name a host that is a notify-host in quantd.conf",
                      "this quantd does not notify that host and port");
    return 0;
}

/* ---- the address ---- */

static const struct {
    uint32_t address;
    int bits;
} private_v4[] = {
    {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
    {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0000000, 24}, {0xc0a80000, 16},
    {0xc6120000, 15}, {0xe0000000, 4},  {0xf0000000, 4},
};

static bool is_private_v4(uint32_t address) {
    for (size_t i = 0; i < ARRAY_SIZE(private_v4); i++) {
        if ((address ^ private_v4[i].address) >> (32 - private_v4[i].bits) == 0)
            return true;
    }
    return false;
}

static uint32_t embedded(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* IPv4 inside it (mapped, NAT64, 6to4) counts as such; else only global unicast is not private. */
static bool is_private_v6(const uint8_t *a) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0, 0x64, 0xff, 0x9b};

    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return is_private_v4(embedded(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02)
        return is_private_v4(embedded(a + 2));
    return (a[0] & 0xe0) != 0x20;
}

bool target_is_private(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return is_private_v4(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return is_private_v6(((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr);
    return true;
}

/* ---- for people ---- */

char *target_shown(const char *url) {
    const char *host = strstr(url, "://");
    size_t size = host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : strlen(url);

    return str_format("%.*s%s", (int)size, url, url[size] && url[size + 1] ? "/..." : "");
}
