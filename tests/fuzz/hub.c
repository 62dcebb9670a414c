// SPDX-License-Identifier: Apache-2.0
/*
 * What a hub answers: after a byte of choices, the whole answer as it comes over the wire. A server
 * on loopback gives it to every request; what came is read as the description of a model.
 */
#include "base/json.h"
#include "base/str.h"
#include "daemon/data/hub/http.h"
#include "daemon/data/hub/resolve.h"
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX ((size_t)1 << 20)
#define ANSWER_MAX ((size_t)64 << 10)
#define HEAD 1
#define RANGED 2

static struct {
    int fd;
    pthread_mutex_t mutex; /* guards the answer, which the server's thread reads */
    uint8_t answer[ANSWER_MAX];
    size_t size;
    struct hub_site site;
    struct hub_http *http;
} hub = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void answer_one(int fd) {
    char request[2048];
    size_t n = 0;
    ssize_t some;

    while (n + 1 < sizeof(request) && (some = read(fd, request + n, sizeof(request) - 1 - n)) > 0) {
        n += (size_t)some;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    pthread_mutex_lock(&hub.mutex);
    send(fd, hub.answer, hub.size, MSG_NOSIGNAL);
    pthread_mutex_unlock(&hub.mutex);
    close(fd);
}

static void *serve(void *arg) {
    int fd;

    while ((fd = accept4(hub.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        answer_one(fd);
    return arg;
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

static void set_up(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    struct failure failure = {};
    static char endpoint[40];
    pthread_t thread;

    /* A redirect to another host ends at a proxy that is not there. */
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    hub.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(hub.fd >= 0 && !bind(hub.fd, (struct sockaddr *)&address, length) &&
                 !listen(hub.fd, 16) && !getsockname(hub.fd, (struct sockaddr *)&address, &length));
    fuzz_require(!pthread_create(&thread, NULL, serve, NULL) && !pthread_detach(thread));
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", ntohs(address.sin_port));
    hub.site = (struct hub_site){.endpoint = endpoint,
                                 .origin = endpoint,
                                 .token = (char *)"hf_secret",
                                 .plain = true,
                                 .silence_seconds = 1};
    fuzz_require(!hub_http_new(&hub.site, never, NULL, &hub.http, &failure));
}

static int begin(void *ctx, const struct hub_reply *reply, struct failure *failure) {
    (void)ctx;
    (void)failure;
    fuzz_require(reply->status / 100 == 2);
    return 0;
}

static int take(void *ctx, const char *data, size_t size, struct failure *failure) {
    struct strbuf *body = ctx;

    if (size > BODY_MAX - body->length)
        return failure_set(failure, -EFBIG, "hub_invalid", NULL, "too long");
    strbuf_append(body, data, size);
    return 0;
}

/* A name that was taken stays below the folder it is put into. */
static void check_names(const json_t *names) {
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)names, name, value) {
        fuzz_require(name[0] && name[0] != '/' && !strstr(name, "//"));
        fuzz_require(strncmp(name, "../", 3) != 0 && !strstr(name, "/../"));
    }
}

static void read_model(const struct strbuf *body) {
    cleanup(json_decrefp) json_t *info = NULL, *names = NULL;
    char commit[HUB_COMMIT_SIZE] = "";
    struct failure failure = {};
    int r;

    if (!body->data || json_parse(body->data, body->length, "x", "hub_invalid", &info, &failure))
        return;
    r = hub_read_revision(info, "org/name", "main", commit, &names, &failure);
    fuzz_require(!r == !!names && !r == !failure.code[0]);
    if (r)
        return;
    fuzz_require(hub_commit_valid(commit));
    check_names(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup(strbuf_done) struct strbuf body = {};
    struct hub_request request = {.seconds = 2, .ctx = &body, .begin = begin, .data = take};
    struct hub_reply reply = {};
    struct failure failure = {};
    int r;

    if (!hub.http)
        set_up();
    if (size < 1 || size > ANSWER_MAX)
        return 0;
    pthread_mutex_lock(&hub.mutex);
    memcpy(hub.answer, data + 1, size - 1);
    hub.size = size - 1;
    pthread_mutex_unlock(&hub.mutex);
    request.url = hub.site.endpoint;
    request.head = data[0] & HEAD;
    request.ranged = data[0] & RANGED;
    request.last = 9;
    r = hub_http_once(hub.http, &request, &reply, &failure);
    fuzz_require(!r == !failure.code[0]);
    fuzz_require(!reply.commit[0] || hub_commit_valid(reply.commit));
    fuzz_require(strspn(reply.etag, "0123456789abcdef") == strlen(reply.etag));
    if (!r && !request.head)
        read_model(&body);
    return 0;
}
