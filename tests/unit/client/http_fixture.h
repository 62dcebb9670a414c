// SPDX-License-Identifier: Apache-2.0
/* A server on a unix socket that answers as a test says, and a client of it. */
#pragma once

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "client/client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* One thread that answers each connection by one request, as the test's answer() says. */
struct server {
    char dir[64], socket[96], name[112];
    int fd;
    pthread_t thread;
    int (*answer)(struct server *server, const char *request, struct strbuf *out);
    int n_requests;
    char list[2048], range[64], last_id[64];
};

static struct server server;

static void header_of(const char *request, const char *name, char value[64]) {
    const char *at = strcasestr(request, name);

    value[0] = '\0';
    if (at)
        snprintf(value, 64, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void serve_one(int fd) {
    struct strbuf out = {};
    char request[8192];
    size_t n = 0;

    while (n < sizeof(request) - 1) {
        ssize_t got = read(fd, request + n, sizeof(request) - 1 - n);

        if (got <= 0)
            return;
        n += (size_t)got;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    header_of(request, "Range:", server.range);
    header_of(request, "Last-Event-ID:", server.last_id);
    server.answer(&server, request, &out);
    server.n_requests++;
    if (out.data)
        file_write_all(fd, out.data, out.length);
    strbuf_done(&out);
}

static void *serve(void *arg) {
    (void)arg;
    for (;;) {
        cleanup(closep) int fd = accept(server.fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        serve_one(fd);
    }
}

static void put_answer(struct strbuf *out, int status, const char *type, const char *body) {
    strbuf_printf(out,
                  "HTTP/1.1 %d Status\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n%s",
                  status, type, strlen(body), body);
}

static int setup(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    server = (struct server){.dir = "/tmp/quantctl-test-XXXXXX"};
    assert_non_null(mkdtemp(server.dir));
    snprintf(server.socket, sizeof(server.socket), "%s/socket", server.dir);
    snprintf(server.name, sizeof(server.name), "unix:%s", server.socket);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.socket);
    server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server.fd, 8), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
    return dir_remove(server.dir);
}

static void client_open(struct client *client) {
    struct failure failure;

    *client = (struct client){};
    assert_int_equal(http_new(server.name, &client->http, &failure), 0);
    client->terminal = (struct terminal){.file = fopen("/dev/null", "w"), .width = 80};
}

static void client_close(struct client *client) {
    http_freep(&client->http);
    fclose(client->terminal.file);
}
