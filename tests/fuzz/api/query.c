// SPDX-License-Identifier: Apache-2.0
/*
 * What stands after the "?" of a list's address; the first byte chooses the list. It is answered
 * as a list, or refused in words; nothing else.
 */
#include "base/cleanup.h"
#include "base/macros.h"
#include "base/str.h"
#include "tests/fuzz/api/talk.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define INPUT_MAX 2000

static const char *const paths[] = {"/v1/jobs", "/v1/events", "/v1/jobs/1/events", "/v1/devices"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const answers[] = {"200", "400", "414", "422"};
    cleanup(strbuf_done) struct strbuf request = {};
    char start[TALK_START_SIZE];
    bool known = false;

    if (size < 1 || size > INPUT_MAX)
        return 0;
    strbuf_printf(&request, "GET %s?", paths[data[0] % ARRAY_SIZE(paths)]);
    /* What would end the line is escaped. */
    for (size_t i = 1; i < size; i++)
        strbuf_printf(&request, data[i] > ' ' && data[i] < 0x7f ? "%c" : "%%%02x", data[i]);
    strbuf_puts(&request, " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
                          "Connection: close\r\n\r\n");
    fuzz_require(!request.failed);
    talk(request.data, request.length, start);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
        known |= str_has_prefix(start, "HTTP/1.1 ") && str_has_prefix(start + 9, answers[i]);
    fuzz_require(!start[0] || known);
    return 0;
}
