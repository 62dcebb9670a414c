// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/api/talk.h"

#include "api/server/http.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/macros.h"
#include "tests/api/fake/fake.h"
#include "tests/fuzz/fuzz.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SILENCE_MS 5
#define READ_MAX ((size_t)1 << 20)
#define JOBS_MAX (FAKE_JOBS / 2) /* the service holds FAKE_JOBS */

static struct fake *fake; /* of the process, with its api */
static struct api *api;
static char path[100];

static void stop(void) {
    api_stop(api);
    api = NULL;
    if (fake)
        fake_free(fake);
    fake = NULL;
}

static void start(void) {
    cleanup(freep) char *address = NULL;
    struct api_config config = {.listen = &address, .n_listen = 1};
    struct failure failure = {};
    char hash[SHA256_TEXT_SIZE];

    /* libcrypto begins before the API, so that it cleans up after it. */
    if (!path[0] && (sha256_of("", 0, hash) || atexit(stop)))
        fuzz_fail(__FILE__, __LINE__, "start");
    snprintf(path, sizeof(path), "%s/socket", fuzz_folder());
    fuzz_require(asprintf(&address, "unix:%s", path) > 0);
    fake = fake_new();
    fake_job(fake);
    if (api_start(&config, &fake->service, &api, &failure))
        fuzz_fail(__FILE__, __LINE__, failure.detail);
}

static int connect_socket(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, sizeof(path));
    fuzz_require(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

void talk(const void *data, size_t size, char ret_start[TALK_START_SIZE]) {
    cleanup(closep) int fd = -1;
    size_t received = 0;
    char answer[4096];
    ssize_t n;

    ret_start[0] = '\0';
    if (fake && fake->n_jobs > JOBS_MAX)
        stop();
    if (!fake)
        start();
    fd = connect_socket();
    if (send(fd, data, size, MSG_NOSIGNAL) < 0)
        return;
    shutdown(fd, SHUT_WR);
    do {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};

        if (poll(&pollfd, 1, SILENCE_MS) <= 0)
            break;
        n = read(fd, answer, sizeof(answer));
        if (received == 0 && n > 0) {
            fuzz_require(n >= 5 && memcmp(answer, "HTTP/", 5) == 0);
            snprintf(ret_start, TALK_START_SIZE, "%.*s", (int)MIN(n, TALK_START_SIZE - 1), answer);
        }
        received += n > 0 ? (size_t)n : 0;
    } while (n > 0 && received < READ_MAX);
}
