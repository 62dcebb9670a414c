// SPDX-License-Identifier: Apache-2.0
/* quantd.conf, and after a NUL byte QUANTD_... variables, a NUL byte between two of them. */
#include "base/macros.h"
#include "base/str.h"
#include "daemon/config/read.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define VARIABLES_MAX 16

static void check(const struct config *config) {
    const struct config_list *lists[] = {&config->listen, &config->devices, &config->model_roots,
                                         &config->data_roots, &config->mirrors};

    fuzz_require(config->state_dir[0] == '/' && config->cache_dir[0] == '/');
    fuzz_require(config->listen.n > 0 && config->devices.n > 0 && config->idle_seconds >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (int k = 0; k < lists[i]->n; k++)
            fuzz_require(lists[i]->at[k][0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\0', size) : NULL;
    size_t first = end ? (size_t)(end - data) : size;
    cleanup(freep) char *rest = fuzz_text(data + first, size - first);
    char *environment[VARIABLES_MAX + 1] = {}, *argv[] = {(char *)"quantd", (char *)"--config",
                                                          (char *)fuzz_file("x.conf", data, first)};
    cleanup(config_freep) struct config *config = NULL;
    struct failure failure = {};
    int r, n = 0;

    for (size_t at = 1; at < size - first && n < VARIABLES_MAX; at += strlen(rest + at) + 1)
        environment[n++] = rest + at;
    r = config_read(ARRAY_SIZE(argv), argv, environment, &config, &failure);
    fuzz_require(!r == !!config && !r == !failure.code[0]);
    if (!r)
        check(config);
    return 0;
}
