// SPDX-License-Identifier: Apache-2.0
/* Whether the hub can be reached, as far as that is known without a request. */
#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "daemon/data/hub/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAILED_ENOUGH 3 /* one that is lost now and then says nothing */
#define FAILED_SECONDS 60
#define RESOLVED_SECONDS 60

/*
 * Is there no route to @address, of an outside network? Connecting a datagram socket looks the
 * route up and sends nothing.
 */
static bool has_no_route(const struct sockaddr *address, socklen_t size) {
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool none;

    if (fd < 0)
        return errno == EAFNOSUPPORT;
    none = connect(fd, address, size) &&
           (errno == ENETUNREACH || errno == EHOSTUNREACH || errno == EADDRNOTAVAIL);
    close(fd);
    return none;
}

/* By addresses of documents (RFC 5737, RFC 3849), which are of no network but the default route. */
static bool is_alone(void) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(9)};

    inet_pton(AF_INET, "192.0.2.1", &four.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &six.sin6_addr);
    return has_no_route((const struct sockaddr *)&four, sizeof(four)) &&
           has_no_route((const struct sockaddr *)&six, sizeof(six));
}

/* A hub or a proxy of this network needs no route out. */
static bool is_near(const struct hub_client *client) {
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

    for (size_t i = 0; i < ARRAY_SIZE(proxies); i++)
        if (getenv(proxies[i]))
            return true;
    for (int i = 0; i < CATALOG_FILES; i++)
        if (client->sources[i])
            return true;
    return !str_equal(client->site.endpoint, HUB_ENDPOINT);
}

/* Does the name in the URL @endpoint lead to an address to which there is a route? May last. */
static bool has_route_to(const char *endpoint) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *name = strstr(endpoint, "://");
    struct addrinfo *list = NULL;
    char host[256];
    bool found = false;

    name = name ? name + 3 : endpoint;
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(name, ":/"), name);
    if (getaddrinfo(host, "443", &hints, &list))
        return false;
    for (const struct addrinfo *at = list; at && !found; at = at->ai_next)
        found = !has_no_route(at->ai_addr, at->ai_addrlen);
    freeaddrinfo(list);
    return found;
}

static int look_up(void *ctx) {
    struct hub_client *client = ctx;
    struct hub_contact *contact = &client->contact;
    bool found = has_route_to(client->site.endpoint);

    pthread_mutex_lock(&contact->lock);
    contact->leads_here = found;
    contact->resolved_clock = clock_monotonic();
    pthread_mutex_unlock(&contact->lock);
    return 0;
}

/*
 * The name of the hub may be that of a mirror in this network. It is looked up now and then, in a
 * thread of its own; until the first answer it may well be one.
 */
static bool may_lead_here(struct hub_client *client) {
    struct hub_contact *contact = &client->contact;
    bool stale, found;

    pthread_mutex_lock(&contact->lock);
    found = contact->leads_here || contact->resolved_clock == 0;
    stale = contact->resolved_clock == 0 ||
            clock_monotonic() - contact->resolved_clock >= RESOLVED_SECONDS;
    if (contact->looks_up && task_is_done(&contact->look_up)) {
        task_finish(&contact->look_up);
        contact->looks_up = false;
    }
    if (stale && !contact->looks_up)
        contact->looks_up = task_start(&contact->look_up, look_up, client) == 0;
    pthread_mutex_unlock(&contact->lock);
    return found;
}

void hub_look_around(struct hub_client *client) {
    if (!client->offline && !is_near(client) && is_alone())
        may_lead_here(client);
}

bool hub_is_cut_off(struct hub_client *client, char *ret_why, size_t size) {
    struct hub_contact *contact = &client->contact;
    bool silent;

    if (!is_near(client) && is_alone() && !may_lead_here(client)) {
        snprintf(ret_why, size, "this machine has no route to the internet");
        return true;
    }
    pthread_mutex_lock(&contact->lock);
    silent = contact->n_failed >= FAILED_ENOUGH &&
             clock_monotonic() - contact->failed_clock < FAILED_SECONDS;
    if (silent)
        snprintf(ret_why, size, "the hub does not answer (%s)", contact->error);
    pthread_mutex_unlock(&contact->lock);
    return silent;
}
