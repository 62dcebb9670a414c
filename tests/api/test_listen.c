// SPDX-License-Identifier: Apache-2.0
/* Where the API may listen, and what it leaves behind. */
#include "api/listen/endpoint.h"
#include "api/server/http.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "visit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int open_fake(void **state) {
    *state = fake_new();
    return 0;
}

static int close_fake(void **state) {
    fake_free(*state);
    return 0;
}

static int start(struct fake *fake, char *address, struct api **ret_api, struct failure *failure) {
    struct api_config config = {.listen = &address, .n_listen = 1};

    return api_start(&config, &fake->service, ret_api, failure);
}

static void test_addresses_refused(void **state) {
    static const struct {
        const char *address, *code;
    } cases[] = {{"0.0.0.0:0", "listen_without_tokens"},
                 {"[::]:0", "listen_without_tokens"},
                 {"192.168.1.1:0", "listen_without_tokens"},
                 {"[::ffff:1.2.3.4]:0", "listen_without_tokens"},
                 {"128.0.0.1:0", "listen_without_tokens"},
                 {"127.0.0.1", "listen_invalid"},
                 {"127.0.0.1:", "listen_invalid"},
                 {"127.0.0.1:65536", "listen_invalid"},
                 {"127.0.0.1:-1", "listen_invalid"},
                 {"box.example:80", "listen_invalid"},
                 {":80", "listen_invalid"},
                 {"", "listen_invalid"},
                 {"unix:", "listen_invalid"},
                 {"*:80", "listen_invalid"}};
    struct failure failure;
    struct api *api = NULL;
    char address[300];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        snprintf(address, sizeof(address), "%s", cases[i].address);
        assert_int_not_equal(start(*state, address, &api, &failure), 0);
        assert_string_equal(failure.code, cases[i].code);
    }
    memset(address, 'x', sizeof(address));
    memcpy(address, "unix:/tmp/", 10);
    address[5 + sizeof(((struct sockaddr_un *)0)->sun_path)] = '\0';
    assert_int_equal(start(*state, address, &api, &failure), -ENAMETOOLONG);
    assert_null(api);
}

static void test_loopback(void **state) {
    char addresses[][24] = {"localhost:0", "127.0.0.2:0", "[::1]:0"};
    struct failure failure;

    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct api *api = NULL;
        int r = start(*state, addresses[i], &api, &failure);

        if (i == 2 && r == -EADDRNOTAVAIL)
            continue; /* a machine without IPv6 */
        assert_int_equal(r, 0);
        assert_in_range(api_port(api), 1, 65535);
        api_stop(api);
    }
}

static void test_port_taken(void **state) {
    char any[] = "127.0.0.1:0", same[32];
    struct api *first = NULL, *second = NULL;
    struct failure failure;

    assert_int_equal(start(*state, any, &first, &failure), 0);
    snprintf(same, sizeof(same), "127.0.0.1:%d", api_port(first));
    assert_int_equal(start(*state, same, &second, &failure), -EADDRINUSE);
    api_stop(first);
    assert_int_equal(start(*state, same, &second, &failure), 0);
    api_stop(second);
}

static void test_socket_file(void **state) {
    struct fake *fake = *state;
    char address[100], *path = address + 5;
    struct api *first = NULL, *second = NULL;
    struct failure failure;
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    struct stat st;
    int fd;

    snprintf(address, sizeof(address), "unix:%s/s", fake->folder);
    assert_int_equal(start(fake, address, &first, &failure), 0);
    assert_int_equal(api_port(first), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(start(fake, address, &second, &failure), -EADDRINUSE);
    assert_string_equal(failure.code, "listen_in_use");
    assert_int_equal(lstat(path, &st), 0);
    api_stop(first);
    assert_int_equal(lstat(path, &st), -1);

    /* The socket of a process that was killed. */
    snprintf(stale.sun_path, sizeof(stale.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof(stale)), 0);
    close(fd);
    assert_int_equal(start(fake, address, &first, &failure), 0);

    /* Another file is there by now: it is not ours to remove. */
    unlink(path);
    assert_int_equal(file_replace(path, "x", 1), 0);
    api_stop(first);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(start(fake, address, &first, &failure), -EEXIST);
    assert_int_equal(lstat(path, &st), 0);
}

static int listening_socket(uint32_t host) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* As from systemd: the other end of the socket stays open and works for the next run. */
static void test_inherited(void **state) {
    struct fake *fake = *state;
    struct site site = {.fake = fake};
    struct failure failure;
    int kept = listening_socket(INADDR_LOOPBACK);

    for (int i = 0; i < 2; i++) {
        int fd = dup(kept);
        struct api_config config = {.fds = &fd, .n_fds = 1};
        struct answer answer;

        assert_int_equal(api_start(&config, &fake->service, &site.api, &failure), 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        answer = visit(&site, (struct visit){.path = "/healthz"});
        assert_int_equal(answer.status, 200);
        answer_done(&answer);
        api_stop(site.api);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
    }
    close(kept);
}

static void test_inherited_refused(void **state) {
    struct fake *fake = *state;
    int fds[] = {listening_socket(INADDR_ANY), socket(AF_INET, SOCK_STREAM, 0),
                 open("/dev/null", O_RDONLY), -1};
    static const char *const codes[] = {"listen_without_tokens", "listen_invalid", "io_error",
                                        "io_error"};
    struct failure failure;
    struct api *api = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        struct api_config config = {.fds = &fds[i], .n_fds = 1};

        assert_int_not_equal(api_start(&config, &fake->service, &api, &failure), 0);
        assert_string_equal(failure.code, codes[i]);
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_addresses_refused, open_fake, close_fake),
        cmocka_unit_test_setup_teardown(test_loopback, open_fake, close_fake),
        cmocka_unit_test_setup_teardown(test_port_taken, open_fake, close_fake),
        cmocka_unit_test_setup_teardown(test_socket_file, open_fake, close_fake),
        cmocka_unit_test_setup_teardown(test_inherited, open_fake, close_fake),
        cmocka_unit_test_setup_teardown(test_inherited_refused, open_fake, close_fake),
    };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
