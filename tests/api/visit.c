// SPDX-License-Identifier: Apache-2.0
#include "visit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct site *site_open_limited(struct api_limits limits) {
    struct site *site = calloc(1, sizeof(*site));
    char tcp[] = "127.0.0.1:0", local[128];
    char *listen[] = {tcp, local};
    char name[] = "box.example", name_port[] = "port.example:1234";
    char *allowed[] = {name, name_port};
    struct api_config config = {.listen = listen,
                                .n_listen = 2,
                                .allowed_hosts = allowed,
                                .n_allowed_hosts = 2,
                                .limits = limits};
    struct failure failure = {};

    if (!site)
        abort();
    site->fake = fake_new();
    snprintf(site->socket, sizeof(site->socket), "%s/socket", site->fake->folder);
    snprintf(local, sizeof(local), "unix:%s", site->socket);
    if (api_start(&config, &site->fake->service, &site->api, &failure)) {
        fprintf(stderr, "%s\n", failure.detail);
        abort();
    }
    return site;
}

struct site *site_open(void) {
    return site_open_limited((struct api_limits){});
}

void site_close(struct site *site) {
    api_stop(site->api);
    fake_free(site->fake);
    free(site);
}

static size_t take(char *data, size_t one, size_t n, void *arg) {
    (void)one;
    strbuf_append(arg, data, n);
    return n;
}

struct body {
    const char *data;
    size_t size;
};

static size_t give(char *buffer, size_t one, size_t n, void *arg) {
    struct body *body = arg;

    n = MIN(one * n, MIN(body->size, (size_t)1000));
    memcpy(buffer, body->data, n);
    body->data += n;
    body->size -= n;
    return n;
}

static void set_body(CURL *easy, const struct visit *visit, struct body *body) {
    *body = (struct body){visit->body, visit->size ? visit->size : strlen(visit->body)};
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    if (visit->chunked) {
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(easy, CURLOPT_READDATA, body);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body->size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body->data);
}

struct answer visit(struct site *site, struct visit visit) {
    struct curl_slist *headers = NULL;
    struct answer answer = {};
    CURL *easy = curl_easy_init();
    struct body body;
    char url[512];

    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", api_port(site->api), visit.path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer.body);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &answer.headers);
    if (visit.over_unix)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, site->socket);
    if (visit.body)
        set_body(easy, &visit, &body);
    if (visit.method && strcmp(visit.method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (visit.method)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, visit.method);
    for (size_t i = 0; i < ARRAY_SIZE(visit.headers) && visit.headers[i]; i++)
        headers = curl_slist_append(headers, visit.headers[i]);
    if (visit.chunked)
        headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    answer.result = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
    strbuf_append(&answer.body, "", 0);
    strbuf_append(&answer.headers, "", 0);
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return answer;
}

void answer_done(struct answer *answer) {
    strbuf_done(&answer->body);
    strbuf_done(&answer->headers);
}

const char *answer_header(const struct answer *answer, const char *name, char *buffer,
                          size_t size) {
    size_t n = strlen(name);

    for (const char *s = answer->headers.data; s && *s; s = strchr(s, '\n')) {
        s += *s == '\n';
        if (strncasecmp(s, name, n) != 0 || s[n] != ':')
            continue;
        s += n + 1;
        s += strspn(s, " ");
        snprintf(buffer, size, "%.*s", (int)strcspn(s, "\r\n"), s);
        return buffer;
    }
    return "";
}

int site_connect(struct site *site, const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)api_port(site->api)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        abort();
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        abort();
    return fd;
}

int site_connect_unix(struct site *site) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", site->socket);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        abort();
    return fd;
}

void site_send(int fd, const char *data, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = send(fd, data + at, size - at, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

char *site_hear(int fd, double silence, bool *ret_closed) {
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    struct strbuf answer = {};
    char buffer[4096];
    ssize_t n = 1;

    while (n > 0 && poll(&pollfd, 1, (int)(silence * 1000)) > 0) {
        n = recv(fd, buffer, sizeof(buffer), 0);
        if (n > 0)
            strbuf_append(&answer, buffer, (size_t)n);
    }
    *ret_closed = n <= 0;
    strbuf_append(&answer, "", 0);
    return strbuf_steal(&answer);
}

char *site_talk(struct site *site, const char *text, size_t size) {
    cleanup(closep) int fd = site_connect(site, "");
    struct strbuf answer = {};
    char buffer[4096];
    ssize_t n;

    site_send(fd, text, size);
    shutdown(fd, SHUT_WR);
    while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
        strbuf_append(&answer, buffer, (size_t)n);
    return strbuf_steal(&answer);
}

static int note(void *ctx, const struct sse_event *event) {
    struct watcher *watcher = ctx;
    uint64_t id;

    watcher->n_events++;
    if (strcmp(event->type, "progress") == 0) {
        watcher->n_progress++;
    } else if (strchr(event->type, '.') && str_parse_u64(event->id, UINT64_MAX, &id) == 0) {
        watcher->disorder |= id <= watcher->last;
        watcher->last = id;
    }
    strbuf_printf(&watcher->seen, "%s#%s ", event->type, event->id);
    return 0;
}

static size_t take_events(char *data, size_t one, size_t n, void *arg) {
    struct watcher *watcher = arg;

    (void)one;
    if (n >= 2 && memcmp(data + n - 2, ":\n", 2) == 0)
        watcher->n_comments++;
    return sse_parser_feed(&watcher->parser, data, n, note, watcher, NULL) ? 0 : n;
}

void watcher_open(struct watcher *watcher, struct site *site, CURLM *multi, const char *path,
                  const char *header) {
    char url[256];

    *watcher = (struct watcher){.easy = curl_easy_init()};
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", api_port(site->api), path);
    watcher->headers = curl_slist_append(NULL, "Accept: text/event-stream");
    if (header)
        watcher->headers = curl_slist_append(watcher->headers, header);
    curl_easy_setopt(watcher->easy, CURLOPT_URL, url);
    curl_easy_setopt(watcher->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(watcher->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(watcher->easy, CURLOPT_HTTPHEADER, watcher->headers);
    curl_easy_setopt(watcher->easy, CURLOPT_WRITEFUNCTION, take_events);
    curl_easy_setopt(watcher->easy, CURLOPT_WRITEDATA, watcher);
    curl_easy_setopt(watcher->easy, CURLOPT_PRIVATE, watcher);
    curl_multi_add_handle(multi, watcher->easy);
}

void watcher_close(struct watcher *watcher, CURLM *multi) {
    curl_multi_remove_handle(multi, watcher->easy);
    curl_easy_cleanup(watcher->easy);
    curl_slist_free_all(watcher->headers);
    sse_parser_done(&watcher->parser);
    strbuf_done(&watcher->seen);
}

static void take_messages(CURLM *multi) {
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(multi, &left))) {
        struct watcher *watcher;

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &watcher);
        watcher->done = true;
        watcher->result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &watcher->status);
    }
}

bool watch_until(CURLM *multi, bool (*stop)(void *ctx), void *ctx, double seconds) {
    double until = clock_monotonic() + seconds;
    int running;

    while (clock_monotonic() < until) {
        curl_multi_perform(multi, &running);
        take_messages(multi);
        if (stop && stop(ctx))
            return true;
        curl_multi_poll(multi, NULL, 0, 20, NULL);
    }
    return false;
}
