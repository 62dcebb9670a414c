// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum chunk_state { CHUNK_SIZE, CHUNK_SIZE_END, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER };

static int open_socket(const char *address) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET};
    const struct sockaddr *to = (const struct sockaddr *)&un;
    const char *colon = strrchr(address, ':');
    socklen_t size = sizeof(un);
    char host[64];
    int fd, one = 1;

    if (str_has_prefix(address, "unix:")) {
        if (snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5) >=
            (int)sizeof(un.sun_path))
            return -ENAMETOOLONG;
    } else {
        if (!colon || colon - address >= (ptrdiff_t)sizeof(host))
            return -EINVAL;
        snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
        if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
            return -EINVAL;
        in.sin_port = htons((uint16_t)atoi(colon + 1));
        to = (const struct sockaddr *)&in;
        size = sizeof(in);
    }
    fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, to, size)) {
        int r = -errno;

        close(fd);
        return r;
    }
    if (to->sa_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int load_connect(const struct load *load) {
    return open_socket(load->address);
}

int load_get(const struct load *load, int fd, const char *path, const char *headers) {
    char text[1024];
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s%s%s\r\n", path,
                     load->token ? "Authorization: Bearer " : "", load->token ? load->token : "",
                     load->token ? "\r\n" : "", headers);

    if (n >= (int)sizeof(text))
        return -EMSGSIZE;
    /* So short that it fits the buffer of a connection that awaits nothing. */
    return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : errno ? -errno : -EIO;
}

/* The value of header @name in reply->head, up to the line's end; NULL: none. */
static const char *find_header(const struct reply *reply, const char *name) {
    for (const char *line = strstr(reply->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            return line + strlen(name) + 1 + strspn(line + strlen(name) + 1, " ");
    }
    return NULL;
}

static int read_head(struct reply *reply) {
    const char *value;

    if (sscanf(reply->head, "HTTP/1.1 %d ", &reply->status) != 1)
        return -EBADMSG;
    reply->has_head = true;
    value = find_header(reply, "ETag");
    if (value)
        snprintf(reply->etag, sizeof(reply->etag), "%.*s", (int)strcspn(value, "\r\n"), value);
    value = find_header(reply, "Transfer-Encoding");
    reply->chunked = value && strncasecmp(value, "chunked", 7) == 0;
    value = find_header(reply, "Content-Length");
    reply->left = value ? strtoul(value, NULL, 10) : 0;
    reply->done = reply->status == 304 || (!reply->chunked && reply->left == 0);
    return 0;
}

/* A byte between the data of two chunks. */
static int feed_frame(struct reply *reply, char c) {
    switch (reply->state) {
    case CHUNK_SIZE:
        if (c == '\r') {
            reply->state = CHUNK_SIZE_END;
        } else {
            const char *digits = "0123456789abcdef", *digit = strchr(digits, c | 0x20);

            if (!c || !digit || reply->left >> 40)
                return -EBADMSG;
            reply->left = reply->left << 4 | (size_t)(digit - digits);
        }
        return 0;
    case CHUNK_SIZE_END:
        reply->state = reply->left ? CHUNK_DATA : CHUNK_TRAILER;
        return c == '\n' ? 0 : -EBADMSG;
    case CHUNK_DATA_END:
        if (c == '\n')
            reply->state = CHUNK_SIZE;
        return c == '\r' || c == '\n' ? 0 : -EBADMSG;
    default: /* no trailers: the empty line ends it */
        reply->done = c == '\n';
        return c == '\r' || c == '\n' ? 0 : -EBADMSG;
    }
}

static size_t feed_head(struct reply *reply, const char *data, size_t size, int *ret_r) {
    size_t i = 0;

    while (i < size && !reply->has_head && *ret_r == 0) {
        if (reply->n_head + 1 >= sizeof(reply->head)) {
            *ret_r = -EBADMSG;
            return i;
        }
        reply->head[reply->n_head++] = data[i++];
        reply->head[reply->n_head] = '\0';
        if (reply->n_head >= 4 && memcmp(reply->head + reply->n_head - 4, "\r\n\r\n", 4) == 0)
            *ret_r = read_head(reply);
    }
    return i;
}

int reply_feed(struct reply *reply, const char *data, size_t size,
               int (*body)(void *ctx, const char *data, size_t size), void *ctx) {
    int r = 0;
    size_t i = feed_head(reply, data, size, &r);

    while (r == 0 && i < size && !reply->done) {
        size_t n = MIN(size - i, reply->left);

        if (reply->chunked && reply->state != CHUNK_DATA) {
            r = feed_frame(reply, data[i++]);
            continue;
        }
        r = body(ctx, data + i, n);
        i += n;
        reply->left -= n;
        if (reply->left == 0 && reply->chunked)
            reply->state = CHUNK_DATA_END;
        else if (reply->left == 0)
            reply->done = true;
    }
    return r;
}
