// SPDX-License-Identifier: Apache-2.0
#include "api/listen/endpoint.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 511
#define ADDRESS_HINT "write HOST:PORT with a numeric address, or unix:PATH"

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static bool is_loopback(const union address *address) {
    if (address->any.sa_family == AF_INET)
        return ntohl(address->in.sin_addr.s_addr) >> 24 == 127;
    return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->in6.sin6_addr);
}

/* What other machines reach is for those with a token. */
static int check_reach(struct endpoint *endpoint, const union address *address, bool allow_remote,
                       const char *text, struct failure *failure) {
    endpoint->is_remote = address->any.sa_family != AF_UNIX && !is_loopback(address);
    if (!endpoint->is_remote || allow_remote)
        return 0;
    return failure_set(failure, -EINVAL, "listen_without_tokens",
                       "make one by 'quantctl token create NAME' while it listens on loopback, or "
                       "by --token-file; or leave the address out",
                       "cannot listen on '%s': other machines reach it, and there is no token",
                       text);
}

static int refuse_address(struct failure *failure, const char *address, const char *why) {
    return failure_set(failure, -EINVAL, "listen_invalid", ADDRESS_HINT,
                       "cannot listen on '%s': %s", address, why);
}

/* "HOST:PORT" into an address; the last colon divides, brackets around the host are dropped. */
static int parse_tcp(const char *text, union address *ret_address, socklen_t *ret_size,
                     struct failure *failure) {
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port;
    size_t n;

    if (!colon)
        return refuse_address(failure, text, "no port given");
    if (str_parse_u64(colon + 1, 65535, &port))
        return refuse_address(failure, text, "the port is not a number from 0 to 65535");
    n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= sizeof(host))
        return refuse_address(failure, text, "the host is too long");
    memcpy(host, text, n);
    host[n] = '\0';

    *ret_address = (union address){};
    if (inet_pton(AF_INET, str_equal(host, "localhost") ? "127.0.0.1" : host,
                  &ret_address->in.sin_addr) == 1) {
        ret_address->in.sin_family = AF_INET;
        ret_address->in.sin_port = htons((uint16_t)port);
        *ret_size = sizeof(ret_address->in);
    } else if (inet_pton(AF_INET6, host, &ret_address->in6.sin6_addr) == 1) {
        ret_address->in6.sin6_family = AF_INET6;
        ret_address->in6.sin6_port = htons((uint16_t)port);
        *ret_size = sizeof(ret_address->in6);
    } else {
        return refuse_address(failure, text, "the host is not a numeric address or localhost");
    }
    return 0;
}

static int find_port(int fd, int *ret_port) {
    union address address;
    socklen_t size = sizeof(address);

    if (getsockname(fd, &address.any, &size))
        return -errno;
    *ret_port =
        ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
    return 0;
}

static int open_tcp(const char *text, bool allow_remote, struct endpoint *endpoint,
                    struct failure *failure) {
    cleanup(closep) int fd = -1;
    union address address;
    socklen_t size = 0;
    int on = 1, r;

    r = parse_tcp(text, &address, &size, failure);
    if (r)
        return r;
    r = check_reach(endpoint, &address, allow_remote, text, failure);
    if (r)
        return r;
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot listen on", text);
    /* A restart must not wait for the connections of the last run to leave TIME_WAIT. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &address.any, size) || listen(fd, BACKLOG))
        return failure_errno(failure, -errno, "cannot listen on", text);
    r = find_port(fd, &endpoint->port);
    if (r)
        return failure_errno(failure, r, "cannot listen on", text);
    endpoint->fd = steal_fd(&fd);
    return 0;
}

/* Removes the socket file of a daemon that is gone; one that answers is left alone. */
static int remove_stale(const struct sockaddr_un *address, struct failure *failure) {
    cleanup(closep) int fd = -1;
    struct stat st;

    if (lstat(address->sun_path, &st))
        return errno == ENOENT
                   ? 0
                   : failure_errno(failure, -errno, "cannot listen on", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return failure_set(failure, -EEXIST, "listen_invalid", "choose another path",
                           "cannot listen on '%s': the file exists and is no socket",
                           address->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failure_errno(failure, -errno, "cannot listen on", address->sun_path);
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return failure_set(failure, -EADDRINUSE, "listen_in_use",
                           "is quantd running already? stop it or choose another path",
                           "cannot listen on '%s': another process listens there",
                           address->sun_path);
    if (errno != ECONNREFUSED || unlink(address->sun_path))
        return failure_errno(failure, -errno, "cannot replace the socket", address->sun_path);
    return 0;
}

static int open_unix(const char *path, struct endpoint *endpoint, struct failure *failure) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup(closep) int fd = -1;
    struct stat st;
    int r;

    if (!path[0] || strlen(path) >= sizeof(address.sun_path))
        return failure_set(failure, -ENAMETOOLONG, "listen_invalid", "choose a shorter path",
                           "cannot listen on 'unix:%s': the path must have 1 to %zu bytes", path,
                           sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path));
    r = remove_stale(&address, failure);
    if (r)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
        return failure_errno(failure, -errno, "cannot listen on", path);
    /* No client can connect before listen(), so the mode is right from the first moment. */
    if (chmod(path, 0660) || lstat(path, &st) || listen(fd, BACKLOG)) {
        r = failure_errno(failure, -errno, "cannot listen on", path);
        unlink(path);
        return r;
    }
    memcpy(endpoint->path, address.sun_path, sizeof(endpoint->path));
    endpoint->dev = st.st_dev;
    endpoint->ino = st.st_ino;
    endpoint->is_unix = true;
    endpoint->fd = steal_fd(&fd);
    return 0;
}

int endpoint_open(const char *address, bool allow_remote, struct endpoint *ret_endpoint,
                  struct failure *failure) {
    struct endpoint endpoint = {.fd = -1};
    int r;

    if (str_has_prefix(address, "unix:"))
        r = open_unix(address + strlen("unix:"), &endpoint, failure);
    else
        r = open_tcp(address, allow_remote, &endpoint, failure);
    if (r == 0)
        *ret_endpoint = endpoint;
    return r;
}

int endpoint_adopt(int fd, bool allow_remote, struct endpoint *ret_endpoint,
                   struct failure *failure) {
    struct endpoint endpoint = {.fd = fd};
    union address address;
    socklen_t size = sizeof(address), int_size = sizeof(int);
    char name[32];
    int listening = 0, flags, r;

    snprintf(name, sizeof(name), "inherited fd %d", fd);
    if (getsockname(fd, &address.any, &size) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_size))
        return failure_errno(failure, -errno, "cannot listen on", name);
    if (!listening)
        return refuse_address(failure, name, "it is not a listening socket");
    endpoint.is_unix = address.any.sa_family == AF_UNIX;
    r = check_reach(&endpoint, &address, allow_remote, name, failure);
    if (r)
        return r;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
        return failure_errno(failure, -errno, "cannot listen on", name);
    if (!endpoint.is_unix && find_port(fd, &endpoint.port))
        return failure_errno(failure, -errno, "cannot listen on", name);
    *ret_endpoint = endpoint;
    return 0;
}

void endpoint_close(struct endpoint *endpoint) {
    struct stat st;

    if (endpoint->path[0] && lstat(endpoint->path, &st) == 0 && st.st_dev == endpoint->dev &&
        st.st_ino == endpoint->ino)
        unlink(endpoint->path);
    endpoint->path[0] = '\0';
    if (endpoint->fd >= 0)
        close(endpoint->fd);
    endpoint->fd = -1;
}
